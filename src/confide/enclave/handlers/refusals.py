"""Errors inside the seal, in OpenAI's shape and with OpenAI's codes where one exists.

{"error": {"message": "...", "type": "invalid_request_error", "param": null,
           "code": "model_not_found"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from confide.enclave.handlers.call import Answer
from confide.enclave.inference.shapes import error_body
from confide.errors import EnclaveError, InvalidRequest

__all__ = ["refusal_answer"]

# Our slugs whose OpenAI name is another word; the rest only change their hyphens.
_CODES: Final[Mapping[str, str]] = {
    "invalid-request": "invalid_request_error",
    "context-too-long": "context_length_exceeded",
}
_RETRY_AFTER_S: Final = b"1"


def refusal_answer(error: EnclaveError) -> Answer:
    """Turn an error into the answer that travels sealed."""
    kind = {403: "permission_error"}.get(
        error.status, "invalid_request_error" if error.status < 500 else "server_error"
    )
    code = _CODES.get(error.code, error.code.replace("-", "_"))
    param = error.param if isinstance(error, InvalidRequest) else None
    body = error_body(str(error) or error.code, kind=kind, code=code, param=param)
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    if error.status == 503:
        headers += ((b"retry-after", _RETRY_AFTER_S),)
    return Answer(error.status, headers, json.dumps(body).encode())
