"""Room 4, inside the TEE: the only place besides the user's machine that sees plaintext.

A sealed request meets, in this order: `intake` (the door), `grants`, `keyring`, `replay`,
`handlers`, `inference`, `sealed_answer`, `usage_ledger`. `quoting` and `manifest` make what
a client verifies before it seals; `app` is the HTTP face. Settings are read and the parts
are wired in `confide.apps.enclave` only.
"""

__all__: list[str] = []
