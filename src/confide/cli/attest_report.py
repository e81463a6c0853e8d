"""Print what `confide verify` found: a table for people, or JSON."""

from __future__ import annotations

import json
import sys
from typing import Final

import click

from confide.attest.factors import Factor, Outcome
from confide.attest.policy import Profile
from confide.cli.attest_run import Examined, Outcomes
from confide.cli.output import paint, printable, report

__all__ = ["print_report"]

_COLOURS: Final = {
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.SKIP: "yellow",
    Outcome.NOT_APPLICABLE: "white",
}
_BANNER: Final = (
    "************************************************************************",
    "*  SIMULATED EVIDENCE: no processor protects this enclave.             *",
    "*  Its host can read every prompt. Never send anything that matters.   *",
    "************************************************************************",
)


def print_report(outcomes: Outcomes, *, as_json: bool) -> None:
    """Print the factors on standard output, banner and refusals on standard error."""
    if any(one.simulated for one in outcomes.examined):
        for line in _BANNER:
            click.echo(paint(line, "red", sys.stderr), err=True)
    if as_json:
        click.echo(json.dumps(_to_json(outcomes), indent=2))
    else:
        for number, one in enumerate(outcomes.examined, start=1):
            _print_replica(one, outcomes.url, f"enclave {number} of {len(outcomes.examined)}")
    for one in outcomes.examined:
        if one.error is not None:
            report(one.error)


def _print_replica(one: Examined, url: str, title: str) -> None:
    document = one.document_sha256.hex() or "unknown"
    click.echo(f"{title}, key document {document}")
    width = max(len(factor.name) for factor in one.factors)
    for factor in one.factors:
        _print_factor(factor, url, width)
    if one.result is None:
        click.echo(f"{paint('NOT TRUSTED', 'red')}: nothing is sent to this enclave")
    else:
        until = f"{one.result.expires_at:%Y-%m-%d %H:%M:%S %Z}"
        lab = one.result.policy_profile != Profile.PRODUCTION
        verdict = paint("LAB ONLY", "yellow") if lab else paint("trusted", "green")
        note = ", a lab policy: not for production" if lab else ""
        click.echo(f"{verdict} until {until} by policy {one.result.policy_name}{note}")


def _print_factor(factor: Factor, url: str, width: int) -> None:
    outcome = paint(f"{factor.outcome:<4}", _COLOURS[factor.outcome])
    mark = "enforced" if factor.enforced else "informs"
    detail = printable(factor.detail).replace("\n", " ")
    click.echo(f"  {factor.name:<{width}}  {outcome}  {mark:<8}  {factor.owner:<11}  {detail}")
    if factor.next_command:
        click.echo(f"  {'':<{width}}  {'':<4}  next: {factor.next_command.replace('URL', url)}")


def _to_json(outcomes: Outcomes) -> dict[str, object]:
    return {
        "url": outcomes.url,
        "nonce": outcomes.nonce.hex(),
        "at": f"{outcomes.at:%Y-%m-%dT%H:%M:%SZ}",
        "saved_at": outcomes.saved_at and f"{outcomes.saved_at:%Y-%m-%dT%H:%M:%SZ}",
        "verified": outcomes.verified,
        "exit_code": outcomes.exit_code,
        "replicas": [_replica_json(one) for one in outcomes.examined],
    }


def _replica_json(one: Examined) -> dict[str, object]:
    error = one.error
    return {
        "document_sha256": one.document_sha256.hex() or None,
        "verified": one.result is not None,
        "simulated": one.simulated,
        "error": None
        if error is None
        else {"code": error.code, "message": str(error), "hint": error.hint},
        "factors": [factor.to_json() for factor in one.factors],
        "result": None if one.result is None else one.result.to_json(),
    }
