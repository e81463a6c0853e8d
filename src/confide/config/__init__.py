"""Settings: one frozen class per process, read only by apps, cli and local.

The enclave reads one measured file and nothing else; the other processes follow
`sources`: flag, environment, table of the TOML file, default.
"""

__all__: list[str] = []
