"""The `confide` command. Each module registers its commands; `main` is the entry point."""

__all__: list[str] = []
