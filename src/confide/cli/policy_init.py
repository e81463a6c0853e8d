"""Where `confide policy init` gets measurements: a signed release, or what was seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from confide.attest.claims import MANIFEST, MEASUREMENT, PRODUCT, Claims
from confide.attest.collateral import read_bundle
from confide.attest.endorsements import EndorsementSource
from confide.attest.measurements import REGISTER_LENGTH, REGISTERS
from confide.attest.policy import Profile
from confide.attest.policy_defaults import policy_text
from confide.attest.verifier import genuine_claims
from confide.cli.attest_bundle import MAX_BUNDLE, Bundle
from confide.cli.new_files import read_file
from confide.cli.release import accept_release
from confide.errors import ConfigError

__all__ = ["from_bundle", "from_release"]


def from_release(file: Path, store: Path | None, *, name: str | None, not_after: datetime) -> str:
    """Write a policy that accepts one release.

    It ends with the release, if that is sooner.

    Raises:
        ConfideError: The release does not count; see `confide release verify`.
    """
    release = accept_release(file, store)
    return policy_text(
        release.tables,
        name=name or f"{release.name}-{release.version}",
        not_after=min(not_after, release.not_after),
        remarks=(
            f"Accepts release {release.version} of {release.name} (number {release.counter}),",
            f"signed by {', '.join(f'{signer[:16]}...' for signer in release.signers)}.",
            f"SHA-256 of what was signed: {release.payload_sha256.hex()}",
        ),
    )


def from_bundle(
    file: Path,
    *,
    name: str | None,
    not_after: datetime,
    endorsements: tuple[EndorsementSource, ...] = (),
) -> str:
    """Write a policy that accepts what an enclave showed once.

    Args:
        file: What `confide verify --save` wrote.
        name: Of the policy, or None.
        not_after: Its end.
        endorsements: Where collateral is looked for before the bundle's own.

    Raises:
        AttestationError: The evidence is not genuine.
        ConfigError: No bundle, or a platform whose measurement names no workload.
    """
    raw = read_file(file, limit=MAX_BUNDLE)
    bundle = Bundle.parse(raw)
    carried = read_bundle(bundle.endorsements, source="bundle")
    workloads = [
        _workload(
            genuine_claims(
                one.evidence,
                document=one.document,
                manifest=one.manifest,
                nonce=bundle.nonce,
                at=bundle.fetched_at,
                endorsements=(*endorsements, carried),
            ),
            f"seen-{number}",
        )
        for number, one in enumerate(bundle.replicas, start=1)
    ]
    different = [
        one
        for number, one in enumerate(workloads)
        if not any(_same(one, earlier) for earlier in workloads[:number])
    ]
    return policy_text(
        different,
        name=name or "trust-on-first-use",
        not_after=not_after,
        profile=Profile.LAB,
        remarks=(
            "TRUST ON FIRST USE. Genuine processors signed these measurements, but nobody says",
            "what program they are of. This file only notices if the program changes later. For",
            "production take a release: confide policy init FILE --release RELEASE",
            "",
            f"Seen on {bundle.fetched_at:%Y-%m-%d}, by the clock of whoever saved it.",
            f"SHA-256 of the bundle: {hashlib.sha256(raw).hexdigest()}",
        ),
    )


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("manifest_sha256", "snp", "tdx"))


def _workload(claims: Claims, name: str) -> dict[str, object]:
    measurement, manifest = claims[MEASUREMENT], claims[MANIFEST]
    if not isinstance(measurement, bytes) or not isinstance(manifest, bytes):
        raise ConfigError("the evidence names no measurement")
    workload: dict[str, object] = {"name": name, "manifest_sha256": manifest.hex()}
    if claims.platform == "sev-snp":
        row = {"product": str(claims.get(PRODUCT)), "measurement": measurement.hex()}
        return workload | {"snp": [row]}
    if claims.platform == "tdx":
        parts = [
            measurement[start : start + REGISTER_LENGTH].hex()
            for start in range(0, len(measurement), REGISTER_LENGTH)
        ]
        found: dict[str, object] = dict(zip(REGISTERS, parts, strict=True))
        found["rtmr0"] = [found["rtmr0"]]
        if not int(parts[-1], 16):
            found["rtmr3"] = "zero"
        return workload | {"tdx": [found]}
    raise ConfigError(
        f"on {claims.platform} the measurement is the cloud's and names no workload",
        hint="write [azure] by hand: docs/reference/policy-file.md",
    )
