"""The way that all questions to a model share: check, route, answer.

The body goes on as the bytes the client's program wrote. It is read once, for the model's
name and the wish for a stream; parameters nobody here knows pass through.
"""

from __future__ import annotations

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.inference.backend import Operation
from confide.enclave.inference.body import JSONBody
from confide.enclave.inference.form import FormBody
from confide.enclave.inference.requests import streams
from confide.errors import InvalidRequest, ModelNotFound

__all__ = ["route_form", "route_to_model"]


async def route_to_model(call: Call, operation: Operation, *, needs: str) -> Answer:
    """Send a request to its model.

    Args:
        call: The opened request.
        operation: What is asked.
        needs: The field without which the operation makes no sense.

    Raises:
        InvalidRequest: The body is malformed; `param` names the field.
        ModelNotAllowed: The grant covers the operation or the model not.
        ModelNotFound: No such model; the message names those the caller may use.
        ModelUnavailable: No backend of the model answers.
    """
    return await _route(call, operation, JSONBody(call.body), needs)


async def route_form(call: Call, operation: Operation, *, needs: str) -> Answer:
    """Send a form with a file to its model; `needs` names the file. Raises the same."""
    return await _route(call, operation, FormBody(call.body, call.content_type), needs)


async def _route(call: Call, operation: Operation, body: JSONBody | FormBody, needs: str) -> Answer:
    model = body.fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("the field model must name a model", param="model")
    call.require(operation.granted_as, model)
    is_form = isinstance(body, FormBody)
    given = (
        needs in body.files if isinstance(body, FormBody) else body.fields.get(needs) is not None
    )
    if not given:
        raise InvalidRequest(f"the field {needs} is missing", param=needs)
    stream = streams(body.fields, form=is_form)
    try:
        routed = await call.router.route(
            operation, model, body, body.fields, stream, call.isolation, call.headers
        )
    except ModelNotFound:
        offered = [
            one.id
            for one in call.router.models()
            if call.grant.allows(operation.granted_as, one.id) and operation in one.operations
        ]
        raise ModelNotFound(
            f"no such model; this API key may use: {', '.join(offered) or 'none'}"
        ) from None
    content_type = routed.content_type.encode("ascii")
    headers = ((b"content-type", content_type), *routed.headers)
    return Answer(routed.status, headers, routed=routed)
