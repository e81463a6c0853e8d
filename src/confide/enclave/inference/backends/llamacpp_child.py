"""The embedded engine's process: llama.cpp's server on a Unix socket, and nothing else.

Run by `llamacpp_process` as `python -I -m confide.enclave.inference.backends.llamacpp_child`.
Settings, with the key, come as one JSON line on standard input; the line
`{"state": "ready"}` or `{"state": "failed", ...}` goes to standard output. Standard input
then stays open: when it ends, the parent is gone, and so is this process.

What the engine itself prints goes nowhere: at higher verbosity it prints prompts.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["main"]

_PR_SET_PDEATHSIG: Final = 1
_POOLING_MEAN: Final = 1


def main() -> int:
    """Serve until standard input ends or a signal comes."""
    settings = json.loads(sys.stdin.buffer.readline())
    _end_with(parent=int(settings["parent"]))
    # A core file would hold prompts and the key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    report = _silence_output()
    try:
        import xllamacpp

        server = xllamacpp.Server(_parameters(xllamacpp, settings))
    except ImportError:
        return _report(report, state="failed", reason="xllamacpp is not installed")
    except RuntimeError:
        # The text of the exception says no more than this.
        return _report(report, state="failed", reason="the engine cannot load the model")
    if not str(server.listening_address).startswith("unix:"):
        return _report(report, state="failed", reason="the engine opened a network port")
    _report(report, state="ready")
    threading.Event().wait()
    return 0


def _end_with(*, parent: int) -> None:
    """Make sure that this process does not outlive its parent, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the line above

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _silence_output() -> int:
    """Point standard output and error to nothing; return what standard output was."""
    report = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
    return report


def _report(descriptor: int, **state: str) -> int:
    os.write(descriptor, json.dumps(state).encode() + b"\n")
    os.close(descriptor)
    return 0 if state["state"] == "ready" else 1


def _parameters(xllamacpp: Any, settings: Mapping[str, Any]) -> Any:
    """Translate the settings; every line that is not about size closes something."""
    p = xllamacpp.CommonParams()
    p.model.path = settings["model_path"]
    p.model_alias = {settings["alias"]}  # otherwise answers name the file's path
    p.hostnames = [settings["socket_path"]]  # otherwise a TCP port, always
    p.api_keys = [settings["api_key"]]  # otherwise open to every local user
    p.cors_origins = ""
    p.offline = True
    p.ui = False
    p.endpoint_slots = False  # shows the prompts of others
    p.endpoint_props = False
    p.endpoint_metrics = False
    p.verbosity = 0
    # Nothing of one request may be left for the next: by default 8 GiB of old prompts are
    # kept, and a request with the same beginning, from anyone, is answered sooner.
    p.cache_prompt = False
    p.cache_ram_mib = 0
    p.cache_idle_slots = False
    p.slot_prompt_similarity = 0.0
    p.n_ctx_checkpoints = 0
    p.warmup = False
    p.cont_batching = True
    p.n_parallel = settings["n_parallel"]
    p.n_ctx = settings["context_length"] * settings["n_parallel"]
    p.n_gpu_layers = settings["gpu_layers"]
    # As many threads as cores collapse as soon as anything else runs (spin barriers).
    p.cpuparams.n_threads = settings["threads"]
    p.cpuparams_batch.n_threads = settings["threads"]
    if settings["embeddings"]:
        p.embedding = True
        # A whole text must fit one batch.
        p.n_batch = p.n_ubatch = max(512, settings["context_length"])
        if not settings["pooled"]:
            p.pooling_type = _POOLING_MEAN
    return p


if __name__ == "__main__":
    sys.exit(main())
