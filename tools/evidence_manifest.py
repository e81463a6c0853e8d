"""Recorded attestation evidence: cases and declarative mutations of a manifest.

A manifest lists files, cases (which files, at which time, which verdict) and mutations
(one edit of one file of a case, and the error it must give). Every case is run through
the product's own platforms; this module only reads files, edits them and compares.

A platform takes part through a *runner*, listed in `RUNNERS`: a function that takes a
`CaseFiles` and returns the facts it read, or raises `AttestationError`. What a case calls
its base policy (no debugging; real certificates and dates) is applied by the runner.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from confide.errors import AttestationError
from vector_values import Mismatch

__all__ = [
    "RUNNERS",
    "CaseFiles",
    "check_case",
    "check_mutation",
    "mutate",
    "prepare",
    "runner",
]

RUNNERS: Final[Mapping[str, str]] = {
    "sev-snp": "evidence_snp:run",
    "tdx": "evidence_tdx:run",
    "nvidia-gpu": "evidence_nvidia:run",
    "nvidia-switch": "evidence_nvidia:run",
    "nvidia-rim": "evidence_nvidia:run_rim",
    "nvidia-eat": "evidence_nvidia:run_tokens",
    "nvidia-ocsp": "evidence_nvidia:run_ocsp",
    "azure-snp": "evidence_azure:run",
    "azure-snp-hcl": "evidence_azure:run_hcl",
    "azure-tdx": "evidence_azure:run",
}
"""Platform name of a manifest to "module:function" in this folder."""

MAX_FILE: Final = 4 * 1024 * 1024
_INDISTINGUISHABLE: Final = "tdx.verification"
_OURS: Final = re.compile(
    r"tdx\.(debug|tud_bits|service_td|sept_ve|migratable|eventlog_mismatch|tcb_status|truncated"
    r"|quote_version|tee_type|body_type|body_size|tcb_evaluation_number|mr_td|rtmr[0-3]|mr_seam)"
)
"""TDX codes that the product itself gives; the library's summary code does not stand for them."""


@dataclass(frozen=True)
class CaseFiles:
    """One case, ready to run.

    Attributes:
        case: The case as the manifest states it.
        files: Content by role; a role that names several files holds several.
        names: File name by role, in the same order, for messages and facts.
        at: When to verify.
        eventlog: Content of the event log, or None.
    """

    case: Mapping[str, Any]
    files: Mapping[str, tuple[bytes, ...]]
    names: Mapping[str, tuple[str, ...]]
    at: datetime
    eventlog: bytes | None

    def one(self, role: str) -> bytes:
        """Return the only file of a role.

        Raises:
            KeyError: The case has no such role.
        """
        return self.files[role][0]

    def time(self, name: str) -> datetime:
        """Return another time of the case, such as "rims_at"; the case's own if absent."""
        return _time(self.case[name]) if name in self.case else self.at

    @property
    def unsigned(self) -> bool:
        """The case is about the form of a report only, such as "parse-only"."""
        return str(self.case.get("verdict")).startswith("parse")


def check_case(document: Mapping[str, Any], folder: Path, case: Mapping[str, Any]) -> str | None:
    """Run one case and compare verdict, error and every fact that the runner reports.

    Raises:
        Mismatch: Another verdict, code or fact than the manifest states.
    """
    prepared = prepare(document, folder, case)
    expected = case.get("error")
    if case["verdict"] == "invalid" or expected:
        return _must_refuse(prepared, str(expected))
    found = runner(case["platform"])(prepared)
    return _compare(case.get("facts", {}), found)


def check_mutation(
    document: Mapping[str, Any], folder: Path, mutation: Mapping[str, Any]
) -> str | None:
    """Edit one file of a case and expect the stated refusal.

    Raises:
        Mismatch: The edit was accepted, or refused with another code.
    """
    base = next(case for case in document["cases"] if case["id"] == mutation["base"])
    prepared = prepare(document, folder, base)
    role = mutation["role"]
    files = dict(prepared.files)
    eventlog = prepared.eventlog
    if role in files:
        whole = files[role]
        files[role] = (mutate(whole[0], mutation["op"]), *whole[1:])
        changed = files[role] != whole
        if eventlog == whole[0]:
            eventlog = files[role][0]  # one file holds both, as dstack's JSON does
    elif role == "eventlog" and eventlog is not None:
        before, eventlog = eventlog, mutate(eventlog, mutation["op"])
        changed = eventlog != before
    else:
        raise Mismatch(f"the case has no file {role!r}")
    if not changed:
        raise Mismatch("the edit changes nothing")
    edited = CaseFiles(prepared.case, files, prepared.names, prepared.at, eventlog)
    return _must_refuse(edited, mutation["error"])


def mutate(content: bytes, op: Mapping[str, Any]) -> bytes:
    """Apply one declarative edit.

    Args:
        content: The file.
        op: One member: the name of the operation and its argument.

    Raises:
        Mismatch: The operation is not known here.
    """
    ((name, argument),) = op.items()
    if name not in _OPS:
        raise Mismatch(f"unknown operation {name!r}")
    return _OPS[name](content, argument)


def prepare(document: Mapping[str, Any], folder: Path, case: Mapping[str, Any]) -> CaseFiles:
    """Read the files of a case.

    Raises:
        Mismatch: A file is missing, too large, or outside the folder.
    """
    named = {
        role: tuple(paths) if isinstance(paths, list) else (paths,)
        for role, paths in case["files"].items()
    }
    stated = case.get("eventlog")
    log = stated["file"] if stated else next(iter(_logs(named)), None)
    return CaseFiles(
        case=case,
        files={role: tuple(_read(folder, path) for path in paths) for role, paths in named.items()},
        names={role: tuple(Path(path).name for path in paths) for role, paths in named.items()},
        at=_time(case.get("at") or document["made"]),
        eventlog=_read(folder, log) if log else None,
    )


def _logs(named: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the paths of an event log that is listed among the files of a case."""
    return tuple(paths[0] for role, paths in named.items() if role in ("eventlog", "ccel"))


def _read(folder: Path, name: str) -> bytes:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Mismatch(f"{name}: outside the manifest's folder")
    try:
        if path.stat().st_size > MAX_FILE:
            raise Mismatch(f"{name}: larger than {MAX_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise Mismatch(f"{name}: {error.strerror}") from None


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def runner(platform: str) -> Callable[[CaseFiles], Mapping[str, Any]]:
    """Import what runs the cases of a platform.

    Raises:
        Mismatch: There is none.
    """
    target = RUNNERS.get(platform)
    if target is None:
        raise Mismatch(f"no runner for platform {platform!r}")
    module, _, function = target.partition(":")
    try:
        found: Callable[[CaseFiles], Mapping[str, Any]] = getattr(
            importlib.import_module(module), function
        )
    except ModuleNotFoundError as error:
        raise Mismatch(f"no runner for platform {platform!r}: {error}") from None
    return found


def _must_refuse(prepared: CaseFiles, expected: str) -> str:
    try:
        runner(prepared.case["platform"])(prepared)
    except AttestationError as error:
        if not _same_code(expected, error.code):
            raise Mismatch(f"expected {expected}, got {error.code}: {error}") from error
        return error.code
    raise Mismatch(f"expected {expected}, but it was accepted")


def _same_code(expected: str, actual: str) -> bool:
    """Compare codes; `*` in the expected one stands for any infix."""
    pattern = ".*".join(re.escape(part) for part in expected.split("*"))
    if re.fullmatch(pattern, actual):
        return True
    summary = expected.startswith("tdx.") and not _OURS.fullmatch(expected)
    return summary and actual == _INDISTINGUISHABLE


def _compare(stated: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    wrong = [
        f"{name}: expected {stated[name]!r}, got {found[name]!r}"
        for name in stated
        if name in found and stated[name] != found[name]
    ]
    if wrong:
        raise Mismatch("; ".join(wrong))
    open_facts = sorted(stated.keys() - found.keys())
    return f"facts not compared: {', '.join(open_facts)}" if open_facts else None


def _xor(content: bytes, argument: list[int]) -> bytes:
    offset, mask = argument
    changed = bytearray(content)
    changed[offset] ^= mask
    return bytes(changed)


def _fill(content: bytes, argument: list[int]) -> bytes:
    offset, length, value = argument
    return content[:offset] + bytes([value]) * length + content[offset + length :]


def _der_xor(content: bytes, argument: list[int]) -> bytes:
    """Edit the DER of a certificate, which may be stored as PEM."""
    if b"-----BEGIN" not in content:
        return _xor(content, argument)
    text = content.decode("ascii")
    found = re.search(r"(-----BEGIN [^-]+-----)(.+?)(-----END [^-]+-----)", text, re.DOTALL)
    if found is None:
        raise Mismatch("no PEM block to edit")
    der = _xor(base64.b64decode("".join(found[2].split())), argument)
    body = base64.encodebytes(der).decode("ascii")
    return (text[: found.start(2)] + "\n" + body + text[found.end(2) :]).encode("ascii")


def _json_edit(content: bytes, field: str, edit: Callable[[str], str]) -> bytes:
    """Edit a text of a JSON document; a field below others is named "outer.0.inner"."""
    document = json.loads(content)
    *above, last = [field] if field in document else field.split(".")
    try:
        inner = document
        for name in above:
            inner = inner[int(name) if isinstance(inner, list) else name]
        key = int(last) if isinstance(inner, list) else last
        inner[key] = edit(inner[key])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Mismatch(f"no text {field!r} to edit") from error
    return json.dumps(document).encode()


def _json_replace(content: bytes, argument: list[Any]) -> bytes:
    field, old, new, count = argument
    return _json_edit(content, field, lambda text: text.replace(old, new, count))


def _json_hex_xor(content: bytes, argument: list[Any]) -> bytes:
    field, offset, mask = argument
    return _json_edit(
        content, field, lambda text: _xor(binascii.unhexlify(text), [offset, mask]).hex()
    )


def _hex_xor(content: bytes, argument: list[int]) -> bytes:
    return _xor(bytes.fromhex(content.decode("ascii")), argument).hex().encode("ascii")


def _hex_truncate(content: bytes, argument: int) -> bytes:
    return bytes.fromhex(content.decode("ascii"))[:argument].hex().encode("ascii")


def _text_replace(content: bytes, argument: list[Any]) -> bytes:
    old, new, count = argument
    return content.replace(old.encode(), new.encode(), count)


_OPS: Final[Mapping[str, Callable[[bytes, Any], bytes]]] = {
    "xor": _xor,
    "truncate": lambda content, length: content[:length],
    "append": lambda content, text: content + bytes.fromhex(text),
    "fill": _fill,
    "der-xor": _der_xor,
    "json-replace": _json_replace,
    "json-hex-xor": _json_hex_xor,
    "hex-xor": _hex_xor,
    "hex-truncate": _hex_truncate,
    "text-replace": _text_replace,
}
