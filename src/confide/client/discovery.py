"""The plaintext side of the gateway: where things are, and what its answers mean.

Everything here reads untrusted text. A problem document becomes one of our errors; a
success of another media type than the one asked for is a failure.
"""

from __future__ import annotations

import re
from typing import Final

from confide.attest.collateral import Bundle, read_bundle
from confide.client.effects import Head, Reply
from confide.errors import ConfideError, GatewayError, RateLimited, ReplayError
from confide.wire.directory import Directory
from confide.wire.media_types import COLLATERAL, DIRECTORY, EVIDENCE, PROBLEM
from confide.wire.metadata import REQUEST_ID_HEADER
from confide.wire.problems import Problem, error_for

__all__ = [
    "COLLATERAL_PATH",
    "KEYS_PATH",
    "MAX_EVIDENCE",
    "SEALED_PATH",
    "evidence_path",
    "read_collateral",
    "read_directory",
    "read_evidence",
    "refusal",
    "request_id_of",
    "unexpected_media_type",
]

COLLATERAL_PATH: Final = "/.well-known/confide/collateral"
KEYS_PATH: Final = "/.well-known/confide/keys"
SEALED_PATH: Final = "/v1/sealed"
MAX_EVIDENCE: Final = 4 * 1024 * 1024  # eight GPU reports with certificates fit

_REQUEST_ID: Final = re.compile(r"[0-9A-Za-z._-]{1,128}", re.ASCII)
_CLOCK_HINT: Final = (
    "compare this machine's clock with the true time, then try again: confide doctor"
)


def evidence_path(document_sha256: bytes, nonce: bytes) -> str:
    """Name the evidence for one key document that answers one challenge.

    Args:
        document_sha256: 32 bytes.
        nonce: 32 bytes, fresh.
    """
    return f"/.well-known/confide/evidence/{document_sha256.hex()}?nonce={nonce.hex()}"


def read_directory(reply: Reply) -> Directory:
    """Read the directory out of an answer.

    Raises:
        ConfideError: The gateway refused, or answered with something else.
    """
    return Directory.parse(_body(reply, DIRECTORY))


def read_evidence(reply: Reply) -> bytes:
    """Take the evidence envelope out of an answer, unverified.

    Raises:
        ConfideError: The gateway refused, or answered with something else.
    """
    return _body(reply, EVIDENCE)


def read_collateral(reply: Reply) -> Bundle:
    """Read the endorsements that the gateway staples; none if it has no such route.

    Raises:
        GatewayError: The gateway refused, or answered with something else.
        EvidenceError: What it sent is malformed.
    """
    if reply.status == 404:
        return Bundle()
    return read_bundle(_body(reply, COLLATERAL), source="gateway")


def _body(reply: Reply, media_type: str) -> bytes:
    if reply.status != 200:
        raise refusal(reply, reply.body)
    if reply.media_type != media_type:
        raise unexpected_media_type(reply)
    return reply.body


def refusal(head: Head, body: bytes) -> ConfideError:
    """Turn an answer that is not a success into the error to raise.

    Args:
        head: Status and headers.
        body: What was read of the body. Only a problem document is looked into.
    """
    request_id = request_id_of(head)
    if head.media_type != PROBLEM:
        problem = Problem.of("gateway", head.status, title=f"the gateway answered {head.status}")
        # Without a problem document there is no word on what was done with the request.
        return GatewayError(problem.title, status=_error_status(head.status), request_id=request_id)
    try:
        problem = Problem.parse(body)
    except GatewayError as error:
        error.request_id, error.status = request_id, _error_status(head.status)
        return error
    refused = error_for(problem)
    if isinstance(refused, GatewayError):
        refused.request_id = request_id
        refused.status = _error_status(head.status)
    if isinstance(refused, RateLimited) and problem.retry_after_s is None:
        refused.retry_after = _retry_after(head) or refused.retry_after
    if isinstance(refused, ReplayError):
        refused.hint = _CLOCK_HINT
    return refused


def unexpected_media_type(head: Head) -> GatewayError:
    """Say that an answer is a success by its status and not what was asked for."""
    return GatewayError(
        "the gateway answered with something that is not sealed; it was not used",
        code="media-type",
        request_id=request_id_of(head),
        hint="check the gateway's URL; something between here and it may rewrite answers",
    )


def request_id_of(head: Head) -> str | None:
    """The gateway's id of the request, if it has the form of one."""
    value = head.headers.get(REQUEST_ID_HEADER, "")
    return value if _REQUEST_ID.fullmatch(value) else None


def _error_status(status: int) -> int:
    return status if 400 <= status <= 599 else 502


def _retry_after(head: Head) -> float | None:
    value = head.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else None
