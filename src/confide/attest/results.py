"""What a verifier says in the end, and what a client may rely on.

`AttestationResult` can only exist if every enforced factor passed: constructing one with
a failed or skipped factor is refused here, once, whatever the verifier did. The result of
simulated evidence is another class, in the simulated platform, made by other code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from confide.attest.claims import DEBUGGABLE, GPUS, PRODUCT
from confide.attest.factors import Factor, Outcome
from confide.errors import AttestationError
from confide.wire.strict_json import b64url

if TYPE_CHECKING:
    from confide.attest.endorsements import EndorsementSource

__all__ = [
    "LATEST",
    "AttestationResult",
    "EnclaveVerifier",
    "TakesEndorsements",
    "Verdict",
    "show_time",
    "to_unix",
]

LATEST: Final = 253_402_300_799
"""9999-12-31 23:59:59 UTC in Unix seconds: the last second a `datetime` holds."""

_PROFILE = "https://confide.example/attestation-result/v1"


class Verdict(Protocol):
    """What a client needs to know about an accepted enclave."""

    @property
    def simulated(self) -> bool:
        """True if no processor vouches for the enclave."""
        ...

    @property
    def platform(self) -> str:
        """Such as "sev-snp", or "software-dev"."""
        ...

    @property
    def verified_at(self) -> datetime:
        """When it was checked."""
        ...

    @property
    def expires_at(self) -> datetime:
        """At or after this instant nothing is sent before a new check."""
        ...

    @property
    def document_sha256(self) -> bytes:
        """32 bytes; the key document this verdict is about, and no other."""
        ...

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What was checked."""
        ...

    @property
    def policy_digest(self) -> bytes:
        """SHA-256 of the policy, 32 bytes; empty if no policy was applied."""
        ...

    def to_json(self) -> dict[str, object]:
        """Return plain values for JSON."""
        ...


class EnclaveVerifier(Protocol):
    """Decides about one enclave. What the client is given."""

    def verify(
        self, raw_evidence: bytes, *, document: bytes, manifest: bytes, nonce: bytes, at: datetime
    ) -> Verdict:
        """Check evidence that answers a challenge.

        Args:
            raw_evidence: The envelope as received, untrusted.
            document: The key document as received; the key in it is used only after this.
            manifest: The release-and-model manifest as received.
            nonce: The 32 bytes of the challenge, fresh from this client.
            at: Now, with a time zone.

        Raises:
            AttestationError: Refused. Nothing may be sent.
        """
        ...


@runtime_checkable
class TakesEndorsements(Protocol):
    """A verifier that can use vendor-signed data which its caller found."""

    def with_endorsements(self, *sources: EndorsementSource) -> EnclaveVerifier:
        """Return a verifier that looks into `sources` as well, after its own."""
        ...


def to_unix(moment: datetime) -> int:
    """Return whole Unix seconds.

    Raises:
        ValueError: `moment` has no time zone, so it names no instant.
    """
    if moment.tzinfo is None:
        raise ValueError("the time has no time zone")
    return int(moment.timestamp())


def show_time(unix_s: int) -> str:
    """Return Unix seconds as text for people, in UTC, at most the year 9999."""
    return f"{datetime.fromtimestamp(min(unix_s, LATEST), tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class AttestationResult:
    """Genuine hardware evidence that the policy accepted.

    Attributes:
        platform: Such as "sev-snp".
        nonce: The challenge it answered, 32 bytes.
        verified_at: When it was checked.
        expires_at: Earliest authenticated expiry.
        document_sha256: 32 bytes.
        manifest_sha256: 32 bytes.
        factors: What was checked; every enforced one passed or does not apply.
        claims: What the processor said.
        unexamined: Names of claims that no part of the policy looked at.
        policy_name: Name of the policy.
        policy_digest: 32 bytes: SHA-256 of the policy file, or of all the policy demands.
        policy_profile: "production", or "lab", which is no statement about production.
    """

    platform: str
    nonce: bytes
    verified_at: datetime
    expires_at: datetime
    document_sha256: bytes
    manifest_sha256: bytes
    factors: tuple[Factor, ...] = field(repr=False)
    claims: Mapping[str, object] = field(repr=False)
    unexamined: tuple[str, ...]
    policy_name: str
    policy_digest: bytes
    policy_profile: str = "production"

    def __post_init__(self) -> None:
        settled = (Outcome.PASS, Outcome.NOT_APPLICABLE)
        open_factors = [f.name for f in self.factors if f.enforced and f.outcome not in settled]
        if open_factors or not self.factors:
            raise AttestationError(f"not verified: {', '.join(open_factors) or 'nothing checked'}")

    @property
    def simulated(self) -> Literal[False]:
        """Always False: a processor vouches for this enclave."""
        return False

    def to_json(self) -> dict[str, object]:
        """Return an EAT-shaped object: RFC 9711 claim names where one fits.

        Not a signed token: it is this client's own computation, for people and for logs.
        """
        gpus = self.claims.get(GPUS, ())
        devices = gpus if isinstance(gpus, tuple) else ()
        return {
            "eat_profile": _PROFILE,
            "eat_nonce": b64url(self.nonce),
            "iat": to_unix(self.verified_at),
            "exp": to_unix(self.expires_at),
            "submods": {
                self.platform: {
                    "simulated": False,
                    **_eat(self.claims),
                    "claims": {n: _plain(v) for n, v in self.claims.items() if n != GPUS},
                    "unexamined": list(self.unexamined),
                },
                **{
                    f"gpu-{number}": {**_eat(gpu), "claims": _plain(gpu)}
                    for number, gpu in enumerate(devices)
                },
            },
            "document_sha256": self.document_sha256.hex(),
            "manifest_sha256": self.manifest_sha256.hex(),
            "policy": {
                "name": self.policy_name,
                "sha256": self.policy_digest.hex(),
                "profile": self.policy_profile,
            },
            "factors": [factor.to_json() for factor in self.factors],
        }


def _eat(claims: Mapping[str, object]) -> dict[str, object]:
    """Return the claims that RFC 9711 has a name for.

    `ueid` is of type RAND (section 4.2.1.1): 0x01 and a SHA-256 of the device's own identity,
    which may be longer than the 32 bytes that fit. `dbgstat` (section 4.2.9) comes from a
    launch policy that nothing changes before the next start.
    """
    found: dict[str, object] = {}
    device = claims.get("chip_id") or claims.get("platform_id") or claims.get("device")
    if isinstance(device, (bytes, str)):
        identity = device if isinstance(device, bytes) else device.encode()
        found["ueid"] = b64url(b"\x01" + hashlib.sha256(identity).digest())
    model = claims.get(PRODUCT) or claims.get("arch")
    if isinstance(model, str):
        found["hwmodel"] = model
    debuggable = claims.get(DEBUGGABLE)
    if isinstance(debuggable, bool):
        found["dbgstat"] = "enabled" if debuggable else "disabled-since-boot"
    return found


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
