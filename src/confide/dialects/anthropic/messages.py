"""The conversation: system prompt and turns.

What templates of open models accept is narrower than what Anthropic accepts, so:

* Instructions in the middle of a conversation are moved to its front. Most templates refuse
  a system message anywhere else, and which template it is cannot be seen from here.
* Turns of the same role in a row become one, as Anthropic's servers do it.
* Results of tools come before anything else of their turn. They are text; images in them
  follow in the user's message.
* Claude Code's billing header, a new value for every request, is left out. It is no
  instruction, and as the first line it would make every prompt a new one for a prefix cache.

Source: Anthropic API reference, messages; OpenAI API reference, chat messages.
"""

from __future__ import annotations

from typing import Any, Final

from confide.dialects.anthropic.blocks import (
    Part,
    blocks_of,
    joined,
    tool_call,
    tool_message,
    user_parts,
)
from confide.dialects.anthropic.fields import Fields, at, kind_of, member_list, member_object

__all__ = ["BILLING_HEADER", "chat_messages"]

BILLING_HEADER: Final = "x-anthropic-billing-header:"
_BETWEEN: Final = "\n\n"  # between blocks of the system prompt
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})


def chat_messages(system: object, messages: object) -> list[dict[str, Any]]:
    """Translate `system` and `messages`.

    Raises:
        InvalidRequest: Malformed; `param` names the place.
    """
    instructions = [] if system is None else _instructions(system, "system")
    turns: list[dict[str, Any]] = []
    entries = member_list(messages, "messages")
    if not entries:
        raise at("messages", "at least one message is required")
    for number, entry in enumerate(entries):
        place = f"messages.{number}"
        message = member_object(entry, place)
        content = message.get("content")
        match message.get("role"):
            case "user":
                _add_user(turns, blocks_of(content, f"{place}.content"), f"{place}.content")
            case "assistant":
                _add_assistant(turns, blocks_of(content, f"{place}.content"), f"{place}.content")
            case "system":
                instructions += _instructions(content, f"{place}.content")
            case _:
                raise at(f"{place}.role", "must be user, assistant or system")
    if instructions:
        turns.insert(0, {"role": "system", "content": _BETWEEN.join(instructions)})
    for turn in turns:
        if "parts" in turn:
            turn["content"] = joined(turn.pop("parts"))
    return turns


def _instructions(content: object, place: str) -> list[str]:
    found = []
    for number, block in enumerate(blocks_of(content, place)):
        if kind_of(block) != "text" or not isinstance(block.get("text"), str):
            raise at(f"{place}.{number}", "a system prompt is made of text blocks")
        text: str = block["text"]
        if text.startswith(BILLING_HEADER):
            text = text.partition("\n")[2]
        if text:
            found.append(text)
    return found


def _add_user(turns: list[dict[str, Any]], blocks: list[Fields], place: str) -> None:
    results: list[dict[str, Any]] = []
    seen: list[Part] = []  # images that tools returned
    said: list[Part] = []
    for number, block in enumerate(blocks):
        here = f"{place}.{number}"
        if kind_of(block) == "tool_result":
            message, images = tool_message(block, here)
            results.append(message)
            seen += images
        else:
            said += user_parts(block, here)
    turns += results
    parts = seen + said
    if not parts and results:
        return
    if turns and turns[-1]["role"] == "user":
        turns[-1]["parts"] += parts
    else:
        turns.append({"role": "user", "parts": parts})


def _add_assistant(turns: list[dict[str, Any]], blocks: list[Fields], place: str) -> None:
    if not turns or turns[-1]["role"] != "assistant":
        turns.append({"role": "assistant", "content": None})
    turn = turns[-1]
    for number, block in enumerate(blocks):
        here = f"{place}.{number}"
        kind = kind_of(block)
        if kind == "tool_use":
            turn.setdefault("tool_calls", []).append(tool_call(block, here))
        elif kind in _THINKING:
            thought = block.get("thinking")
            if isinstance(thought, str) and thought:  # a redacted one holds nothing to read
                turn["reasoning_content"] = turn.get("reasoning_content", "") + thought
        elif kind == "text":
            (part,) = user_parts(block, here)
            turn["content"] = (turn["content"] or "") + part["text"]
        else:
            raise at(here, f"an assistant's message holds no {kind} block here")
    if turn["content"] is None and "tool_calls" not in turn:
        turn["content"] = ""
