"""What a policy may demand of an SEV-SNP guest, one small leaf per concern.

A claim that is not there is an objection, with one exception that is none: claims that only
later report versions have are not demanded by any leaf here.

Source: attestation.md sections 3.1 and 6.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from confide.attest.claims import MISSING, PRODUCT, TCB, Claims
from confide.attest.factors import FactorSpec, Owner
from confide.attest.requirements import Leaf
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "COMPONENTS",
    "SnpCrl",
    "SnpDigests",
    "SnpLaunch",
    "SnpLimits",
    "SnpSigner",
    "SnpTcb",
]

COMPONENTS: Final = {
    "Milan": ("bootloader", "tee", "snp", "microcode"),
    "Genoa": ("bootloader", "tee", "snp", "microcode"),
    "Turin": ("fmc", "bootloader", "tee", "snp", "microcode"),
}
"""Components of each product's TCB; a floor names every one of them."""

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_FETCH: Final = "confide endorsements fetch --help"
_TCB_CLAIMS: Final = {
    TCB: "snp reported tcb",
    "tcb_committed": "snp committed tcb",
    "tcb_launch": "snp launch tcb",
}
_PERMISSIONS: Final = {
    "migration": "snp migration agent",
    "smt": "snp simultaneous threads",
    "cxl": "snp cxl memory",
    "policy_reserved": "snp policy bits",
}
_PROTECTIONS: Final = {"alias_check": "snp memory alias check"}
_DIGESTS: Final = {
    "id_key_digest": "snp id key",
    "author_key_digest": "snp author key",
    "host_data": "snp host data",
}
"""Factors by claim."""
_CLAIM_CODES: Final = {
    "signer": "snp.signing_key",
    "csp_id": "snp.signing_key",
    PRODUCT: "snp.tcb_reported",
    TCB: "snp.tcb_reported",
    "tcb_committed": "snp.tcb_committed",
    "tcb_launch": "snp.tcb_launch",
    "migration": "snp.migration",
    "smt": "snp.smt",
    "cxl": "snp.platform_info",
    "policy_reserved": "snp.policy_bits",
    "alias_check": "snp.platform_info",
    "vmpl": "snp.vmpl",
    "guest_svn": "snp.guest_svn",
    "firmware": "snp.abi",
    "platform_info_unknown": "snp.platform_info",
    "id_key_digest": "snp.id_key",
    "author_key_digest": "snp.author_key",
    "host_data": "snp.host_data",
    "crl": "snp.crl_missing",
}
"""Code of an objection, by claim."""


def _spec(name: str, owner: Owner, claim: str, command: str = _ASK) -> FactorSpec:
    return FactorSpec(name, owner, next_command=command, claim=claim)


@dataclass(frozen=True)
class SnpSigner(Leaf):
    """Accepts the listed kinds of signing key; a VLEK only of the listed clouds.

    Attributes:
        kinds: "vcek", "vlek" or both.
        csp_ids: Names of clouds, such as "cc-us-east-2.amazonaws.com"; needed for "vlek".
    """

    kinds: frozenset[str]
    csp_ids: frozenset[str] = frozenset()
    _claims = frozenset({"signer", "csp_id"})

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ConfigError("SnpSigner of nothing: an absent expectation is a refusal")
        if ("vlek" in self.kinds) != bool(self.csp_ids):
            raise ConfigError(
                "a VLEK is accepted of named clouds only", hint="list them as snp.csp_id"
            )

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            _spec("snp signer accepted", Owner.CLOUD, "signer"),
            _spec("snp cloud accepted", Owner.CLOUD, "csp_id"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"snp_signer": [sorted(self.kinds), sorted(self.csp_ids)]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to another kind of key, and to a VLEK of another cloud."""
        signer = claims.get("signer", MISSING)
        if signer not in self.kinds:
            kinds = " or ".join(sorted(self.kinds))
            return [_objection("signer", kinds, signer)]
        cloud = claims.get("csp_id", MISSING)
        if signer == "vlek" and cloud not in self.csp_ids:
            listed = ", ".join(sorted(self.csp_ids))
            return [_objection("csp_id", listed, cloud)]
        return []


@dataclass(frozen=True)
class SnpTcb(Leaf):
    """Accepts firmware at or above a floor, as reported, as committed and as launched.

    Reported is what the key was derived from; committed is how far the host could roll back;
    launch is what ran when the guest started.

    Attributes:
        floors: Lowest accepted versions by product ("Genoa") or product and model
            ("Genoa/0xa0"), each with every component. What is not listed is refused, so
            Milan is refused unless it is named: its key seed was extracted in public research.
    """

    floors: Mapping[str, Mapping[str, int]]
    _claims = frozenset({*_TCB_CLAIMS, PRODUCT, "model"})

    def __post_init__(self) -> None:
        if not self.floors:
            raise ConfigError("SnpTcb of nothing: an absent expectation is a refusal")
        for name, floor in self.floors.items():
            wanted = COMPONENTS.get(name.partition("/")[0])
            if wanted is None or set(floor) != set(wanted):
                raise ConfigError(f"a floor of {name} names {', '.join(wanted or ('nothing',))}")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            _spec("snp product accepted", Owner.CLOUD, PRODUCT),
            *(_spec(name, Owner.CLOUD, claim) for claim, name in _TCB_CLAIMS.items()),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"snp_tcb": {name: dict(floor) for name, floor in sorted(self.floors.items())}}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to an unlisted product, and to every component that is missing or too low."""
        product = claims.get(PRODUCT, MISSING)
        floor = self.floors.get(str(claims.get("model", MISSING))) or self.floors.get(str(product))
        if floor is None:
            listed = ", ".join(sorted(self.floors))
            return [_objection(PRODUCT, listed, product)]
        return [
            objection
            for claim in _TCB_CLAIMS
            for objection in _below(claim, floor, claims.get(claim, MISSING))
        ]


@dataclass(frozen=True)
class SnpLaunch(Leaf):
    """Accepts a guest policy whose listed permissions are not given.

    Attributes:
        absent: Claims that must be false, such as "migration".
        present: Claims that must be true, such as "alias_check".
    """

    absent: frozenset[str]
    present: frozenset[str] = frozenset()

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return self.absent | self.present

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self.absent | self.present

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        named = {**_PERMISSIONS, **_PROTECTIONS}
        return tuple(
            _spec(name, Owner.OPERATOR if claim in _PERMISSIONS else Owner.CLOUD, claim)
            for claim, name in named.items()
            if claim in self.looks_at()
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"snp_launch": [sorted(self.absent), sorted(self.present)]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each permission that is given and each protection that is missing."""
        wanted = {**dict.fromkeys(self.absent, False), **dict.fromkeys(self.present, True)}
        return [
            _objection(claim, value, claims.get(claim, MISSING))
            for claim, value in sorted(wanted.items())
            if claims.get(claim, MISSING) is not value
        ]


@dataclass(frozen=True)
class SnpLimits(Leaf):
    """Accepts numbers inside limits.

    Attributes:
        max_vmpl: Highest accepted privilege level of whoever asked for the report, 0 to 3.
        min_guest_svn: Lowest accepted security version of the guest, from its ID block.
        min_firmware: Lowest accepted firmware, as (major, minor).
        unknown_platform_bits: Whether bits of PLATFORM_INFO that this version does not know
            are accepted ("allow") or refused ("deny").
    """

    max_vmpl: int
    min_guest_svn: int
    min_firmware: tuple[int, int]
    unknown_platform_bits: str
    _claims = frozenset({"vmpl", "guest_svn", "firmware", "platform_info_unknown"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            _spec("snp vmpl", Owner.OPERATOR, "vmpl"),
            _spec("snp guest svn", Owner.OPERATOR, "guest_svn"),
            _spec("snp firmware version", Owner.CLOUD, "firmware"),
            _spec("snp platform info", Owner.CLOUD, "platform_info_unknown"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {
            "snp_limits": [
                self.max_vmpl,
                self.min_guest_svn,
                list(self.min_firmware),
                self.unknown_platform_bits,
            ]
        }

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each number outside its limit."""
        found = []
        vmpl = claims.get("vmpl", MISSING)
        if type(vmpl) is not int or not 0 <= vmpl <= self.max_vmpl:
            found.append(_objection("vmpl", f"at most {self.max_vmpl}", vmpl))
        svn = claims.get("guest_svn", MISSING)
        if type(svn) is not int or svn < self.min_guest_svn:
            found.append(_objection("guest_svn", f"at least {self.min_guest_svn}", svn))
        firmware = claims.get("firmware", MISSING)
        if _version(firmware) < self.min_firmware:
            lowest = ".".join(map(str, self.min_firmware))
            found.append(_objection("firmware", f"at least {lowest}", firmware))
        unknown = claims.get("platform_info_unknown", MISSING)
        if type(unknown) is not int or (unknown and self.unknown_platform_bits != "allow"):
            found.append(_objection("platform_info_unknown", "no unknown bit", unknown))
        return found


@dataclass(frozen=True)
class SnpDigests(Leaf):
    """Accepts listed digests: of the keys that signed the launch, or what the host put in.

    Attributes:
        accepted: Accepted values by claim, such as "host_data"; each at least one.
    """

    accepted: Mapping[str, frozenset[bytes]] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.accepted or not all(self.accepted.values()):
            raise ConfigError("SnpDigests of nothing: an absent expectation is a refusal")

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return frozenset(self.accepted)

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return frozenset(self.accepted)

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return tuple(
            _spec(name, Owner.OPERATOR, claim)
            for claim, name in _DIGESTS.items()
            if claim in self.accepted
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {
            "snp_digests": {
                claim: sorted(value.hex() for value in values)
                for claim, values in sorted(self.accepted.items())
            }
        }

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each value that is not listed."""
        found = []
        for claim, values in sorted(self.accepted.items()):
            actual = claims.get(claim, MISSING)
            if actual not in values:
                shown = actual.hex() if isinstance(actual, bytes) else actual
                found.append(_objection(claim, "a listed value", shown))
        return found


@dataclass(frozen=True)
class SnpCrl(Leaf):
    """Accepts a report only if a current revocation list was looked at."""

    _claims = frozenset({"crl"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (_spec("snp revocation checked", Owner.NETWORK, "crl", _FETCH),)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "snp_crl"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless the list was checked."""
        actual = claims.get("crl", MISSING)
        if actual == "checked":
            return []
        return [_objection("crl", "a current revocation list", actual)]


def _objection(claim: str, expected: object, actual: object) -> AppraisalError:
    code = _CLAIM_CODES[claim.partition(".")[0]]
    return AppraisalError(claim, expected=expected, actual=actual, code=code)


def _below(claim: str, floor: Mapping[str, int], actual: object) -> list[AppraisalError]:
    if not isinstance(actual, Mapping):
        return [_objection(claim, "a version of each component", actual)]
    found = []
    for name, lowest in floor.items():
        version = actual.get(name, MISSING)
        if type(version) is not int or version < lowest:
            found.append(_objection(f"{claim}.{name}", f"at least {lowest}", version))
    return found


def _version(text: object) -> tuple[int, int]:
    """Read "1.55.40" as (1, 55); anything else is below every version."""
    parts = str(text).split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        return (-1, -1)
    return (int(parts[0]), int(parts[1]))
