"""Check, without a network, who built an artifact: Sigstore bundles (extra `sigstore`).

A release workflow signs with a certificate that lives for minutes and is written, with the
signature, to a public log. The bundle holds certificate, signature and the log's proof. It
is accepted only in one layout, that of version 0.3 with a single certificate and a message
signature; older layouts mean the same in several ways.

Identity is issuer *and* workflow file *and* tag. The issuer alone is everybody, the
repository alone is every workflow in it, and a branch moves.

The trusted root is the one inside the sigstore package, unless one is given. Neither a
cache folder nor the environment is read: updating the package updates the root.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confide.attest.strict_json import exact_members, read_list, read_object, read_text
from confide.errors import ConfigError, EndorsementError, EvidenceError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["GITHUB_ISSUER", "MAX_BUNDLE", "BuiltBy", "WorkflowIdentity", "verify_artifact"]

MAX_BUNDLE: Final = 256 * 1024
GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
_MEDIA_TYPES: Final = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
)
_STORE: Final = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
_REPOSITORY: Final = re.compile(r"[\w.-]{1,64}/[\w.-]{1,128}", re.ASCII)
_WORKFLOW: Final = re.compile(r"\.github/workflows/[\w.-]{1,128}\.ya?ml", re.ASCII)
_TAG: Final = re.compile(r"refs/tags/[\w.+-][\w./+-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class WorkflowIdentity:
    """The one workflow run that may have built an artifact.

    Attributes:
        repository: "owner/name".
        workflow: Path of the file in it, such as ".github/workflows/release.yml".
        ref: The tag it ran on, such as "refs/tags/v0.2.0". Branches move, so none is taken.
        issuer: Who vouched for the run.

    Raises:
        ConfigError: A part is missing, has another form, or holds a wildcard.
    """

    repository: str
    workflow: str
    ref: str
    issuer: str = GITHUB_ISSUER

    def __post_init__(self) -> None:
        parts = ((_REPOSITORY, self.repository), (_WORKFLOW, self.workflow), (_TAG, self.ref))
        for pattern, value in parts:
            if not pattern.fullmatch(value):
                raise ConfigError(f"{value!r} is no part of a workflow's identity")
        if not self.issuer.startswith("https://"):
            raise ConfigError("the issuer of a workflow's identity is an https URL")

    @property
    def uri(self) -> str:
        """The name in the certificate."""
        return f"https://github.com/{self.repository}/{self.workflow}@{self.ref}"


@dataclass(frozen=True)
class BuiltBy:
    """Who built an artifact, as the log shows.

    Attributes:
        identity: The name in the certificate.
        artifact_sha256: 32 bytes.
        logged_at: When the log took it.
    """

    identity: str
    artifact_sha256: bytes
    logged_at: datetime


def verify_artifact(
    raw: bytes,
    *,
    artifact: bytes,
    identity: WorkflowIdentity,
    trusted_root: Path | None = None,
) -> BuiltBy:
    """Check a bundle, the log's proof in it, and who signed.

    The time that counts is the log's, which the proof covers; no clock is read.

    Args:
        raw: The bundle, at most 256 KiB, untrusted.
        artifact: What was signed.
        identity: Who should have.
        trusted_root: `trusted_root.json` of Sigstore. Default: the one in the package.

    Raises:
        ConfigError: The extra is not installed, or the trusted root cannot be read.
        EndorsementError: sigstore.bundle: another layout, or certificate, log or signature
            do not hold; sigstore.identity: somebody else built it; sigstore.digest: the
            bundle is about another artifact.
    """
    bundle, stated, logged_at = _layout(raw)
    digest = hashlib.sha256(artifact).digest()
    if stated != digest:
        raise EndorsementError(
            f"the bundle is about {stated.hex()}, the artifact is {digest.hex()}",
            code="sigstore.digest",
        )
    _verify(bundle, artifact, identity, trusted_root)
    return BuiltBy(identity.uri, digest, logged_at)


def _layout(raw: bytes) -> tuple[bytes, bytes, datetime]:
    """Insist on the one layout. Return the bundle, the digest it states and the log's time."""
    try:
        members = read_object(raw, limit=MAX_BUNDLE)
        exact_members(members, required=("mediaType", "verificationMaterial", "messageSignature"))
        if members["mediaType"] not in _MEDIA_TYPES:
            raise EvidenceError("not a Sigstore bundle of version 0.3")
        material = _object(members["verificationMaterial"])
        exact_members(
            material,
            required=("certificate", "tlogEntries"),
            optional=("timestampVerificationData",),
        )
        exact_members(_object(material["certificate"]), required=("rawBytes",))
        (entry,) = read_list(material["tlogEntries"], "tlogEntries", limit=1, item=_object)
        signature = _object(members["messageSignature"])
        exact_members(signature, required=("messageDigest", "signature"))
        stated = _object(signature["messageDigest"])
        exact_members(stated, required=("algorithm", "digest"))
        if stated["algorithm"] != "SHA2_256":
            raise EvidenceError("not a SHA-256 digest")
        digest = base64.b64decode(read_text(stated["digest"], "digest", limit=64), validate=True)
        seconds = int(read_text(entry.get("integratedTime"), "integratedTime", limit=12))
        logged_at = datetime.fromtimestamp(seconds, tz=UTC)
    except (EvidenceError, binascii.Error, ValueError, OverflowError, OSError) as error:
        raise EndorsementError(
            f"not a Sigstore bundle of version 0.3 with one certificate: {error}",
            code="sigstore.bundle",
        ) from None
    return json.dumps(members).encode(), digest, logged_at


def _verify(
    bundle: bytes, artifact: bytes, identity: WorkflowIdentity, trusted_root: Path | None
) -> None:
    # Imported here: thirty packages and half a second, for release tooling only.
    try:
        from sigstore.errors import Error, VerificationError
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier, policy
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"checking a Sigstore bundle needs an extra ({error.name} is not installed)",
            hint="pip install 'confide[sigstore]'",
        ) from None

    class Somebody(VerificationError):
        """Told apart from other refusals of the library, which have no code."""

    class ThisWorkflow:
        def verify(self, cert: Certificate) -> None:
            wanted = policy.AllOf(
                [
                    policy.Identity(identity=identity.uri, issuer=identity.issuer),
                    policy.OIDCIssuerV2(identity.issuer),
                    policy.GitHubWorkflowRepository(identity.repository),
                    policy.GitHubWorkflowRef(identity.ref),
                    policy.OIDCBuildSignerURI(identity.uri),
                ]
            )
            try:
                wanted.verify(cert)
            except VerificationError as error:
                raise Somebody(str(error)) from None

    try:
        root = TrustedRoot.from_file(str(trusted_root or _packaged_root()))
    except (OSError, ValueError, Error) as error:
        raise ConfigError(f"cannot read the trusted root of Sigstore: {error}") from None
    try:
        Verifier(trusted_root=root).verify_artifact(
            artifact, Bundle.from_json(bundle), ThisWorkflow()
        )
    except Somebody as error:
        raise EndorsementError(
            f"not built by {identity.uri}: {error}", code="sigstore.identity"
        ) from None
    except Exception as error:  # noqa: BLE001 - a library that parses hostile bytes
        raise EndorsementError(
            f"the Sigstore bundle does not hold: {str(error)[:200]}", code="sigstore.bundle"
        ) from None


def _packaged_root() -> Path:
    from importlib.resources import files

    return Path(str(files("sigstore._store").joinpath(_STORE, "trusted_root.json")))


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EvidenceError("a member is not an object")
    return value
