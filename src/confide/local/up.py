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

__all__ = ["choose_backends", "discover_models", "serve_until_stopped"]

_STOP_WITHIN_S = 4.5  # of the 5 s that Ctrl-C may take


def discover_models(url: str, path: str, list_key: str, name_key: str) -> tuple[str, ...]:
    """Ask a model server which models it has.

    Args:
        url: Base URL of the server.
        path: Path that lists models.
        list_key: Member that holds the list.
        name_key: Member of each entry that holds its name.

    Returns:
        At least one name.

    Raises:
        ConfigError: The server does not answer, answers something else, or has no model.
    """
    where = url.rstrip("/") + path
    try:
        answer = httpx2.get(where, timeout=5, follow_redirects=False, trust_env=False)
        listed = answer.json()[list_key]
        names = tuple(str(entry[name_key]) for entry in listed)
    except httpx2.HTTPError as error:
        raise ConfigError(
            f"no answer from the model server at {where}",
            hint="start it first, or leave the option out to use the demo model",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{where} answered {answer.status_code}, not a list of models",
            hint="give the server's base URL, such as http://127.0.0.1:11434",
        ) from error
    if not names:
        raise ConfigError(f"the model server at {url} has no model", hint="pull or load one first")
    return names


def choose_backends(
    *, model: Path | None, ollama: str | None, openai: str | None
) -> tuple[BackendChoice, ...] | None:
    """Turn the command line into backends; None means the embedded demo model.

    Raises:
        ConfigError: A model server does not answer, or the file is no GGUF.
    """
    chosen: list[BackendChoice] = []
    if model is not None:
        chosen.append(
            BackendChoice("llamacpp", (model.stem,), {"model_path": str(model.resolve())})
        )
    if ollama is not None:
        names = discover_models(ollama, "/api/tags", "models", "name")
        chosen.append(BackendChoice("ollama", names, {"base_url": ollama.rstrip("/")}))
    if openai is not None:
        base = openai.rstrip("/").removesuffix("/v1")
        names = discover_models(base, "/v1/models", "data", "id")
        chosen.append(BackendChoice("openai_http", names, {"base_url": base + "/v1"}))
    return tuple(chosen) or None


def _introduce(stack: Stack, model: str) -> str:
    home = stack.home
    return f"""
Base URL   {stack.proxy_url}/v1        (any OpenAI client; variables: . {home.client_env})
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
