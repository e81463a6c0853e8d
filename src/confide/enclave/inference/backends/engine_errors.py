"""Turn an engine's refusal into one of ours, without repeating what it said.

Engines put prompts, paths and stack traces into error messages. Only what is recognised here
is told to the caller, in our words; numbers of tokens are the only part taken over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from confide.enclave.inference.backend import BackendUnavailable
from confide.errors import ConfideError, ContextTooLong, InvalidRequest, ModelNotFound

__all__ = ["engine_refusal"]

_TOO_LONG: Final = re.compile(
    r"context[ _](?:size|length|window)|maximum context|exceed_context|too (?:long|many tokens)"
    r"|too large to process",
    re.IGNORECASE,
)
_MEDIA: Final = re.compile(
    r"(?:image|audio|video|multi-?modal)\b.{0,40}\bnot (?:support|a multimodal)"
    r"|not support.{0,40}(?:image|audio|video|multi-?modal|vision)"
    r"|not a multimodal model|missing data required for image",
    re.IGNORECASE,
)
_LIMIT: Final = re.compile(
    r"context (?:length|size) (?:is |\()?(\d{1,9})|n_ctx\D{1,4}(\d{1,9})", re.IGNORECASE
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

#: Refusals of the operation itself.
_UNSUPPORTED: Final = re.compile(
    r"not support(?:ed)? (?:embeddings|chat|completions|tools)|does not support (?:embed|chat)"
    r"|(?:embeddings|Embeddings API|tools?|thinking|pooling type).{0,30} not (?:OAI |support)"
    r"|does not support",
    re.IGNORECASE,
)


def engine_refusal(status: int, answer: object, fields: Collection[str]) -> ConfideError:
    """Name the refusal.

    Args:
        status: HTTP status, 400 or above.
        answer: The parsed body, or None.
        fields: Names of the request's fields: a field that the engine names is passed on only
            if the caller sent it.

    Returns:
        The error to raise.
    """
    message, param = _said(answer)
    if status == 404:
        return ModelNotFound("the engine does not have this model")
    if status in (400, 413, 422, 500, 501):
        known = _known(message)
        if known is not None:
            return known
    if status in (400, 413, 422):
        name = param if param in fields and _NAME.fullmatch(param) else None
        return InvalidRequest("the model engine refused the request", param=name)
    if status == 501:
        return InvalidRequest("the model does not support this operation")
    if status in (401, 403):
        return BackendUnavailable("the engine refused our credentials")
    return BackendUnavailable(f"the engine answered {status}", busy=status == 429)


def _known(message: str) -> ConfideError | None:
    if _TOO_LONG.search(message):
        found = _LIMIT.search(message)
        tokens = (found[1] or found[2]) if found else None
        fits = f"; {tokens} tokens fit" if tokens else ""
        return ContextTooLong(f"the prompt does not fit the model's context{fits}")
    if _MEDIA.search(message):
        return InvalidRequest("this model does not take images, audio or video", param="messages")
    if _UNSUPPORTED.search(message):
        return InvalidRequest("the model does not support this operation")
    return None


def _said(answer: object) -> tuple[str, str]:
    """The engine's message and the field it names; both stay in here.

    Shapes: {"error": {"message", "type", "param", "code", "n_ctx"}} of OpenAI and llama.cpp,
    {"error": "text"} of Ollama and vLLM's 401, {"message", "object": "error"} of old vLLM.
    """
    error = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, Mapping):
        return "", ""
    words = [str(error.get(key, "")) for key in ("message", "type", "code")]
    if "n_ctx" in error:
        words.append(f"n_ctx: {error['n_ctx']}")
    return " ".join(words), str(error.get("param") or "")
