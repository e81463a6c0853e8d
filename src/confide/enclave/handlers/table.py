"""The inner routes: which path and method reach which handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from confide.enclave.handlers.audio import answer_transcription, answer_translation
from confide.enclave.handlers.call import Route
from confide.enclave.handlers.chat import answer_chat
from confide.enclave.handlers.completions import answer_completions
from confide.enclave.handlers.embeddings import answer_embeddings
from confide.enclave.handlers.models import answer_model, answer_models
from confide.enclave.handlers.responses import answer_response, answer_stored_response
from confide.enclave.handlers.tokenize import answer_tokenize
from confide.enclave.inference.backend import Operation
from confide.errors import EnclaveError

__all__ = ["find_route"]

_ROUTES: Final[Mapping[str, Route]] = {
    "/v1/chat/completions": Route("POST", answer_chat, Operation.CHAT),
    "/v1/completions": Route("POST", answer_completions, Operation.COMPLETIONS),
    "/v1/embeddings": Route("POST", answer_embeddings, Operation.EMBEDDINGS),
    "/v1/responses": Route("POST", answer_response, Operation.RESPONSES),
    "/v1/audio/transcriptions": Route("POST", answer_transcription, Operation.TRANSCRIPTIONS),
    "/v1/audio/translations": Route("POST", answer_translation, Operation.TRANSLATIONS),
    "/v1/models": Route("GET", answer_models),
    "/v1/tokenize": Route("POST", answer_tokenize),
}
_MODEL_PREFIX: Final = "/v1/models/"
_MODEL_ROUTE: Final = Route("GET", answer_model)

# Parts of OpenAI's API that this version does not have. Saying so is more use than "404".
_NOT_BUILT: Final = frozenset(
    {"assistants", "audio", "batches", "containers", "conversations", "evals", "files"}
    | {"fine_tuning", "images", "moderations", "realtime", "threads", "uploads"}
    | {"vector_stores", "videos"}
)
# Of `/v1/responses`, what generates without storing, and is no earlier response's id.
_NO_RESPONSES: Final = frozenset({"/v1/responses/input_tokens", "/v1/responses/compact"})
_RESPONSE_PREFIX: Final = "/v1/responses/"


def find_route(method: str, path: str) -> tuple[Route, str]:
    """Find the handler of an inner path.

    Args:
        method: The inner method.
        path: The inner path; a query is not looked at.

    Returns:
        The route and, for ``/v1/models/{id}``, the decoded id.

    Raises:
        EnclaveError: 404 for an unknown path, 405 for another method, 501 for a part of
            OpenAI's API that is not built.
    """
    path = path.partition("?")[0]
    if path.startswith(_RESPONSE_PREFIX) and path not in _NO_RESPONSES:
        return Route(method, answer_stored_response), ""
    route, tail = _ROUTES.get(path), ""
    if route is None and path.startswith(_MODEL_PREFIX) and path != _MODEL_PREFIX:
        # A model's name may hold slashes; the rest of the path is all of it.
        route, tail = _MODEL_ROUTE, unquote(path.removeprefix(_MODEL_PREFIX))
    if route is None:
        raise _no_route(path)
    if method != route.method:
        raise EnclaveError(
            f"this route answers {route.method} only", status=405, code="method-not-allowed"
        )
    return route, tail


def _no_route(path: str) -> EnclaveError:
    part = path.removeprefix("/v1/").partition("/")[0]
    if path.startswith("/v1/") and (part in _NOT_BUILT or path in _NO_RESPONSES):
        return EnclaveError(
            f"this enclave does not offer {part}", status=501, code="not-implemented"
        )
    return EnclaveError("this enclave has no such route", status=404, code="route-not-found")
