"""Check every replica behind one URL, or in one bundle, and keep what was found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from confide.attest.collateral import Bundle as Endorsements
from confide.attest.collateral import encode_bundle, read_bundle
from confide.attest.endorsements import (
    MAX_CANDIDATES,
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EndorsementSource,
    EverySource,
)
from confide.attest.evidence import Evidence, EvidenceKind
from confide.attest.factors import FACTORS, Factor, FactorSheet, FactorSpec, Owner
from confide.attest.policy import AppraisalPolicy
from confide.attest.results import AttestationResult
from confide.attest.verifier import explain
from confide.cli.attest_bundle import Bundle, Fetched, write_file
from confide.cli.attest_fetch import Fetcher
from confide.cli.output import EXIT_ATTESTATION, EXIT_DONE, exit_code
from confide.errors import (
    AttestationError,
    ConfideError,
    EvidenceError,
    GatewayError,
    NoEnclaveAvailable,
    TransportError,
)
from confide.wire.directory import Directory, Replica

__all__ = ["Examined", "Outcomes", "run", "run_bundle"]

_CLOCK_TOLERANCE_S: Final = 60

NETWORK_FACTORS: Final = (
    FactorSpec("transport reached", Owner.NETWORK, next_command="confide doctor"),
    FactorSpec("directory well-formed", Owner.OPERATOR, next_command="confide verify --help"),
    FactorSpec("evidence fetched", Owner.OPERATOR, next_command="try again; then confide doctor"),
    # The gateway's clock is as unproven as ours, so a difference informs and refuses nothing.
    FactorSpec("clock", Owner.YOU, enforced=False, next_command="confide doctor"),
    # Whoever saved a bundle chose its nonce; that informs a reader and decides nothing.
    FactorSpec(
        "challenge of your own", Owner.YOU, enforced=False, next_command="confide verify URL"
    ),
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
        fetched: There was evidence to look at.
    """

    document_sha256: bytes
    simulated: bool
    factors: tuple[Factor, ...]
    error: ConfideError | None
    result: AttestationResult | None
    fetched: bool = True


@dataclass(frozen=True)
class Outcomes:
    """Everything found behind one URL.

    Attributes:
        url: Base URL.
        nonce: The challenge, 32 bytes.
        examined: At least one.
        at: The time everything was checked at.
        saved_at: When the bundle was saved; None if everything was fetched just now.
    """

    url: str
    nonce: bytes
    examined: tuple[Examined, ...]
    at: datetime
    saved_at: datetime | None = None

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


class Seen:
    """Endorsement sources that remember what was asked of them, so that it can be saved."""

    def __init__(self, sources: tuple[EndorsementSource, ...]) -> None:
        self._source = EverySource(sources)
        self._found: dict[EndorsementKey, tuple[Endorsement, ...]] = {}

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """See `EndorsementSource.find`."""
        self._found[key] = self._source.find(key)
        return self._found[key]

    def saw(self, fact: CollateralFact) -> None:
        """See `EndorsementSource.saw`."""
        self._source.saw(fact)

    def encode(self) -> bytes:
        """Return all of it as one bundle of endorsements, as many of a key as a reader takes."""
        return encode_bundle(
            one for found in self._found.values() for one in found[:MAX_CANDIDATES]
        )


@dataclass(frozen=True)
class _Terms:
    """What everything is compared with."""

    nonce: bytes
    at: datetime
    policy: AppraisalPolicy | None
    endorsements: tuple[EndorsementSource, ...] = ()


def run(
    url: str,
    *,
    policy: AppraisalPolicy | None,
    nonce: bytes,
    save: Path | None,
    at: datetime,
    endorsements: tuple[EndorsementSource, ...] = (),
) -> Outcomes:
    """Fetch and check all replicas behind `url`.

    Args:
        url: Base URL.
        policy: What is good enough; None refuses everything and still shows the factors.
        nonce: 32 bytes.
        save: Where to write what was fetched, or None.
        at: Now.
        endorsements: Where collateral is looked for before what the gateway hands out.

    Raises:
        ConfigError: `save` cannot be written, or what was looked at does not fit into it.
    """
    sheet = FactorSheet(NETWORK_FACTORS)
    sheet.passed("challenge of your own", "this run chose the nonce")
    fetched: list[Fetched] = []
    with Fetcher(url) as fetcher:
        try:
            replicas = _replicas(sheet, fetcher, at)
        except ConfideError as error:
            return Outcomes(url, nonce, (_unexamined(b"", sheet, error),), at)
        seen = Seen((*endorsements, _staples(fetcher)))
        terms = _Terms(nonce, at, policy, (seen,))
        examined = tuple(
            _fetch_and_examine(sheet.copy(), fetcher, replica, terms, fetched)
            for replica in replicas
        )
    if save is not None and fetched:
        write_file(save, Bundle(url, nonce, at, tuple(fetched), seen.encode()).encode())
    return Outcomes(url, nonce, examined, at)


def run_bundle(
    bundle: Bundle,
    *,
    policy: AppraisalPolicy | None,
    at: datetime,
    endorsements: tuple[EndorsementSource, ...] = (),
) -> Outcomes:
    """Check what somebody saved, without any network.

    Args:
        bundle: Untrusted.
        policy: What is good enough; None refuses everything and still shows the factors.
        at: The time to check dates at. Evidence is a day old at most, so for a bundle of last
            week this is a time of last week.
        endorsements: Where collateral is looked for before the bundle's own.

    Raises:
        EvidenceError: The endorsements in the bundle are malformed.
    """
    sheet = FactorSheet(NETWORK_FACTORS)
    for spec in NETWORK_FACTORS:
        sheet.not_applicable(spec.name, "read from a bundle")
    sheet.not_applicable(
        "challenge of your own",
        "whoever saved the bundle chose the nonce; that it was fresh rests on their word",
    )
    carried = read_bundle(bundle.endorsements, source="bundle")
    terms = _Terms(bundle.nonce, at, policy, (*endorsements, carried))
    examined = tuple(_examine(sheet.copy(), one, terms) for one in bundle.replicas)
    return Outcomes(bundle.url, bundle.nonce, examined, at, bundle.fetched_at)


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


def _staples(fetcher: Fetcher) -> EndorsementSource:
    """What the gateway hands out; a gateway that has nothing, or nothing usable, is no failure."""
    try:
        return read_bundle(fetcher.collateral().body, source="gateway")
    except (AttestationError, GatewayError, TransportError):
        return Endorsements()


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


def _fetch_and_examine(
    sheet: FactorSheet, fetcher: Fetcher, replica: Replica, terms: _Terms, fetched: list[Fetched]
) -> Examined:
    document_sha256 = hashlib.sha256(replica.document).digest()
    try:
        raw = fetcher.evidence(document_sha256, terms.nonce).body
    except ConfideError as error:
        sheet.mark_failed("evidence fetched", str(error))
        return _unexamined(document_sha256, sheet, error)
    sheet.passed("evidence fetched", f"{len(raw)} bytes for this challenge")
    fetched.append(Fetched(replica.document, raw, replica.manifest))
    return _examine(sheet, fetched[-1], terms)


def _examine(sheet: FactorSheet, one: Fetched, terms: _Terms) -> Examined:
    explanation = explain(
        one.evidence,
        document=one.document,
        manifest=one.manifest,
        nonce=terms.nonce,
        at=terms.at,
        policy=terms.policy,
        endorsements=terms.endorsements,
    )
    return Examined(
        hashlib.sha256(one.document).digest(),
        _is_simulated(one.evidence),
        sheet.factors() + explanation.factors,
        explanation.error,
        explanation.result,
    )


def _unexamined(document_sha256: bytes, sheet: FactorSheet, error: ConfideError) -> Examined:
    """Show everything that could not be looked at as SKIP."""
    factors = sheet.factors() + FactorSheet(FACTORS).factors()
    return Examined(document_sha256, False, factors, error, None, fetched=False)


def _is_simulated(raw: bytes) -> bool:
    try:
        return Evidence.parse(raw).kind is EvidenceKind.SOFTWARE_DEV
    except AttestationError:
        return False
