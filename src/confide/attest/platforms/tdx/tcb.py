"""Match a platform, its TDX module and its quoting enclave with what Intel says of them.

Three levels are found: of the platform (TCB info), of the module (TCB info) and of the
quoting enclave (QE identity). Levels are listed from new to old; the first one that the
security versions reach applies. The status of the whole is the worst of the three.

Sources: Intel TDX DCAP Quoting Library API, section on quote verification; Intel PCS API
version 4, "Get TDX TCB Info" and "Get TDX QE Identity", which describe both the documents
and the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confide.attest.platforms.tdx.pck import Platform
from confide.attest.platforms.tdx.quote import TdReport
from confide.errors import EndorsementError

__all__ = ["STATUSES", "Level", "Verdict", "check_about", "match_tcb", "worst"]

STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
"""From best to worst."""

_VERSION: Final = 3
_QE_VERSIONS: Final = (2, 3)
_COMPONENTS: Final = 16
_MODULE_COMPONENTS: Final = 2
_MOST: Final = 1024
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_CONFIGURATION: Final = ("ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")

Members = Mapping[str, object]


@dataclass(frozen=True)
class Level:
    """What Intel says about one security version.

    Attributes:
        status: One of `STATUSES`.
        date: `tcbDate` as Intel writes it.
        advisories: What is wrong with it.
    """

    status: str
    date: str
    advisories: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What Intel says about a platform.

    Attributes:
        status: The worst of the three.
        parts: Status of platform, module and quoting enclave.
        advisories: Of all three, sorted.
        date: `tcbDate` of the platform's level.
    """

    status: str
    parts: tuple[str, str, str]
    advisories: tuple[str, ...]
    date: str


def match_tcb(
    tcb_info: Members,
    qe_identity: Members,
    *,
    platform: Platform,
    report: TdReport,
    qe_report: bytes,
) -> Verdict:
    """Find the three levels and join them.

    Args:
        tcb_info: Members of a document that `check_about` accepted.
        qe_identity: Members of a document that `check_about` accepted.
        platform: From the PCK certificate.
        report: From the quote.
        qe_report: 384 bytes whose signature by the PCK was checked.

    Raises:
        EndorsementError: tdx.collateral_kind, .qe_identity_mismatch, .qe_miscselect,
            .qe_attributes, .module_signer, .module_identity_missing,
            .module_tcb_no_match, .tcb_no_match or .tcb_revoked.
    """
    enclave = _match_enclave(qe_identity, qe_report)
    machine = _match_platform(tcb_info, platform, report)
    module = _match_module(tcb_info, report)
    status = worst(worst(machine.status, module.status), enclave.status)
    if status == "Revoked":
        raise _refuse("tcb_revoked", "Intel has revoked this security version")
    return Verdict(
        status=status,
        parts=(machine.status, module.status, enclave.status),
        advisories=tuple(sorted({*machine.advisories, *module.advisories, *enclave.advisories})),
        date=machine.date,
    )


def check_about(tcb_info: Members, qe_identity: Members, platform: Platform) -> None:
    """Refuse documents that are not TCB info of this platform and the identity of TD_QE.

    Args:
        tcb_info: Members of a document whose signature and dates were checked.
        qe_identity: Members of a document whose signature and dates were checked.
        platform: From the PCK certificate.

    Raises:
        EndorsementError: tdx.collateral_kind or .fmspc_mismatch.
    """
    _check_kind(tcb_info, "TDX", (_VERSION,))
    _check_kind(qe_identity, "TD_QE", _QE_VERSIONS)
    for name, stated in (("fmspc", platform.fmspc), ("pceId", platform.pce_id)):
        if _hex(tcb_info, name, len(stated)) != stated:
            raise _refuse("fmspc_mismatch", f"the TCB info is for another {name}")


def worst(first: str, second: str) -> str:
    """Join two statuses. Out of date and in need of configuration is a status of its own."""
    found = max(first, second, key=STATUSES.index)
    if found == "OutOfDate" and {first, second} & set(_CONFIGURATION):
        return "OutOfDateConfigurationNeeded"
    return found


def _refuse(code: str, message: str) -> EndorsementError:
    return EndorsementError(message, code=f"tdx.{code}")


def _check_kind(document: Members, kind: str, versions: Sequence[int]) -> None:
    found, version = document.get("id"), document.get("version")
    if found != kind or type(version) is not int or version not in versions:
        raise _refuse("collateral_kind", f"a document of another kind than {kind}")


def _match_platform(tcb_info: Members, platform: Platform, report: TdReport) -> Level:
    """Compare 16 SGX components, the PCE and 16 TDX components.

    The first two TDX components are the module's. Since version 1.5 they have levels of
    their own (`_match_module`) and are left out here.
    """
    skipped = _MODULE_COMPONENTS if report.tee_tcb_svn[1] else 0

    def reached(tcb: Members) -> bool:
        sgx, tdx = (_components(tcb, f"{kind}tcbcomponents") for kind in ("sgx", "tdx"))
        return (
            _all_reach(platform.components, sgx)
            and platform.pce_svn >= _integer(tcb, "pcesvn")
            and _all_reach(report.tee_tcb_svn[skipped:], tdx[skipped:])
        )

    level = _first_level(tcb_info, reached)
    if level is None:
        raise _refuse("tcb_no_match", "Intel lists no level that this platform reaches")
    return level


def _match_module(tcb_info: Members, report: TdReport) -> Level:
    version, major = report.tee_tcb_svn[0], report.tee_tcb_svn[1]
    if not major:
        _check_module(_object(tcb_info.get("tdxModule")), report)
        return Level("UpToDate", "", ())
    wanted = f"TDX_{major:02X}"
    listed = _list(tcb_info.get("tdxModuleIdentities", []))
    identity = next((one for one in map(_object, listed) if one.get("id") == wanted), None)
    if identity is None:
        raise _refuse("module_identity_missing", f"Intel lists no TDX module {wanted}")
    _check_module(identity, report)
    level = _first_level(identity, lambda tcb: version >= _integer(tcb, "isvsvn"))
    if level is None:
        raise _refuse("module_tcb_no_match", f"Intel lists no level for {wanted} {version}")
    return level


def _check_module(identity: Members, report: TdReport) -> None:
    mask = _hex(identity, "attributesMask", 8)
    if _hex(identity, "mrsigner", 48) != report.mr_signer_seam:
        raise _refuse("module_signer", "another signer of the TDX module")
    if _masked(report.seam_attributes, mask) != _masked(_hex(identity, "attributes", 8), mask):
        raise _refuse("module_signer", "other attributes of the TDX module")


def _match_enclave(identity: Members, report: bytes) -> Level:
    """Compare the quoting enclave's report with Intel's statement about it.

    Offsets are those of an SGX report (Intel SDM volume 3D, section 37.15).
    """
    signer, product = report[128:160], int.from_bytes(report[256:258], "little")
    version = int.from_bytes(report[258:260], "little")
    if _hex(identity, "mrsigner", 32) != signer or _integer(identity, "isvprodid") != product:
        raise _refuse("qe_identity_mismatch", "the quoting enclave is not Intel's TD_QE")
    # Both are bytes as they stand in the report, MISCSELECT too.
    for code, offset, length in (("miscselect", 16, 4), ("attributes", 48, 16)):
        mask = _hex(identity, f"{code}Mask", length)
        stated = _masked(_hex(identity, code, length), mask)
        if _masked(report[offset : offset + length], mask) != stated:
            raise _refuse(f"qe_{code}", f"other {code} of the quoting enclave")
    level = _first_level(identity, lambda tcb: version >= _integer(tcb, "isvsvn"))
    if level is None:
        raise _refuse("tcb_no_match", "Intel lists no level that the quoting enclave reaches")
    return level


def _first_level(document: Members, reached: Callable[[Members], bool]) -> Level | None:
    for listed in map(_object, _list(document.get("tcbLevels"))):
        if reached(_object(listed.get("tcb"))):
            return _level(listed)
    return None


def _level(listed: Members) -> Level:
    status, date = listed.get("tcbStatus"), listed.get("tcbDate")
    advisories = _list(listed.get("advisoryIDs", []))
    if status not in STATUSES or not isinstance(date, str):
        raise _refuse("collateral_kind", "a TCB level without status or date")
    if not all(isinstance(one, str) for one in advisories):
        raise _refuse("collateral_kind", "an advisory that is no text")
    return Level(str(status), date, tuple(map(str, advisories)))


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(one & bit for one, bit in zip(value, mask, strict=True))


def _all_reach(found: Sequence[int], wanted: Sequence[int]) -> bool:
    return all(one >= least for one, least in zip(found, wanted, strict=True))


def _components(tcb: Members, name: str) -> list[int]:
    listed = _list(tcb.get(name))
    if len(listed) != _COMPONENTS:
        raise _refuse("collateral_kind", f"{name} has {len(listed)} entries, not {_COMPONENTS}")
    return [_integer(_object(one), "svn") for one in listed]


def _object(value: object) -> Members:
    if not isinstance(value, dict):
        raise _refuse("collateral_kind", "a member of the collateral is no object")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise _refuse("collateral_kind", "a member of the collateral is no list, or too long")
    return value


def _integer(members: Members, name: str) -> int:
    value = members.get(name)
    if type(value) is not int or value < 0:
        raise _refuse("collateral_kind", f"{name} is no number")
    return value


def _hex(members: Members, name: str, length: int) -> bytes:
    value = members.get(name)
    if not isinstance(value, str) or len(value) != 2 * length or not set(value) <= _HEX:
        raise _refuse("collateral_kind", f"{name} is not {length} bytes in hexadecimal")
    return bytes.fromhex(value)
