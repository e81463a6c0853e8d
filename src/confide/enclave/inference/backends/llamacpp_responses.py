"""The engine's stream of a response, with the places that the API promises and it leaves out.

OpenAI's SDKs put a streamed response together by `output_index` and `content_index`, and
every event has a `sequence_number`. The engine names items by id only, and says the arguments
of a call in pieces and never once as a whole. What it does say stays as it is.

Source: the OpenAI API reference, streaming events of responses.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.events import EventSplitter, EventTooLong, event_json

__all__ = ["placed_events"]

_ADDED: Final = "response.output_item.added"
_DONE: Final = "response.output_item.done"
_PART_ADDED: Final = "response.content_part.added"
_ARGUMENTS_DONE: Final = "response.function_call_arguments.done"
_IN_A_PART: Final = (
    "response.content_part.",
    "response.output_text.",
    "response.refusal.",
    "response.reasoning_text.",
)
_TEXT: Final = frozenset({"response.output_text.delta", "response.output_text.done"})


async def placed_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events of a response, numbered, each with its place in the output.

    Args:
        pieces: The engine's stream, cut anywhere.

    Raises:
        BackendUnavailable: An event is too long.
    """
    splitter, places = EventSplitter(), _Places()
    async for piece in pieces:
        try:
            events = splitter.feed(piece)
        except EventTooLong:
            raise BackendUnavailable("an event of the engine is too long") from None
        for event in events:
            told = event_json(event)
            if told is None or not isinstance(told.get("type"), str):
                yield event  # a comment, an error, or the end
                continue
            for placed in places.of(told):
                yield _written(placed)
    if rest := splitter.rest():
        yield rest


class _Places:
    """Where the items of one response are, as far as it has come."""

    def __init__(self) -> None:
        self._number = 0
        self._items: dict[str, int] = {}
        self._parts: dict[str, int] = {}
        self._whole: set[str] = set()  # calls whose arguments were said as a whole

    def of(self, event: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """The event with its place; before it, what was left out."""
        kind = str(event["type"])
        item = event.get("item")
        fields: Mapping[str, object] = item if isinstance(item, Mapping) else {}
        name = event.get("item_id", fields.get("id"))
        if not isinstance(name, str):
            yield self._numbered(event, {})
            return
        if kind == _ADDED:
            self._items.setdefault(name, len(self._items))
        if kind == _PART_ADDED:
            self._parts[name] = self._parts.get(name, -1) + 1
        if kind == _ARGUMENTS_DONE:
            self._whole.add(name)
        place: dict[str, object] = {"output_index": self._items.get(name, 0)}
        if kind == _DONE and fields.get("type") == "function_call" and name not in self._whole:
            told = {key: fields.get(key, "") for key in ("name", "arguments")}
            yield self._numbered({"type": _ARGUMENTS_DONE, "item_id": name, **told}, place)
        if kind.startswith(_IN_A_PART):
            place["content_index"] = max(0, self._parts.get(name, 0))
        if kind in _TEXT:
            place["logprobs"] = []
        yield self._numbered(event, place)

    def _numbered(
        self, event: Mapping[str, object], place: Mapping[str, object]
    ) -> dict[str, object]:
        number = self._number
        self._number += 1
        return {"sequence_number": number, **place, **event}


def _written(event: Mapping[str, object]) -> bytes:
    data = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    return f"event: {event['type']}\ndata: {data}\n\n".encode()
