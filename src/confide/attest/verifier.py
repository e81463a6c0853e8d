"""Decide about one enclave, in six numbered steps.

    1. Parse the evidence.
    2. Obtain endorsements.
    3. Verify chain, revocation and signature: is it genuine?
    4. Compare the report data with `binding.report_data`: is it fresh, and about this key?
    5. Appraise the claims under the policy: is it acceptable?
    6. Issue a result with claims, factors, unexamined claims and expiry.

Steps 2 and 3 belong to the platform; 4 to 6 do not know which one it is. Steps 1 to 4
stop at the first refusal that makes going on meaningless; step 5 collects every reason.
Pure functions of their arguments: no network, no clock, no environment.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from confide.attest.appraisal import appraise, refuse_without_policy
from confide.attest.binding import gpu_digest, gpu_nonce, report_data
from confide.attest.checks import (
    NOT_HARDWARE,
    check_collateral,
    check_dates,
    check_document,
    check_kind,
    check_manifest,
    check_nonce,
    check_suite,
    check_types,
    document_expiry,
    parse_document,
)
from confide.attest.claims import (
    DOCUMENT,
    GPUS,
    MANIFEST,
    PLATFORM,
    Claims,
)
from confide.attest.endorsements import EndorsementSource, EverySource, StapledEndorsements
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind
from confide.attest.factors import FACTORS, Factor, FactorSheet, Owner
from confide.attest.gpu_statement import read_gpu_statement
from confide.attest.platform import (
    BUILT_IN,
    Authenticated,
    EvidenceVerifier,
    with_built_ins,
)
from confide.attest.policy import AppraisalPolicy
from confide.attest.results import AttestationResult, show_time, to_unix
from confide.errors import (
    AppraisalError,
    AttestationError,
    BindingError,
    EvidenceError,
)
from confide.wire.key_document import KeyDocument

__all__ = ["Explanation", "Verifier", "explain", "genuine_claims"]


class Explanation(NamedTuple):
    """How an examination ended.

    Attributes:
        factors: Every factor, examined or not.
        error: Why the enclave was refused, or None.
        result: What may be relied on, or None. Exactly one of the two is None.
    """

    factors: tuple[Factor, ...]
    error: AttestationError | None
    result: AttestationResult | None


@dataclass(frozen=True)
class _Exchange:
    """What was asked and what came back. All bytes but the nonce are untrusted."""

    raw_evidence: bytes = field(repr=False)
    document: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    at: datetime

    @property
    def document_sha256(self) -> bytes:
        return hashlib.sha256(self.document).digest()

    @property
    def manifest_sha256(self) -> bytes:
        return hashlib.sha256(self.manifest).digest()


class Verifier:
    """Accepts hardware evidence under one policy. An `EnclaveVerifier`.

    Args:
        policy: What is good enough.
        platforms: Platforms by type, in addition to the built-in ones.
        endorsements: Where collateral is looked for before what the sender stapled.

    Raises:
        ConfigError: A platform would replace a built-in one or claims to be simulated.
    """

    def __init__(
        self,
        policy: AppraisalPolicy,
        *,
        platforms: Mapping[str, EvidenceVerifier] = BUILT_IN,
        endorsements: tuple[EndorsementSource, ...] = (),
    ) -> None:
        if not isinstance(policy, AppraisalPolicy):
            # `None` would otherwise reach the explaining path, which has a meaning for it.
            raise TypeError("policy must be an AppraisalPolicy")
        self._policy = policy
        self._platforms = with_built_ins(platforms)
        self._endorsements = endorsements

    @property
    def policy(self) -> AppraisalPolicy:
        """What is good enough."""
        return self._policy

    def verify(
        self, raw_evidence: bytes, *, document: bytes, manifest: bytes, nonce: bytes, at: datetime
    ) -> AttestationResult:
        """Check evidence that answers a challenge. See `EnclaveVerifier.verify`.

        Raises:
            EvidenceError: Malformed, simulated, or of a platform unknown to this version.
            EndorsementError: Not genuine, or collateral is missing or out of date.
            BindingError: Genuine, but about another key, nonce or manifest.
            AppraisalError: Not accepted; `findings` holds every reason.
        """
        explanation = self.explain(
            raw_evidence, document=document, manifest=manifest, nonce=nonce, at=at
        )
        if explanation.result is None:
            error = explanation.error or AttestationError("not verified")
            error.factors = explanation.factors
            raise error
        return explanation.result

    def with_endorsements(self, *sources: EndorsementSource) -> Verifier:
        """Return a verifier that looks into `sources` as well, after its own."""
        twin = copy.copy(self)
        twin._endorsements = (*self._endorsements, *sources)
        return twin

    def explain(
        self, raw_evidence: bytes, *, document: bytes, manifest: bytes, nonce: bytes, at: datetime
    ) -> Explanation:
        """Check as `verify` does, but return the refusal and every factor."""
        exchange = _Exchange(raw_evidence, document, manifest, nonce, at)
        return _examine(exchange, self._policy, self._platforms, self._endorsements)


def explain(
    raw_evidence: bytes,
    *,
    document: bytes,
    manifest: bytes,
    nonce: bytes,
    at: datetime,
    policy: AppraisalPolicy | None,
    platforms: Mapping[str, EvidenceVerifier] = BUILT_IN,
    endorsements: tuple[EndorsementSource, ...] = (),
) -> Explanation:
    """Say of every factor how it ended. Without a policy the answer is always a refusal."""
    exchange = _Exchange(raw_evidence, document, manifest, nonce, at)
    return _examine(exchange, policy, with_built_ins(platforms), endorsements)


def _examine(
    exchange: _Exchange,
    policy: AppraisalPolicy | None,
    platforms: Mapping[str, EvidenceVerifier],
    sources: tuple[EndorsementSource, ...],
) -> Explanation:
    sheet = FactorSheet(FACTORS)
    try:
        if policy is None:
            refuse_without_policy(sheet)
        result = _steps(sheet, exchange, policy, platforms, sources)
    except AttestationError as error:
        return Explanation(sheet.factors(), error, None)
    return Explanation(result.factors, None, result)


def genuine_claims(
    raw_evidence: bytes,
    *,
    document: bytes,
    manifest: bytes,
    nonce: bytes,
    at: datetime,
    platforms: Mapping[str, EvidenceVerifier] = BUILT_IN,
    endorsements: tuple[EndorsementSource, ...] = (),
) -> Claims:
    """Do steps 1 to 4: what a genuine enclave says of itself. Nothing is accepted by this.

    For writing a policy from what was seen. A client that sends something uses `Verifier`.

    Raises:
        AttestationError: Malformed, not genuine, or about another key, nonce or manifest.
    """
    exchange = _Exchange(raw_evidence, document, manifest, nonce, at)
    sheet = FactorSheet(FACTORS)
    return _authenticate(sheet, exchange, None, with_built_ins(platforms), endorsements)[1]


def _steps(
    sheet: FactorSheet,
    exchange: _Exchange,
    policy: AppraisalPolicy | None,
    platforms: Mapping[str, EvidenceVerifier],
    sources: tuple[EndorsementSource, ...],
) -> AttestationResult:
    document, claims, genuine = _authenticate(sheet, exchange, policy, platforms, sources)
    # 5. Appraise the claims under the policy: acceptable.
    if policy is None:
        raise AppraisalError("policy", expected="a policy", actual="missing", code="policy.missing")
    appraise(sheet, policy, claims, exchange.at)
    # 6. Issue a result.
    return _issue(sheet, exchange, document, policy, claims, genuine)


def _authenticate(
    sheet: FactorSheet,
    exchange: _Exchange,
    policy: AppraisalPolicy | None,
    platforms: Mapping[str, EvidenceVerifier],
    sources: tuple[EndorsementSource, ...],
) -> tuple[KeyDocument, Claims, tuple[Authenticated, ...]]:
    # 1. Parse the evidence.
    evidence, document, cpu = _parse(sheet, exchange, platforms)
    # 2. Obtain endorsements.
    endorsements = EverySource((*sources, StapledEndorsements(evidence.collateral)))
    # 3. Verify chain, revocation and signature: genuine.
    sheet.add(platforms[cpu.type].factors)
    if policy is not None:
        sheet.add(policy.requirement.factors(cpu.type))
    with sheet.step("hardware root", f"{cpu.type}: chain, revocation and signature hold"):
        genuine = platforms[cpu.type].authenticate(
            cpu.report, aux=cpu.aux, endorsements=endorsements, sheet=sheet, at=exchange.at
        )
        check_collateral(genuine, exchange.at)
    sheet.passed("hardware root", genuine.summary)
    gpus = _authenticate_gpus(sheet, evidence, exchange, platforms, endorsements)
    # 4. Compare the report data: fresh and bound.
    with sheet.step("fresh and bound", "nonce, key document, manifest and GPUs are in the report"):
        _check_report_data(evidence, exchange, genuine)
    claims = _claims(sheet, cpu, exchange, genuine, gpus)
    return document, claims, (genuine, *gpus)


def _parse(
    sheet: FactorSheet, exchange: _Exchange, platforms: Mapping[str, EvidenceVerifier]
) -> tuple[Evidence, KeyDocument, CpuReport]:
    """Read everything and compare what it says of itself; refuse before any signature."""
    with sheet.step("evidence well-formed", "envelope of version 1"):
        evidence = Evidence.parse(exchange.raw_evidence)
    with sheet.check("evidence kind", "hardware"):
        check_kind(evidence)
    if evidence.kind is not EvidenceKind.HARDWARE:
        sheet.mark_failed("hardware root", NOT_HARDWARE, owner=Owner.OPERATOR)
    with sheet.step("document well-formed", f"sha256 {exchange.document_sha256.hex()}"):
        document = parse_document(exchange.document)
    if evidence.kind is EvidenceKind.HARDWARE:
        with sheet.check("platform verified here", "every type in the envelope is known"):
            check_types(evidence, platforms)
    with sheet.check("suite offered", "X-Wing, HKDF-SHA256, AES-256-GCM"):
        check_suite(document)
    with sheet.check("document dates", f"valid until {show_time(document.not_after)}"):
        check_dates(document, exchange.at)
    with sheet.check("nonce echoed", "the envelope answers this challenge"):
        check_nonce(evidence, exchange.nonce)
    with sheet.check("document matches", "the envelope is about this key document"):
        check_document(evidence, exchange.document)
    with sheet.check("manifest matches", f"sha256 {exchange.manifest_sha256.hex()}"):
        check_manifest(evidence, document, exchange.manifest)
    sheet.settle()
    if evidence.cpu is None:
        raise EvidenceError("no processor report", code="envelope.kind")
    return evidence, document, evidence.cpu


def _authenticate_gpus(
    sheet: FactorSheet,
    evidence: Evidence,
    exchange: _Exchange,
    platforms: Mapping[str, EvidenceVerifier],
    endorsements: EndorsementSource,
) -> tuple[Authenticated, ...]:
    """Check each GPU's report, and that its nonce came from this key document and challenge."""
    if not evidence.gpus:
        sheet.not_applicable("gpu binding", "no GPU")
        return ()
    expected = gpu_nonce(exchange.document_sha256, exchange.nonce)
    found = []
    for name in dict.fromkeys(gpu.type for gpu in evidence.gpus):
        sheet.add(platforms[name].factors)
    with sheet.step("gpu binding", f"{len(evidence.gpus)} genuine, nonce as expected"):
        for gpu in evidence.gpus:
            genuine = platforms[gpu.type].authenticate(
                gpu.report,
                aux={"chain": gpu.chain.encode()},
                endorsements=endorsements,
                sheet=sheet,
                at=exchange.at,
            )
            check_collateral(genuine, exchange.at)
            if not hmac.compare_digest(genuine.report_data, expected):
                raise BindingError("a GPU answered another nonce", code="binding.gpu_nonce")
            found.append(genuine)
    return tuple(found)


def _check_report_data(evidence: Evidence, exchange: _Exchange, genuine: Authenticated) -> None:
    """Compare with values computed here, never with values the envelope states."""
    expected = report_data(
        exchange.document_sha256,
        exchange.nonce,
        gpu_digest([gpu.report for gpu in evidence.gpus]),
        exchange.manifest_sha256,
    )
    if not hmac.compare_digest(genuine.report_data, expected):
        raise BindingError("the report is about another key, nonce, GPU or manifest")


def _claims(
    sheet: FactorSheet,
    cpu: CpuReport,
    exchange: _Exchange,
    genuine: Authenticated,
    gpus: tuple[Authenticated, ...],
) -> Claims:
    """Join what the processor said with what step 4 proved; the latter cannot be replaced.

    What the enclave states about its GPUs is in the manifest, which step 4 bound to the
    measured code that wrote it; the GPUs themselves cannot say it (see `gpu_statement`).
    """
    stated: Mapping[str, object] = {}
    if gpus:
        with sheet.step("gpu binding", f"{len(gpus)} genuine, nonce as expected"):
            stated = read_gpu_statement(exchange.manifest)
    return Claims(
        {
            **genuine.claims,
            PLATFORM: cpu.type,
            DOCUMENT: exchange.document_sha256,
            MANIFEST: exchange.manifest_sha256,
            GPUS: tuple({**gpu.claims, **stated} for gpu in gpus),
        }
    )


def _issue(
    sheet: FactorSheet,
    exchange: _Exchange,
    document: KeyDocument,
    policy: AppraisalPolicy,
    claims: Claims,
    genuine: tuple[Authenticated, ...],
) -> AttestationResult:
    expires_at = min(
        document_expiry(document, exchange.at),
        policy.expires_at,
        *(part.expires_at for part in genuine),
    )
    sheet.passed("expiry", f"to be checked again at {show_time(to_unix(expires_at))}")
    sheet.settle()
    return AttestationResult(
        platform=claims.platform,
        nonce=exchange.nonce,
        verified_at=exchange.at,
        expires_at=expires_at,
        document_sha256=exchange.document_sha256,
        manifest_sha256=exchange.manifest_sha256,
        factors=sheet.factors(),
        claims=claims,
        unexamined=tuple(sorted(claims.keys() - policy.requirement.looks_at())),
        policy_name=policy.name,
        policy_digest=policy.digest,
        policy_profile=str(policy.profile),
    )
