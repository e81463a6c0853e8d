"""Every error confide raises, in one tree.

Two questions place an error: was it authenticated, and what should the caller do?

    ConfideError                     .code  stable slug      .hint  one line, optional
    ├── ConfigError                  fix the named file, key, value; nothing started
    │   └── KeystoreError            the store of the client KEK, or a backup of it
    │       └── PassphraseError      does not open the store, or is too weak for a new one
    ├── AttestationError             we refused; no request byte has left this machine
    │   ├── EvidenceError            malformed or unknown kind
    │   ├── EndorsementError         certificate or collateral missing, expired, revoked
    │   ├── BindingError             genuine, but not for this key or nonce
    │   └── AppraisalError           genuine, not accepted: .claim .expected .actual
    ├── SealingError                 coarse on purpose
    │   ├── KeyConfigError           rejected before processing: refresh, resend once
    │   ├── ReplayError              rejected before processing: seen before or out of the window
    │   ├── OpenError                did not authenticate; no detail
    │   ├── AgeFileError             an age file, recipient or identity is malformed or changed
    │   ├── NoMatchingIdentity       the age file is for others
    │   └── StreamError              StreamTruncated (cut off), StreamClosed (used after its end)
    ├── GatewayError                 plaintext answer of the gateway: never treated as model output
    │   ├── AuthenticationError 401  PermissionDenied 403  RouteNotFound 404  RequestTooLarge 413
    │   ├── RateLimited 429          .retry_after seconds
    │   └── NoEnclaveAvailable 503
    ├── EnclaveError                 came sealed, so it is authentic
    │   ├── InvalidRequest           .param
    │   ├── ModelNotFound  ModelUnavailable  ModelNotAllowed  ContextTooLong
    └── TransportError               could not connect, timed out, cut off

Messages hold no secret and no content. `hint` names one next step, as a command if
there is one.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AgeFileError",
    "AppraisalError",
    "AttestationError",
    "AuthenticationError",
    "BindingError",
    "ConfideError",
    "ConfigError",
    "ContextTooLong",
    "EnclaveError",
    "EndorsementError",
    "EvidenceError",
    "GatewayError",
    "InvalidRequest",
    "KeyConfigError",
    "KeystoreError",
    "ModelNotAllowed",
    "ModelNotFound",
    "ModelUnavailable",
    "NoEnclaveAvailable",
    "NoMatchingIdentity",
    "OpenError",
    "PassphraseError",
    "PermissionDenied",
    "RateLimited",
    "ReplayError",
    "RequestTooLarge",
    "RouteNotFound",
    "SealingError",
    "StreamClosed",
    "StreamError",
    "StreamTruncated",
    "TransportError",
]


class ConfideError(Exception):
    """Anything confide refuses or cannot do.

    Attributes:
        code: Stable slug, the same in JSON, problem documents and the docs.
        hint: One next step, or None.
    """

    code: str = "error"

    def __init__(
        self, message: str = "", *, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.hint = hint


class ConfigError(ConfideError):
    """A setting, file or environment value is not usable; nothing was started."""

    code = "config-invalid"


class KeystoreError(ConfigError):
    """The store of the client KEK, or a backup of it, cannot be used; nothing was changed."""

    code = "keystore"


class PassphraseError(KeystoreError):
    """The passphrase does not open the store, or is too weak for a new one."""

    code = "passphrase"


class AttestationError(ConfideError):
    """The enclave was refused; no request byte has left this machine.

    `code` is one of the names in docs/reference/error-codes.md, such as
    ``binding.report_data``.

    Attributes:
        factors: Every `confide.attest.factors.Factor` as it stood at the refusal, for
            the same table as an accepted enclave has; empty if nothing was examined.
    """

    code = "attestation.refused"
    factors: tuple[Any, ...] = ()

    @property
    def failed_factor(self) -> str | None:
        """Name of the first enforced factor that failed; None if nothing was examined."""
        failed = (f.name for f in self.factors if f.enforced and f.outcome == "FAIL")
        return next(failed, None)

    def __str__(self) -> str:
        """Say what was refused, and at which factor."""
        name = self.failed_factor
        return super().__str__() if name is None else f"{super().__str__()} (factor: {name})"


class EvidenceError(AttestationError):
    """Evidence that is malformed, too large or of an unknown kind."""

    code = "envelope.json"


class EndorsementError(AttestationError):
    """A certificate or other collateral is missing, expired or revoked."""

    code = "collateral.missing"


class BindingError(AttestationError):
    """Genuine evidence, but not for this key document, nonce or manifest."""

    code = "binding.report_data"


class AppraisalError(AttestationError):
    """Genuine evidence that the policy does not accept.

    Attributes:
        claim: Name of the claim that failed, as in `AttestationResult.claims`.
        expected: What the policy accepts.
        actual: What the evidence says.
        findings: Every objection of the policy, this one first; empty for a single leaf.
    """

    code = "appraisal.refused"

    def __init__(
        self,
        claim: str,
        *,
        expected: object,
        actual: object,
        code: str | None = None,
        hint: str | None = None,
        findings: tuple[AppraisalError, ...] = (),
    ) -> None:
        super().__init__(
            f"{claim} is {actual}; the policy accepts {expected}", code=code, hint=hint
        )
        self.claim = claim
        self.expected = expected
        self.actual = actual
        self.findings = findings


class SealingError(ConfideError):
    """A sealed message could not be used. Coarse on purpose."""

    code = "sealing"


class KeyConfigError(SealingError):
    """The key is not held (any more); rejected before processing, so sending again is safe."""

    code = "ohttp-key"


class ReplayError(SealingError):
    """Seen before, or dated outside the window; rejected before processing."""

    code = "date"


class OpenError(SealingError):
    """The sealed message did not authenticate. There is no detail, by design."""

    code = "open"

    def __init__(self) -> None:
        super().__init__("the sealed message did not authenticate")


class AgeFileError(SealingError):
    """An age file, recipient or identity is malformed, too large, or was changed."""

    code = "age-file"


class NoMatchingIdentity(SealingError):
    """The age file is intact as far as anyone can tell, and for other recipients."""

    code = "age-no-match"


class StreamError(SealingError):
    """A sealed stream was cut or misused."""

    code = "stream"


class StreamTruncated(StreamError):
    """The stream ended before its authenticated final chunk.

    Attributes:
        received: How many chunks were opened before the cut. They are genuine.
    """

    code = "stream-truncated"

    def __init__(self, received: int) -> None:
        super().__init__(
            f"the answer was cut off after {received} chunks; "
            "what you have is genuine but incomplete"
        )
        self.received = received


class StreamClosed(StreamError):
    """The stream was used after its final chunk."""

    code = "stream-closed"

    def __init__(self) -> None:
        super().__init__("the stream already ended with its final chunk")


class GatewayError(ConfideError):
    """A plaintext answer of the gateway. Untrusted text; never model output.

    Attributes:
        status: HTTP status.
        request_id: The gateway's id of the request, if it gave one.
    """

    code = "gateway"
    default_status: ClassVar[int] = 502

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = self.default_status if status is None else status
        self.request_id = request_id


class AuthenticationError(GatewayError):
    """The gateway does not know this API key, or it expired (401)."""

    code = "invalid-api-key"
    default_status = 401


class PermissionDenied(GatewayError):
    """The caller is known and may not do this (403)."""

    code = "permission-denied"
    default_status = 403


class RouteNotFound(GatewayError):
    """The gateway has no such route (404)."""

    code = "route-not-found"
    default_status = 404


class RequestTooLarge(GatewayError):
    """The sealed request is over the limit (413)."""

    code = "request-too-large"
    default_status = 413


class RateLimited(GatewayError):
    """A limit of this key was reached (429).

    Attributes:
        retry_after: Seconds to wait.
    """

    code = "rate-limited"
    default_status = 429

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float,
        status: int | None = None,
        request_id: str | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, code=code, hint=hint)
        self.retry_after = retry_after


class NoEnclaveAvailable(GatewayError):
    """No healthy enclave holds the key this request was sealed to (503)."""

    code = "no-enclave"
    default_status = 503


class EnclaveError(ConfideError):
    """An error that came sealed from the enclave, so it is authentic.

    Attributes:
        status: HTTP status inside the seal.
    """

    code = "enclave"
    default_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = self.default_status if status is None else status


class InvalidRequest(EnclaveError):
    """The request inside the seal is malformed.

    Attributes:
        param: The field at fault, or None.
    """

    code = "invalid-request"
    default_status = 400

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        status: int | None = None,
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, hint=hint)
        self.param = param


class ContextTooLong(InvalidRequest):
    """The prompt does not fit the model's context (400)."""

    code = "context-too-long"


class ModelNotFound(EnclaveError):
    """No such model is offered (404)."""

    code = "model-not-found"
    default_status = 404


class ModelNotAllowed(EnclaveError):
    """The grant of this caller does not include the model or operation (403)."""

    code = "model-not-allowed"
    default_status = 403


class ModelUnavailable(EnclaveError):
    """Every backend of the model is down or refused (503)."""

    code = "model-unavailable"
    default_status = 503


class TransportError(ConfideError):
    """Could not connect, timed out, or the connection was cut."""

    code = "unreachable"
