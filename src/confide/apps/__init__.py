"""Composition roots, one per process: the only code that wires a room from its settings.

`serving` runs what they build. Nothing here decides anything about a request.
"""

__all__: list[str] = []
