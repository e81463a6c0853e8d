"""The Responses API: what of it can be asked of an enclave that keeps nothing.

OpenAI's service stores responses and runs tools of its own. An enclave does neither: every
request must bring its whole conversation, and tools run at the caller's. What would need a
store, or would make an engine reach out, is refused by name; everything else goes on to the
engine as it came. `store` is set to false, because engines have stores too.

Source: the OpenAI API reference, responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confide.errors import InvalidRequest

__all__ = ["FINAL_EVENTS", "check_responses"]

#: Types of the events that end a stream regularly.
FINAL_EVENTS: Final = frozenset({"response.completed", "response.incomplete"})

#: Fields that refer to something that was stored earlier, or asks for storing.
_STORED: Final = ("previous_response_id", "conversation")
#: Tools that the caller runs. All others run at the engine or beyond it.
_CALLERS_TOOLS: Final = frozenset(
    {"function", "custom", "local_shell", "apply_patch", "computer_use_preview"}
)
_HINT: Final = "send the whole conversation in input"


def check_responses(fields: Mapping[str, object]) -> None:
    """Refuse what needs a store or a tool of the server's.

    Raises:
        InvalidRequest: Code "not-stored" or "tool-unsupported"; `param` names the field.
    """
    for name in _STORED:
        if fields.get(name) is not None:
            raise _not_stored(name, f"{name} refers to something stored, and nothing is stored")
    if fields.get("store") not in (None, False):
        raise _not_stored("store", "responses are not stored", hint="leave it out, or send false")
    if fields.get("background") not in (None, False):
        raise _not_stored(
            "background",
            "a response in the background would have to be stored",
            hint="use stream instead",
        )
    given = fields.get("input")
    if isinstance(given, list) and any(_refers(item) for item in given):
        raise _not_stored("input", "an item_reference refers to something stored")
    _check_tools(fields.get("tools"))


def _refers(item: object) -> bool:
    return isinstance(item, Mapping) and item.get("type") == "item_reference"


def _check_tools(tools: object) -> None:
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind not in _CALLERS_TOOLS:
            raise InvalidRequest(
                "the enclave runs no tools and lets no engine reach out; only tools that the "
                f"caller runs can be offered: {', '.join(sorted(_CALLERS_TOOLS))}",
                param="tools",
                code="tool-unsupported",
            )


def _not_stored(param: str, message: str, *, hint: str = _HINT) -> InvalidRequest:
    return InvalidRequest(f"{message}; {hint}", param=param, code="not-stored")
