"""Embeddings: `POST /v1/embeddings`."""

from __future__ import annotations

from confide.enclave.handlers.call import Answer, Call
from confide.enclave.handlers.inference import route_to_model
from confide.enclave.inference.backend import Operation

__all__ = ["answer_embeddings"]


async def answer_embeddings(call: Call) -> Answer:
    """Answer from the model that the body names; see `route_to_model` for refusals."""
    return await route_to_model(call, Operation.EMBEDDINGS, needs="input")
