"""The models a caller may use: `GET /v1/models` and `GET /v1/models/{id}`.

Models outside the grant are not listed, and asking for one by name gives the same refusal
whether or not it exists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.inference.backend import MODEL_TYPES, ModelInfo
from confide.errors import InvalidRequest, ModelNotFound

__all__ = ["answer_model", "answer_models"]

_OPERATION = "models"
_HEADERS = ((b"content-type", b"application/json"),)


async def answer_models(call: Call) -> Answer:
    """List the models the grant covers, in OpenAI's shape; `?type=` narrows the list.

    Raises:
        InvalidRequest: There is no such type of models.
    """
    call.require(_OPERATION)
    wanted = _wanted_type(call.query)
    offered = [
        one
        for one in call.router.models()
        if call.grant.allows(_OPERATION, one.id) and (wanted is None or wanted in one.types)
    ]
    listing = {"object": "list", "data": [_object(one) for one in offered]}
    return Answer(200, _HEADERS, json.dumps(listing).encode())


async def answer_model(call: Call) -> Answer:
    """Describe one model.

    Raises:
        ModelNotAllowed: The grant does not cover it.
        ModelNotFound: It is not offered.
    """
    call.require(_OPERATION, call.tail)
    for one in call.router.models():
        if one.id == call.tail:
            return Answer(200, _HEADERS, json.dumps(_object(one)).encode())
    raise ModelNotFound("no such model")


def _wanted_type(query: str) -> str | None:
    given = parse_qs(query, keep_blank_values=True, max_num_fields=64).get("type", [])
    if not given:
        return None
    if len(given) != 1 or given[0] not in MODEL_TYPES:
        raise InvalidRequest(f"type is one of {', '.join(MODEL_TYPES)}", param="type")
    return given[0]


def _object(model: ModelInfo) -> Mapping[str, object]:
    # OpenAI's clients require `created`; when a model was made is not known here.
    return {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": "confide",
        "types": model.types,
    }
