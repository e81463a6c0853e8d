"""Content blocks of a request: text, images, documents, results of tools.

Source: Anthropic API reference, content blocks of input messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from confide.dialects.anthropic.fields import (
    Fields,
    at,
    kind_of,
    member_list,
    member_object,
    member_text,
)
from confide.dialects.anthropic.ids import call_id
from confide.dialects.anthropic.tools import short_name

__all__ = ["Part", "blocks_of", "joined", "tool_call", "tool_message", "user_parts"]

Part = dict[str, Any]
"""A part of a message in OpenAI's shape."""

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def blocks_of(content: object, place: str) -> list[Fields]:
    """The blocks of a message; a string is one text block.

    Raises:
        InvalidRequest: Neither a string nor a list of objects.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    entries = member_list(content, place)
    return [member_object(one, f"{place}.{number}") for number, one in enumerate(entries)]


def user_parts(block: Fields, place: str) -> list[Part]:
    """Translate a block that a user, a tool or the system may write.

    Raises:
        InvalidRequest: Malformed, or of a type that no model here takes.
    """
    translate = _READERS.get(kind_of(block))
    if translate is None:
        raise at(place, f"content blocks of type {kind_of(block)} are not supported here")
    return translate(block, place)


def _text(block: Fields, place: str) -> list[Part]:
    text = block.get("text")
    if not isinstance(text, str):
        raise at(f"{place}.text", "a string is required")
    return [{"type": "text", "text": text}]


def _image(block: Fields, place: str) -> list[Part]:
    source = member_object(block.get("source"), f"{place}.source")
    kind = kind_of(source)
    if kind == "base64":
        media_type, data = source.get("media_type"), source.get("data")
        if media_type not in _IMAGES:
            raise at(f"{place}.source.media_type", f"must be one of {', '.join(sorted(_IMAGES))}")
        if not isinstance(data, str) or not _BASE64.fullmatch(data):
            raise at(f"{place}.source.data", "must be base64 without line breaks")
        url = f"data:{media_type};base64,{data}"
    elif kind == "url":
        url = member_text(source, "url", f"{place}.source.")
        if not url.startswith("data:"):
            raise at(f"{place}.source.url", "send the image as base64; nothing is fetched")
    else:
        raise at(f"{place}.source", "send the image as base64; files are not offered here")
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: Fields, place: str) -> list[Part]:
    source = member_object(block.get("source"), f"{place}.source")
    kind = kind_of(source)
    if kind == "text":
        parts = _text({"text": source.get("data")}, f"{place}.source")
    elif kind == "content":
        content = blocks_of(source.get("content"), f"{place}.source.content")
        parts = [part for one in content for part in user_parts(one, f"{place}.source.content")]
    else:
        raise at(
            f"{place}.source",
            "the models here do not read this kind of document; send its text, or its pages as"
            " images",
        )
    header = [block[name] for name in ("title", "context") if isinstance(block.get(name), str)]
    return [{"type": "text", "text": line} for line in header] + parts


def _search_result(block: Fields, place: str) -> list[Part]:
    header = [block[name] for name in ("title", "source") if isinstance(block.get(name), str)]
    content = blocks_of(block.get("content"), f"{place}.content")
    parts: list[Part] = [{"type": "text", "text": line} for line in header]
    return parts + [part for one in content for part in user_parts(one, f"{place}.content")]


_READERS: Final[Mapping[str, Callable[[Fields, str], list[Part]]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}


def joined(parts: list[Part]) -> str | list[Part]:
    """The content of a message: one string if it is all text, because any template takes that."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def tool_call(block: Fields, place: str) -> Part:
    """Translate a `tool_use` block.

    Raises:
        InvalidRequest: Malformed.
    """
    given = block.get("input")
    arguments = {} if given is None else member_object(given, f"{place}.input")
    written = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    function = {"name": short_name(member_text(block, "name", f"{place}.")), "arguments": written}
    identity = call_id(member_text(block, "id", f"{place}."))
    return {"id": identity, "type": "function", "function": function}


def tool_message(block: Fields, place: str) -> tuple[Part, list[Part]]:
    """Translate a `tool_result` block.

    Returns:
        The tool's message, which is text, and the images it held, for the user's next one.

    Raises:
        InvalidRequest: Malformed.
    """
    identity = call_id(member_text(block, "tool_use_id", f"{place}."))
    content = block.get("content")
    blocks = [] if content is None else blocks_of(content, f"{place}.content")
    parts = [part for one in blocks for part in user_parts(one, f"{place}.content")]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error") is True:
        text = f"Error: {text}" if text else "Error"
    message = {"role": "tool", "tool_call_id": identity, "content": text}
    return message, [part for part in parts if part["type"] != "text"]
