"""Usage statements: the little an enclave tells the gateway so that it can bill.

Statements form a chain: each carries the SHA-256 of the one before it, so a dropped
or edited statement shows. The signature is Ed25519 over the label
``confide/usage/v1``, a zero byte and the statement, by the `usage_key` of the
attested key document. The customer receives the same text inside the seal and can
add it up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from confide.errors import SealingError
from confide.wire import strict_json
from confide.wire.strict_json import MalformedJSON

__all__ = [
    "FIRST_PREVIOUS",
    "MAX_BATCH",
    "MAX_STATEMENT",
    "SIGNATURE_LABEL",
    "SignedStatement",
    "UsageStatement",
    "bucket_tokens",
    "encode_batch",
    "parse_batch",
    "signed_bytes",
]

SIGNATURE_LABEL: Final = b"confide/usage/v1\x00"
FIRST_PREVIOUS: Final = "0" * 64
MAX_STATEMENT: Final = 4096
MAX_BATCH: Final = 4 * 1024 * 1024
SMALLEST_BUCKET: Final = 16

_PRECISIONS = ("exact", "bucketed", "estimated")
_OUTCOMES = ("complete", "cancelled", "failed", "refused")
_OPERATIONS = ("chat", "completions", "embeddings", "models", "audio")
_MAX_COUNT = 1 << 40


@dataclass(frozen=True, slots=True)
class UsageStatement:
    """What one request used.

    Attributes:
        seq: Position in the chain of this boot, from 1.
        request_id: Id the gateway gave the request.
        domain: Domain of the grant.
        key_id: API key id of the grant.
        model_class: Coarse label of the model; its name only under policy "exact".
        operation: "chat", "completions", "embeddings" or "models".
        prompt_tokens: Tokens read, as precise as `precision` says.
        completion_tokens: Tokens written, likewise.
        precision: "exact", "bucketed" or "estimated".
        outcome: "complete", "cancelled", "failed" or "refused".
        started_at: Unix seconds.
        duration_ms: Milliseconds.
        boot_id: 32 hex characters of the key document.
        previous: Hex SHA-256 of the statement before; 64 zeros for the first.
    """

    seq: int
    request_id: str
    domain: str
    key_id: str
    model_class: str
    operation: str
    prompt_tokens: int
    completion_tokens: int
    precision: str
    outcome: str
    started_at: int
    duration_ms: int
    boot_id: str
    previous: str

    def encode(self) -> bytes:
        """Write canonical JSON: sorted names, no spaces, ASCII."""
        return strict_json.canonical({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def parse(cls, raw: bytes) -> UsageStatement:
        """Read a statement.

        Raises:
            SealingError: Malformed, or not in canonical form (code "usage-invalid").
        """
        try:
            members = strict_json.object_of(raw, max_bytes=MAX_STATEMENT)
            strict_json.only_members(members, _NAMES, where="usage statement")
            statement = cls(**{name: _CHECKS[name](members[name], name) for name in _NAMES})
        except MalformedJSON as error:
            raise _invalid(str(error)) from None
        if statement.encode() != raw:
            raise _invalid("not in canonical form")
        return statement

    @property
    def sha256(self) -> str:
        """Hex digest the next statement carries as `previous`."""
        return hashlib.sha256(self.encode()).hexdigest()


def _invalid(reason: str) -> SealingError:
    return SealingError(f"the usage statement is not usable: {reason}", code="usage-invalid")


def _count(value: object, name: str) -> int:
    return strict_json.boolean_free_int(value, name, low=0, high=_MAX_COUNT)


def _one_of(*choices: str) -> Any:
    def check(value: object, name: str) -> str:
        if value not in choices:
            raise MalformedJSON(f"{name} has an unknown value")
        return str(value)

    return check


def _hex(length: int) -> Any:
    return lambda value, name: strict_json.hex_text(value, name, length=length)


_CHECKS: dict[str, Any] = {
    "seq": _count,
    "request_id": strict_json.text,
    "domain": strict_json.text,
    "key_id": strict_json.text,
    "model_class": strict_json.text,
    "operation": _one_of(*_OPERATIONS),
    "prompt_tokens": _count,
    "completion_tokens": _count,
    "precision": _one_of(*_PRECISIONS),
    "outcome": _one_of(*_OUTCOMES),
    "started_at": _count,
    "duration_ms": _count,
    "boot_id": _hex(16),
    "previous": _hex(32),
}
_NAMES = tuple(_CHECKS)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement's bytes and its 64-byte Ed25519 signature, unverified."""

    statement: bytes
    signature: bytes

    def encode(self) -> str:
        """Write the text form: base64url(statement) "." base64url(signature)."""
        return f"{strict_json.b64url(self.statement)}.{strict_json.b64url(self.signature)}"

    @classmethod
    def parse(cls, encoded: str) -> SignedStatement:
        """Read the text form. Verify the signature before believing it.

        Raises:
            SealingError: Malformed (code "usage-invalid").
        """
        try:
            statement, dot, signature = encoded.partition(".")
            if not dot or len(encoded) > 2 * MAX_STATEMENT:
                raise MalformedJSON("not two parts")
            return cls(
                strict_json.b64url_bytes(statement, "statement"),
                strict_json.b64url_bytes(signature, "signature", length=64),
            )
        except MalformedJSON as error:
            raise _invalid(str(error)) from None

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return signed_bytes(self.statement)


def signed_bytes(statement: bytes) -> bytes:
    """Return the bytes to sign for a statement: the label, then the statement."""
    return SIGNATURE_LABEL + statement


def bucket_tokens(count: int) -> int:
    """Round a token count up to its bucket: 0, 16, 32, 64, ... (powers of two).

    >>> [bucket_tokens(n) for n in (0, 1, 16, 17, 1000)]
    [0, 16, 16, 32, 1024]
    """
    if count <= 0:
        return 0
    return max(SMALLEST_BUCKET, 1 << (count - 1).bit_length())


def encode_batch(statements: Iterable[SignedStatement]) -> bytes:
    """Write the JSON body of `GET /v1/usage`."""
    texts = [statement.encode() for statement in statements]
    return json.dumps({"v": 1, "statements": texts}, separators=(",", ":")).encode()


def parse_batch(raw: bytes) -> tuple[SignedStatement, ...]:
    """Read the JSON body of `GET /v1/usage`.

    Raises:
        SealingError: Malformed or over 4 MiB (code "usage-invalid").
    """
    try:
        members = strict_json.object_of(raw, max_bytes=MAX_BATCH)
        strict_json.only_members(members, ("v", "statements"), where="usage batch")
        texts = members["statements"]
        if type(members["v"]) is not int or members["v"] != 1 or not isinstance(texts, list):
            raise MalformedJSON("another version")
        if not all(isinstance(one, str) for one in texts):
            raise MalformedJSON("a statement is not text")
    except MalformedJSON as error:
        raise _invalid(str(error)) from None
    return tuple(SignedStatement.parse(one) for one in texts)
