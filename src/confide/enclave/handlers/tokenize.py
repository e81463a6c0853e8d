"""Count the tokens of a chat's prompt: `POST /v1/tokenize`.

    {"model": ..., "messages": [...], "tools": [...]}
    -> {"input_tokens": 217, "context_length": 8192}

OpenAI's API has no such route for chats; the path is vLLM's. The number is that of the
model's own template and tokenizer. Nothing is generated, so nothing is accounted for; the
grant must allow chats with the model.
"""

from __future__ import annotations

import json

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.inference.backend import Operation
from confide.enclave.inference.body import JSONBody
from confide.errors import InvalidRequest

__all__ = ["answer_tokenize"]

_HEADERS = ((b"content-type", b"application/json"),)


async def answer_tokenize(call: Call) -> Answer:
    """Count.

    Raises:
        InvalidRequest: The body is malformed.
        ModelNotAllowed: The grant does not cover chats with the model.
        ModelNotFound: It is not offered.
        EnclaveError: 501, its engine does not count.
    """
    body = JSONBody(call.body)
    model = body.fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("the field model must name a model", param="model")
    call.require(Operation.CHAT.value, model)
    if not isinstance(body.fields.get("messages"), list):
        raise InvalidRequest("the field messages must be a list", param="messages")
    count = await call.router.count_tokens(model, body, call.isolation)
    told = {"input_tokens": count.input_tokens, "context_length": count.context_length}
    return Answer(200, _HEADERS, json.dumps(told).encode())
