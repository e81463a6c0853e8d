"""Text completions, the older API that fill-in-the-middle tools use: `POST /v1/completions`."""

from __future__ import annotations

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.handlers.inference import route_to_model
from confide.enclave.inference.backend import Operation

__all__ = ["answer_completions"]


async def answer_completions(call: Call) -> Answer:
    """Answer from the model that the body names; see `route_to_model` for refusals."""
    return await route_to_model(call, Operation.COMPLETIONS, needs="prompt")
