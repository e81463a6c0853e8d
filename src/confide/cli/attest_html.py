"""The report of `confide verify` as one HTML page that can be mailed to an auditor.

One file: no script, no font, no image, nothing loaded from anywhere, and a content security
policy that says so. Everything that came from elsewhere is escaped.
"""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from typing import Final

from confide.attest.factors import Factor, Outcome
from confide.attest.policy import Profile
from confide.attest.results import AttestationResult
from confide.cli.attest_run import Examined, Outcomes
from confide.cli.output import printable

__all__ = ["render"]

_STYLE: Final = """
:root { color-scheme: light dark; --pass: #0a6b2d; --fail: #b00020; --skip: #8a5a00; --na: #666; }
@media (prefers-color-scheme: dark) {
  :root { --pass: #5bd68a; --fail: #ff8091; --skip: #f0b24a; --na: #9a9a9a; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; border: 1px solid #8884; border-radius: 6px; padding: .8rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; }
tbody tr { border-top: 1px solid #8883; }
td.o { font-weight: 700; white-space: nowrap; }
.PASS { color: var(--pass); } .FAIL { color: var(--fail); }
.SKIP { color: var(--skip); } .N-A { color: var(--na); }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; font-size: 1.1rem; }
.good { border-color: var(--pass); } .bad { border-color: var(--fail); }
.simulated { background: #b00020; color: #fff; padding: 1rem; font-weight: 700; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--na); } dd { margin: 0; overflow-wrap: anywhere; }
.next { display: block; color: var(--na); font-size: 13px; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } }
"""
_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'"
_SIMULATED: Final = (
    "SIMULATED EVIDENCE. No processor protects this enclave: its host can read every prompt."
)


def render(outcomes: Outcomes, *, release: str) -> str:
    """Return the page.

    Args:
        outcomes: What was found.
        release: Which program says so, such as "confide 0.1.0".
    """
    title = "verified" if outcomes.verified else "NOT verified"
    body = [
        f"<h1>Attestation of {_text(outcomes.url)}: {title}</h1>",
        *([f'<p class="simulated">{_SIMULATED}</p>'] if _simulated(outcomes) else []),
        _overview(outcomes, release),
        *(
            _replica(one, outcomes.url, f"Enclave {number} of {len(outcomes.examined)}")
            for number, one in enumerate(outcomes.examined, start=1)
        ),
        _how_to_repeat(outcomes),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>confide: {_text(outcomes.url)} {title}</title><style>{_STYLE}</style></head>"
        "<body>" + "\n".join(body) + "</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(printable(str(value)))


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def _simulated(outcomes: Outcomes) -> bool:
    return any(one.simulated for one in outcomes.examined)


def _overview(outcomes: Outcomes, release: str) -> str:
    rows = {
        "checked at": _moment(outcomes.at),
        "checked by": f"{release}, on the machine of whoever made this report",
        "challenge (nonce)": outcomes.nonce.hex(),
    }
    if outcomes.saved_at is not None:
        rows["evidence saved"] = (
            f"{_moment(outcomes.saved_at)}, by the clock of whoever saved it; they chose the"
            " challenge, so freshness rests on their word"
        )
    return _definitions(rows)


def _definitions(rows: dict[str, str]) -> str:
    listed = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows.items())
    return f"<dl>{listed}</dl>"


def _replica(one: Examined, url: str, title: str) -> str:
    rows = "".join(_row(factor, url) for factor in one.factors)
    counts = ", ".join(
        f"{sum(f.outcome is outcome for f in one.factors)} {outcome}" for outcome in Outcome
    )
    return (
        f"<h2>{title}</h2>{_verdict(one)}"
        f"<p>Key document <code>{_text(one.document_sha256.hex() or 'unknown')}</code>. "
        f"{len(one.factors)} factors: {counts}. SKIP means not examined and never counts as"
        " trust.</p><table><thead><tr><th>factor</th><th>outcome</th><th></th>"
        f"<th>whose</th><th>detail</th></tr></thead><tbody>{rows}</tbody></table>"
        + (_claims(one.result) if one.result is not None else "")
    )


def _verdict(one: Examined) -> str:
    if one.result is None:
        reason = f"{one.error.code}: {one.error}" if one.error is not None else "not verified"
        return f'<p class="verdict bad"><b>NOT TRUSTED</b> {_text(reason)}</p>'
    policy = f"policy {one.result.policy_name}, SHA-256 {one.result.policy_digest.hex()}"
    until = _moment(one.result.expires_at)
    if one.result.policy_profile != Profile.PRODUCTION:
        return (
            f'<p class="verdict bad"><b>LAB ONLY</b> until {until} by {_text(policy)}, which is no '
            "policy for production</p>"
        )
    return f'<p class="verdict good"><b>trusted</b> until {until} by {_text(policy)}</p>'


def _row(factor: Factor, url: str) -> str:
    command = factor.next_command
    follow = (
        f'<span class="next">next: <code>{_text(command.replace("URL", url))}</code></span>'
        if command
        else ""
    )
    mark = "enforced" if factor.enforced else "informs"
    return (
        f'<tr><td>{_text(factor.name)}</td><td class="o {factor.outcome}">{factor.outcome}</td>'
        f"<td>{mark}</td><td>{_text(factor.owner)}</td><td>{_text(factor.detail)}{follow}</td></tr>"
    )


def _claims(result: AttestationResult) -> str:
    shown = json.dumps(result.to_json()["submods"], indent=2, sort_keys=True)
    return f"<details><summary>What the processor said</summary><pre>{_text(shown)}</pre></details>"


def _how_to_repeat(outcomes: Outcomes) -> str:
    at = f"{outcomes.at:%Y-%m-%dT%H:%M:%SZ}"
    return (
        "<h2>Check this yourself</h2><p>This page is a report, not evidence: anyone can write one."
        " Ask for the bundle it was made from and check it under a policy of your own:</p>"
        f"<pre>confide verify --bundle FILE --policy POLICY --at {at}</pre>"
    )
