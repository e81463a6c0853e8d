"""Who may call: domains, API keys and what the gateway knows about a caller.

Pure values and functions; storing them is the gateway's business (`confide.gateway.store`).
Nothing here can read a prompt, and the clear API key exists only in the value that
`confide.identity.api_keys.mint` returns once.
"""

from confide.identity.principal import Principal
from confide.identity.records import ApiKeyRecord, DomainRecord

__all__ = ["ApiKeyRecord", "DomainRecord", "Principal"]
