"""What `confide up` does: start the stack, say what runs, serve until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import httpx2

from confide.errors import ConfideError, ConfigError
from confide.local.demo import run_demo
from confide.local.enclave_file import BackendChoice
from confide.local.home import Home
from confide.local.simulated import BANNER
from confide.local.stack import Stack, StackOptions

__all__ = ["choose_backends", "list_models", "serve_until_stopped"]

_STOP_WITHIN_S = 4.5  # of the 5 s that Ctrl-C may take


def list_models(url: str, path: str, list_key: str) -> list[dict[str, object]]:
    """Ask a model server which models it has.

    Args:
        url: Base URL of the server.
        path: Path that lists models.
        list_key: Member that holds the list.

    Returns:
        What the server says of each model.

    Raises:
        ConfigError: The server does not answer, or answers something else.
    """
    where = url.rstrip("/") + path
    try:
        answer = httpx2.get(where, timeout=5, follow_redirects=False, trust_env=False)
        listed = answer.json()[list_key]
    except httpx2.HTTPError as error:
        raise ConfigError(
            f"no answer from the model server at {where}",
            hint="start it first, or leave the option out to use the demo model",
        ) from error
    except (ValueError, KeyError, TypeError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(
            f"{where} answered {answer.status_code}, not a list of models",
            hint="give the server's base URL, such as http://127.0.0.1:11434",
        )
    return listed


def _names(listed: list[dict[str, object]], key: str, url: str) -> tuple[str, ...]:
    names = tuple(str(entry[key]) for entry in listed if key in entry)
    if not names:
        raise ConfigError(f"the model server at {url} has no model", hint="pull or load one first")
    return names


def choose_backends(
    *, model: Path | None, ollama: str | None, openai: str | None
) -> tuple[BackendChoice, ...] | None:
    """Turn the command line into backends; None means the embedded demo model.

    Raises:
        ConfigError: A model server does not answer, or has no model. A file that is no GGUF
            is refused later, by the enclave that opens it.
    """
    chosen: list[BackendChoice] = []
    if model is not None:
        chosen.append(
            BackendChoice("llamacpp", (model.stem,), {"model_path": str(model.resolve())})
        )
    if ollama is not None:
        names = _names(list_models(ollama, "/api/tags", "models"), "name", ollama)
        chosen.append(BackendChoice("ollama", names, {"base_url": ollama.rstrip("/")}))
    if openai is not None:
        base = openai.rstrip("/").removesuffix("/v1")
        listed = list_models(base, "/v1/models", "data")
        options: dict[str, object] = {"base_url": base + "/v1"}
        if any(entry.get("owned_by") == "vllm" for entry in listed):
            options["engine"] = "vllm"  # then every domain gets a cache salt of its own
        names = _names(listed, "id", base)
        chosen.append(BackendChoice("openai_http", names, options))
    return tuple(chosen) or None


def _introduce(stack: Stack, model: str) -> str:
    home = stack.home
    return f"""
Base URL   {stack.proxy_url}/v1        (any OpenAI client; variables: . {home.client_env})
           {stack.proxy_url}           (any Anthropic client)
Try it     curl -N {stack.proxy_url}/v1/chat/completions -H 'content-type: application/json' \\
             -d '{{"model": "{model}", "stream": true,
                  "messages": [{{"role": "user", "content": "Hello"}}]}}'
Verify     confide verify {stack.gateway_url}
Logs       {home.path / "logs"}

{BANNER}
"""


def _first_model(options: StackOptions) -> str:
    return options.backends[0].models[0]


def _wait(stack: Stack, stopping: threading.Event) -> None:
    """Return when asked to stop; raise when a room ended by itself."""
    while not stopping.wait(0.2):
        for name, child in stack.children.items():
            if not child.alive:
                raise ConfideError(
                    f"the {name} ended unexpectedly with {child.process.returncode}",
                    hint=f"its log: {child.log}",
                )


def serve_until_stopped(home: Home, options: StackOptions, *, demo: bool) -> None:
    """Start everything, introduce it, serve until SIGINT or SIGTERM, stop everything.

    Args:
        home: Data directory.
        options: What to start.
        demo: Send one prompt first and show what the gateway saw.

    Raises:
        ConfideError: Something could not start, or a room ended by itself.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    out = sys.stdout
    stack = Stack(home, options)

    def write(text: str) -> None:
        out.write(text)
        out.flush()

    sys.stderr.write("starting confide on this machine\n")
    try:
        stack.start(lambda line: print(f"  {line}", file=sys.stderr))  # noqa: T201
        model = _first_model(options)
        write(_introduce(stack, model))
        if demo:
            run_demo(stack, model, write)
        write("\nServing. Ctrl-C stops everything.\n")
        _wait(stack, stopping)
    except httpx2.HTTPError as error:
        raise ConfideError(
            f"the demo prompt got no answer: {error}", hint=f"logs: {home.path / 'logs'}"
        ) from error
    finally:
        sys.stderr.write("stopping\n")
        killed = stack.stop(within_s=_STOP_WITHIN_S)
        if killed:
            sys.stderr.write(f"had to kill: {', '.join(killed)}\n")
