"""The shapes other people's clients expect: error bodies and server-sent events.

Nothing here talks to a network or holds a key. Bodies of requests and answers pass
through confide untouched; only what confide says itself is put into a dialect.
"""

from __future__ import annotations

from confide.dialects.error_bodies import ErrorAnswer, openai_error, openai_error_event
from confide.dialects.sse import Event, EventParser, encode_event

__all__ = [
    "ErrorAnswer",
    "Event",
    "EventParser",
    "encode_event",
    "openai_error",
    "openai_error_event",
]
