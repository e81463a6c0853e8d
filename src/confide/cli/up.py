"""`confide up`: the whole stack on this machine."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["register"]

_PORT = click.IntRange(1, 65535)


@click.command("up")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="Port of the proxy.")
@click.option(
    "--gateway-port", type=_PORT, default=8001, show_default=True, help="Port of the gateway."
)
@click.option(
    "--enclave-port", type=_PORT, default=8002, show_default=True, help="Port of the enclave."
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH.gguf",
    help="Serve this GGUF file. Default: the demo model shipped with confide.",
)
@click.option("--ollama", metavar="URL", help="Serve the models of an Ollama server.")
@click.option("--openai", metavar="URL", help="Serve the models of an OpenAI-compatible server.")
@click.option("--demo", is_flag=True, help="Send one prompt and show what the gateway saw.")
def up(
    port: int,
    gateway_port: int,
    enclave_port: int,
    model: Path | None,
    ollama: str | None,
    openai: str | None,
    demo: bool,
) -> None:
    """Start proxy, gateway and enclave on this machine and serve until Ctrl-C.

    The parts are real; the evidence is SIMULATED: no processor protects anything, and
    production clients refuse it. Creates keys on first run in CONFIDE_HOME (default: the
    platform's data directory) and writes client.env there.

    \b
    Example:
      $ confide up --model ~/models/Qwen3-0.6B-Q8_0.gguf
    """
    from confide.local.home import Home
    from confide.local.stack import StackOptions
    from confide.local.up import choose_backends, serve_until_stopped

    ports = {
        "proxy_port": port,
        "gateway_port": gateway_port,
        "enclave_ports": (enclave_port,),
    }
    backends = choose_backends(model=model, ollama=ollama, openai=openai)
    options = (
        StackOptions(**ports)  # type: ignore[arg-type]
        if backends is None
        else StackOptions(**ports, backends=backends)  # type: ignore[arg-type]
    )
    serve_until_stopped(Home.default(), options, demo=demo)


def register(group: click.Group) -> None:
    """Add the command to the root group."""
    group.add_command(up)
