"""Verifiers that do what a test says. They exist in tests only.

python -m tests.unit.gateway.judges SETTINGS     serve a gateway that accepts its doubles
"""

import hashlib
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace

from confide.attest.factors import Factor, Outcome, Owner
from confide.attest.policy import Profile
from confide.errors import AppraisalError


@dataclass(frozen=True)
class Accepted:
    """A verdict without any proof behind it."""

    document_sha256: bytes
    verified_at: datetime
    expires_at: datetime
    platform: str = "test-cpu"
    simulated: bool = False
    factors: tuple = ()
    policy_digest: bytes = b""


class Judge:
    """Accepts every document but those in `refused`; notes what it was shown.

    Attributes:
        life: How long its verdicts last.
        refused: SHA-256 digests of documents, or True for all.
        shown: Evidence, nonce and time of every judgement.
    """

    def __init__(self, life=timedelta(hours=1)):
        self.life, self.refused, self.shown = life, set(), []
        self.policy = SimpleNamespace(profile=Profile.PRODUCTION, name="of a test")

    def verify(self, raw_evidence, *, document, manifest, nonce, at):
        self.shown.append((raw_evidence, nonce, at))
        digest = hashlib.sha256(document).digest()
        if self.refused is True or digest in self.refused:
            error = AppraisalError("measurement", expected="a release", actual="another")
            error.factors = (
                Factor("hardware root", Outcome.PASS, True, Owner.CHIP_VENDOR, ""),
                Factor("measurement accepted", Outcome.FAIL, True, Owner.OPERATOR, ""),
            )
            raise error
        return Accepted(digest, at, at + self.life)


if __name__ == "__main__":
    from confide.apps import gateway
    from confide.cli.main import main

    gateway.policy_verifier = lambda settings: Judge()
    main(["gateway", "serve", "--config", sys.argv[1]])
