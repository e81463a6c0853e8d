"""Which engine answers: model names to healthy backends, inside the enclave.

backends = {"local": build_backend("llamacpp", "local", {"model_path": "/models/a.gguf"})}
router = Router([CatalogEntry("demo-tiny", ("local",))], backends, now)
await router.start()
answer = await router.route(Operation.CHAT, "demo-tiny", body, fields, True, isolation)
async for events in answer.body: ...
answer.usage
"""

from confide.enclave.inference.answer import RoutedResponse
from confide.enclave.inference.backend import Backend, ModelInfo, Operation, Usage
from confide.enclave.inference.catalog import Catalog, CatalogEntry
from confide.enclave.inference.factory import build_backend
from confide.enclave.inference.router import Router, RouterSettings

__all__ = [
    "Backend",
    "Catalog",
    "CatalogEntry",
    "ModelInfo",
    "Operation",
    "RoutedResponse",
    "Router",
    "RouterSettings",
    "Usage",
    "build_backend",
]
