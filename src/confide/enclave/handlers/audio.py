"""Speech to text: `POST /v1/audio/transcriptions` and `POST /v1/audio/translations`.

The body is a multipart form with the recording. It reaches the engine as the client wrote
it; only `model` and `stream` are read, and `model` is replaced if the engine calls it
something else.
"""

from __future__ import annotations

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.handlers.inference import route_form
from confide.enclave.inference.backend import Operation

__all__ = ["answer_transcription", "answer_translation"]


async def answer_transcription(call: Call) -> Answer:
    """Write down what was said; see `route_form` for refusals."""
    return await route_form(call, Operation.TRANSCRIPTIONS, needs="file")


async def answer_translation(call: Call) -> Answer:
    """Write down in English what was said; see `route_form` for refusals."""
    return await route_form(call, Operation.TRANSLATIONS, needs="file")
