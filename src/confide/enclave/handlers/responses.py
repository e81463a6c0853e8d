"""The Responses API: `POST /v1/responses`. What is refused of it: `inference.responses_api`.

Nothing is stored, so there is nothing to fetch, cancel or delete afterwards.
"""

from __future__ import annotations

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.handlers.inference import route_to_model
from confide.enclave.inference.backend import Operation
from confide.errors import EnclaveError

__all__ = ["answer_response", "answer_stored_response"]


async def answer_response(call: Call) -> Answer:
    """Answer from the model that the body names; see `route_to_model` for refusals."""
    return await route_to_model(call, Operation.RESPONSES, needs="input")


async def answer_stored_response(call: Call) -> Answer:
    """Refuse whatever is asked about an earlier response.

    Raises:
        EnclaveError: 404, code "not-stored".
    """
    call.require(Operation.RESPONSES.granted_as)
    raise EnclaveError(
        "responses are not stored, so none can be read, cancelled or deleted later",
        status=404,
        code="not-stored",
    )
