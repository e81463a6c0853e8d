"""The blind room of somebody else's server: hand sealed requests on to a gateway.

Mount `Relay` in any ASGI application. Its users' clients verify the enclave and seal as if it
were the gateway; it adds the server's own API key and cannot open what passes: nothing here
imports a cipher, the seal, a dialect or a client (import contracts in pyproject.toml).

A server that writes prompts itself uses `confide.asgi` instead.
"""

from confide.relay.admission import Authorize, anyone
from confide.relay.app import Relay

__all__ = ["Authorize", "Relay", "anyone"]
