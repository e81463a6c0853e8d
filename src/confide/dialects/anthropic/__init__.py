"""Anthropic's Messages API, translated to and from OpenAI's chat completions.

Pure: bytes in, bytes out, no network, no clock, no randomness. The proxy translates on the
user's machine; the enclave speaks OpenAI's dialect only.
"""

from __future__ import annotations

from confide.dialects.anthropic.answer import count_answer, translate_answer
from confide.dialects.anthropic.errors import (
    anthropic_error,
    anthropic_error_event,
    translate_error,
)
from confide.dialects.anthropic.models import translate_model, translate_models
from confide.dialects.anthropic.request import ChatRequest, count_request, translate_request
from confide.dialects.anthropic.stream import PING, MessageStream

__all__ = [
    "PING",
    "ChatRequest",
    "MessageStream",
    "anthropic_error",
    "anthropic_error_event",
    "count_answer",
    "count_request",
    "translate_answer",
    "translate_error",
    "translate_model",
    "translate_models",
    "translate_request",
]
