"""What is checked about an enclave, one named factor at a time.

The list is data. A platform adds its own factors to the sheet it is given, and
`confide verify` prints whatever the sheet holds. A factor that was not examined is SKIP,
and no result can be issued while an enforced factor is anything but PASS or N-A.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from confide.errors import AttestationError

__all__ = [
    "APPRAISAL_FACTORS",
    "AUTHENTICATION_FACTORS",
    "BINDING_FACTORS",
    "FACTORS",
    "Factor",
    "FactorSheet",
    "FactorSpec",
    "Outcome",
    "Owner",
]


class Outcome(StrEnum):
    """How one factor ended."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    FAIL = "FAIL"
    SKIP = "SKIP"
    NOT_APPLICABLE = "N-A"


class Owner(StrEnum):
    """Whose failure it is."""

    CHIP_VENDOR = "chip vendor"
    CLOUD = "cloud"
    OPERATOR = "operator"
    YOU = "you"
    NETWORK = "network"


@dataclass(frozen=True)
class FactorSpec:
    """One thing that is checked.

    Attributes:
        name: Unique, lower case, stable.
        owner: Whose failure it is.
        enforced: Whether a failure refuses the enclave.
        next_command: What to do about a failure, or None.
        claim: For factors of a policy: an objection to this claim fails the factor.
    """

    name: str
    owner: Owner
    enforced: bool = True
    next_command: str | None = None
    claim: str | None = None


@dataclass(frozen=True)
class Factor:
    """One thing that was checked, and how it ended.

    Attributes:
        name: As in `FactorSpec`.
        outcome: PASS, FAIL, SKIP or N-A.
        enforced: Whether a failure refuses the enclave.
        owner: Whose failure it is.
        detail: One line, no secret and no content.
        next_command: What to do about a failure, or None.
    """

    name: str
    outcome: Outcome
    enforced: bool
    owner: Owner
    detail: str
    next_command: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "outcome": str(self.outcome),
            "enforced": self.enforced,
            "owner": str(self.owner),
            "detail": self.detail,
            "next_command": self.next_command,
        }


_HELP: Final = "confide verify --help"
_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"

_EVIDENCE_FACTORS: Final = (
    FactorSpec("document well-formed", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("evidence well-formed", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("evidence kind", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("platform verified here", Owner.YOU, next_command="pip install -U confide"),
    FactorSpec("suite offered", Owner.OPERATOR, next_command="pip install -U confide"),
)
BINDING_FACTORS: Final = (
    FactorSpec("document dates", Owner.OPERATOR, next_command="confide doctor"),
    FactorSpec("nonce echoed", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("document matches", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("manifest matches", Owner.OPERATOR, next_command=_ASK),
)
AUTHENTICATION_FACTORS: Final = (
    FactorSpec("hardware root", Owner.CHIP_VENDOR, next_command=_ASK),
    FactorSpec("fresh and bound", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("gpu binding", Owner.OPERATOR, next_command=_ASK),
)
APPRAISAL_FACTORS: Final = (
    FactorSpec("policy valid", Owner.YOU, next_command=_HELP),
    FactorSpec("measurement accepted", Owner.OPERATOR, next_command=_HELP),
    FactorSpec("manifest accepted", Owner.OPERATOR, next_command=_HELP),
    FactorSpec("debug off", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("tcb minimum", Owner.CLOUD, next_command=_ASK),
    FactorSpec("gpu accepted", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("other claims", Owner.OPERATOR, next_command=_HELP),
    FactorSpec("expiry", Owner.OPERATOR, next_command=_ASK),
)
FACTORS: Final = _EVIDENCE_FACTORS + BINDING_FACTORS + AUTHENTICATION_FACTORS + APPRAISAL_FACTORS


class FactorSheet:
    """Collects how each factor ended. Not safe for concurrent use.

    A factor's worst outcome stays: after a failure nothing turns it into a pass.
    """

    def __init__(self, specs: Iterable[FactorSpec] = FACTORS) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._outcomes: dict[str, tuple[Outcome, str]] = {}
        self._errors: list[AttestationError] = []

    def add(self, specs: Iterable[FactorSpec]) -> None:
        """Take further factors, such as those of one platform.

        Raises:
            ValueError: A factor of that name is listed already.
        """
        for spec in specs:
            if spec.name in self._specs:
                raise ValueError(f"a factor called {spec.name!r} is listed already")
            self._specs[spec.name] = spec

    def copy(self) -> FactorSheet:
        """Return a sheet that starts with what is on this one."""
        twin = FactorSheet(self._specs.values())
        twin._outcomes = dict(self._outcomes)
        twin._errors = list(self._errors)
        return twin

    def of_claims(self) -> Mapping[str, str]:
        """Return the names of the factors that policies added, by claim."""
        return {spec.claim: spec.name for spec in self._specs.values() if spec.claim is not None}

    @property
    def errors(self) -> tuple[AttestationError, ...]:
        """Every refusal so far, in order."""
        return tuple(self._errors)

    def passed(self, name: str, detail: str) -> None:
        """Record a pass, unless the factor failed before."""
        self._record(name, Outcome.PASS, detail)

    def not_applicable(self, name: str, detail: str) -> None:
        """Record that there is nothing to check."""
        self._record(name, Outcome.NOT_APPLICABLE, detail)

    def mark_failed(
        self,
        name: str,
        detail: str,
        *,
        owner: Owner | None = None,
        next_command: str | None = None,
    ) -> None:
        """Show a factor as failed because of a refusal recorded elsewhere.

        Args:
            name: The factor.
            detail: One line.
            owner: Whose failure it is this time. Default: as listed.
            next_command: What to do this time. Default: as listed.
        """
        spec = self._specs[name]
        self._specs[name] = replace(
            spec, owner=owner or spec.owner, next_command=next_command or spec.next_command
        )
        self._record(name, Outcome.FAIL, detail)

    def failed(self, name: str, error: AttestationError) -> None:
        """Record a failure and the refusal it stands for."""
        self._record(name, Outcome.FAIL, str(error))
        self._errors.append(error)

    @contextmanager
    def check(self, name: str, detail: str) -> Iterator[None]:
        """Run one check; record its refusal and go on to the next factor."""
        try:
            yield
        except AttestationError as error:
            self.failed(name, error)
        else:
            self.passed(name, detail)

    @contextmanager
    def step(self, name: str, detail: str) -> Iterator[None]:
        """Run one step that the next ones need; record its refusal and raise it."""
        try:
            yield
        except AttestationError as error:
            self.failed(name, error)
            raise
        self.passed(name, detail)

    def settle(self) -> None:
        """Raise the first refusal, if there was any."""
        if self._errors:
            raise self._errors[0]

    def factors(self) -> tuple[Factor, ...]:
        """Return every listed factor; what was not examined is SKIP."""
        return tuple(self._factor(spec) for spec in self._specs.values())

    def _record(self, name: str, outcome: Outcome, detail: str) -> None:
        if name not in self._specs:
            raise ValueError(f"no factor is called {name!r}")
        before = self._outcomes.get(name)
        if before is None or before[0] is not Outcome.FAIL:
            self._outcomes[name] = (outcome, detail)

    def _factor(self, spec: FactorSpec) -> Factor:
        outcome, detail = self._outcomes.get(spec.name, (Outcome.SKIP, "not examined"))
        failed = outcome is Outcome.FAIL
        return Factor(
            name=spec.name,
            outcome=outcome,
            enforced=spec.enforced,
            owner=spec.owner,
            detail=detail,
            next_command=spec.next_command if failed else None,
        )
