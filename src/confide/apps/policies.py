"""Build the verifier that a settings file asks for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from confide.attest.collateral import EndorsementCache, read_bundle_file
from confide.attest.endorsements import EndorsementSource
from confide.attest.policy_file import read_policy
from confide.attest.verifier import Verifier
from confide.errors import ConfigError

__all__ = ["verifier_of"]


def verifier_of(
    policy: Path | None,
    *,
    endorsements: Path,
    bundles: Iterable[Path] = (),
    who: str,
    hint: str,
) -> Verifier:
    """Make the verifier of a policy file, with the endorsements that lie on this machine.

    Args:
        policy: The policy file. None is refused: there is no default policy.
        endorsements: Directory of the cache and of what was newest.
        bundles: Files with endorsements, looked into before the cache.
        who: The program, for the message.
        hint: What to do about a missing policy.

    Raises:
        ConfigError: No policy is named, or a file is not usable.
    """
    if policy is None:
        raise ConfigError(
            f"no appraisal policy: the {who} does not know which enclaves are good enough",
            hint=hint,
        )
    at = datetime.now(UTC)  # noqa: TID251 - composition root
    carried: list[EndorsementSource] = [read_bundle_file(path) for path in bundles]
    return Verifier(
        read_policy(policy, at=at), endorsements=(*carried, EndorsementCache(endorsements))
    )
