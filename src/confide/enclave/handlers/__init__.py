"""What the enclave does with an opened request, by its inner path.

A handler takes a `Call` and returns an `Answer`, or raises an `EnclaveError`, which
`refusals` turns into an error body in OpenAI's shape. Handlers know nothing of seals,
sockets or keys: the door (`confide.enclave.intake`) does that before and after.
"""

from confide.enclave.handlers.call import Answer, Call, Route
from confide.enclave.handlers.refusals import refusal_answer
from confide.enclave.handlers.table import find_route

__all__ = ["Answer", "Call", "Route", "find_route", "refusal_answer"]
