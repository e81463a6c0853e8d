"""Check every replica behind one URL and keep what was found."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from confide.attest.evidence import Evidence, EvidenceKind
from confide.attest.factors import FACTORS, Factor, FactorSheet, FactorSpec, Owner
from confide.attest.policy import AppraisalPolicy
from confide.attest.results import AttestationResult, to_unix
from confide.attest.verifier import explain
from confide.cli.attest_fetch import Fetcher
from confide.cli.output import EXIT_ATTESTATION, EXIT_DONE, exit_code
from confide.errors import (
    AttestationError,
    ConfideError,
    ConfigError,
    EvidenceError,
    NoEnclaveAvailable,
)
from confide.wire.directory import Directory, Replica
from confide.wire.strict_json import b64url

__all__ = ["Examined", "Outcomes", "run"]

_CLOCK_TOLERANCE_S: Final = 60

NETWORK_FACTORS: Final = (
    FactorSpec("transport reached", Owner.NETWORK, next_command="confide doctor"),
    FactorSpec("directory well-formed", Owner.OPERATOR, next_command="confide verify --help"),
    FactorSpec("evidence fetched", Owner.OPERATOR, next_command="try again; then confide doctor"),
    # The gateway's clock is as unproven as ours, so a difference informs and refuses nothing.
    FactorSpec("clock", Owner.YOU, enforced=False, next_command="confide doctor"),
)


@dataclass(frozen=True)
class Examined:
    """One replica, or the failure to reach any.

    Attributes:
        document_sha256: 32 bytes, or empty if there was no document.
        simulated: The evidence says of itself that no processor made it.
        factors: Every factor.
        error: Why it is not trusted, or None.
        result: What may be relied on, or None.
    """

    document_sha256: bytes
    simulated: bool
    factors: tuple[Factor, ...]
    error: ConfideError | None
    result: AttestationResult | None


@dataclass(frozen=True)
class Outcomes:
    """Everything found behind one URL.

    Attributes:
        url: Base URL.
        nonce: The challenge, 32 bytes.
        examined: At least one.
    """

    url: str
    nonce: bytes
    examined: tuple[Examined, ...]

    @property
    def verified(self) -> bool:
        """Whether every replica is genuine and accepted."""
        return bool(self.examined) and all(one.result is not None for one in self.examined)

    @property
    def exit_code(self) -> int:
        """0 verified; 3 if any replica was refused; else the code of the first error."""
        if self.verified:
            return EXIT_DONE
        codes = [exit_code(one.error) for one in self.examined if one.error is not None]
        return EXIT_ATTESTATION if EXIT_ATTESTATION in codes or not codes else codes[0]


@dataclass
class _Bundle:
    """What was fetched, so that it can be looked at again elsewhere."""

    url: str
    nonce: bytes
    fetched_at: datetime
    replicas: list[dict[str, str]] = field(default_factory=list)

    def add(self, replica: Replica, evidence: bytes) -> None:
        self.replicas.append(
            {
                "document": b64url(replica.document),
                "evidence": b64url(evidence),
                "manifest": b64url(replica.manifest),
            }
        )

    def write(self, path: Path) -> None:
        """Replace `path` in one step: a reader sees the old file or the whole new one."""
        members = {
            "v": 1,
            "url": self.url,
            "nonce": self.nonce.hex(),
            "fetched_at": to_unix(self.fetched_at),
            "replicas": self.replicas,
        }
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporary = Path(name)
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    json.dump(members, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def run(
    url: str,
    *,
    policy: AppraisalPolicy | None,
    nonce: bytes,
    save: Path | None,
    at: datetime,
) -> Outcomes:
    """Fetch and check all replicas behind `url`.

    Args:
        url: Base URL.
        policy: What is good enough; None refuses everything and still shows the factors.
        nonce: 32 bytes.
        save: Where to write what was fetched, or None.
        at: Now.

    Raises:
        ConfigError: `save` cannot be written.
    """
    bundle = _Bundle(url, nonce, at)
    sheet = FactorSheet(NETWORK_FACTORS)
    with Fetcher(url) as fetcher:
        try:
            replicas = _replicas(sheet, fetcher, at)
        except ConfideError as error:
            return Outcomes(url, nonce, (_unexamined(b"", sheet, error),))
        examined = tuple(
            _examine(sheet.copy(), fetcher, replica, bundle, policy) for replica in replicas
        )
    if save is not None:
        bundle.write(save)
    return Outcomes(url, nonce, examined)


def _replicas(sheet: FactorSheet, fetcher: Fetcher, at: datetime) -> tuple[Replica, ...]:
    try:
        fetched = fetcher.directory()
    except ConfideError as error:
        sheet.mark_failed("transport reached", str(error))
        raise
    sheet.passed("transport reached", f"{len(fetched.body)} bytes")
    _compare_clock(sheet, fetched.date, at)
    with sheet.step("directory well-formed", "version 1"):
        try:
            replicas = Directory.parse(fetched.body).replicas
        except ConfideError as error:
            raise EvidenceError(str(error), code="envelope.directory") from error
    if not replicas:
        sheet.mark_failed("evidence fetched", "no enclave is listed")
        raise NoEnclaveAvailable("the gateway lists no enclave")
    return replicas


def _compare_clock(sheet: FactorSheet, date: str, at: datetime) -> None:
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        sheet.not_applicable("clock", "the answer has no date to compare with")
        return
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    ahead_s = round((at - theirs).total_seconds())
    if abs(ahead_s) > _CLOCK_TOLERANCE_S:
        sheet.mark_failed("clock", f"this machine is {ahead_s} s ahead of the gateway")
    else:
        sheet.passed("clock", f"within {_CLOCK_TOLERANCE_S} s of the gateway's")


def _examine(
    sheet: FactorSheet,
    fetcher: Fetcher,
    replica: Replica,
    bundle: _Bundle,
    policy: AppraisalPolicy | None,
) -> Examined:
    document_sha256 = hashlib.sha256(replica.document).digest()
    try:
        raw = fetcher.evidence(document_sha256, bundle.nonce).body
    except ConfideError as error:
        sheet.mark_failed("evidence fetched", str(error))
        return _unexamined(document_sha256, sheet, error)
    sheet.passed("evidence fetched", f"{len(raw)} bytes for this challenge")
    bundle.add(replica, raw)
    explanation = explain(
        raw,
        document=replica.document,
        manifest=replica.manifest,
        nonce=bundle.nonce,
        at=bundle.fetched_at,
        policy=policy,
    )
    return Examined(
        document_sha256,
        _is_simulated(raw),
        sheet.factors() + explanation.factors,
        explanation.error,
        explanation.result,
    )


def _unexamined(document_sha256: bytes, sheet: FactorSheet, error: ConfideError) -> Examined:
    """Show everything that could not be looked at as SKIP."""
    factors = sheet.factors() + FactorSheet(FACTORS).factors()
    return Examined(document_sha256, False, factors, error, None)


def _is_simulated(raw: bytes) -> bool:
    try:
        return Evidence.parse(raw).kind is EvidenceKind.SOFTWARE_DEV
    except AttestationError:
        return False
