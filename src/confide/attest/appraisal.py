"""Step 5 of the verifier: compare claims with a policy and say how each factor ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from confide.attest.claims import (
    DEBUGGABLE,
    GPUS,
    MANIFEST,
    MEASUREMENT,
    PLATFORM,
    PRODUCT,
    TCB,
    Claims,
)
from confide.attest.factors import FactorSheet, Owner
from confide.attest.policy import AppraisalPolicy
from confide.errors import AppraisalError

__all__ = ["appraise", "refuse_without_policy"]

_NO_POLICY: Final = "no policy: an absent expectation is a refusal"
_FACTOR_OF_CLAIM: Final = {
    MEASUREMENT: "measurement accepted",
    MANIFEST: "manifest accepted",
    DEBUGGABLE: "debug off",
    TCB: "tcb minimum",
    PRODUCT: "tcb minimum",
    GPUS: "gpu accepted",
    PLATFORM: "measurement accepted",
    "policy": "policy valid",
}
_APPRAISED: Final = (
    "measurement accepted",
    "manifest accepted",
    "debug off",
    "tcb minimum",
    "gpu accepted",
    "other claims",
)


def refuse_without_policy(sheet: FactorSheet) -> None:
    """Show every appraisal factor as failed: there is nothing to compare with."""
    for name in ("policy valid", *_APPRAISED):
        sheet.mark_failed(
            name, _NO_POLICY, owner=Owner.YOU, next_command="confide verify URL --policy FILE"
        )


def appraise(sheet: FactorSheet, policy: AppraisalPolicy, claims: Claims, at: datetime) -> None:
    """Put every objection on the sheet, then raise them as one refusal.

    Raises:
        AppraisalError: The first objection; `findings` holds all of them.
    """
    found = policy.objections(claims, at)
    own = sheet.of_claims()
    for objection in found:
        for name in _factors_of(objection.claim, own):
            sheet.mark_failed(name, str(objection))
    for name in own.values():
        sheet.passed(name, "accepted by the policy")
    decided = policy.requirement.decides()
    sheet.passed(
        "policy valid",
        f"{policy.name} ({policy.profile}), "
        f"until {policy.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )
    for claim in (MEASUREMENT, MANIFEST, DEBUGGABLE, TCB):
        sheet.passed(_FACTOR_OF_CLAIM[claim], "accepted by the policy")
    if GPUS in decided:
        sheet.passed("gpu accepted", "accepted by the policy")
    else:
        sheet.not_applicable("gpu accepted", "the policy demands no GPU")
    sheet.passed("other claims", "no objection")
    if found:
        first = found[0]
        raise AppraisalError(
            first.claim,
            expected=first.expected,
            actual=first.actual,
            code=first.code,
            hint=None if len(found) == 1 else f"{len(found) - 1} more; see confide verify",
            findings=tuple(found),
        )


def _factors_of(claim: str, own: Mapping[str, str]) -> tuple[str, ...]:
    """Return the factors that an objection to `claim` fails.

    Claims have parts ("gpus.0.mode"); a policy's factor may be about a whole claim or about
    one part of it, whichever element of a list it is ("gpus.mode"). The finest one fails
    together with the common factor that it refines.
    """
    parts = [part for part in claim.split(".") if not part.isdecimal()]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    fine = next((own[name] for name in names if name in own), None)
    common = _FACTOR_OF_CLAIM.get(parts[0])
    found = tuple(name for name in (fine, common) if name is not None)
    return found or ("other claims",)
