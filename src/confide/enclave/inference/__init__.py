"""Which engine answers: model names to healthy backends, inside the enclave.

router = Router(catalog, {"local": build_backend("llamacpp", "local", {...})})
await router.start()
answer = await router.route(Operation.CHAT, "demo-tiny", body, fields, True, isolation)
"""

from confide.enclave.inference.backend import Backend, ModelInfo, Operation, Usage
from confide.enclave.inference.factory import build_backend

__all__ = ["Backend", "ModelInfo", "Operation", "Usage", "build_backend"]
