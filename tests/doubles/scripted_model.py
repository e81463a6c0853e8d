"""An OpenAI-compatible server whose model calls one tool, then says what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web


class ScriptedModel:
    """Calls `tool` once if it is offered; otherwise says `text`.

    Attributes:
        bodies: Every request, in order.
    """

    def __init__(
        self, tool: str = "", arguments: Mapping[str, object] | None = None, text: str = ""
    ) -> None:
        self.tool, self.arguments, self.text = tool, arguments or {}, text
        self.bodies: list[dict] = []

    def application(self) -> web.Application:
        """What `tests.doubles.serving` serves."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.bodies.append(asked)
        deltas, reason = self._answer(asked)
        if not asked.get("stream"):
            return web.json_response(self._whole(deltas))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": 0, "delta": {}, "finish_reason": reason})
        for choice in chunks:
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        last = {"choices": [], "usage": usage}
        await response.write(b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n")
        await response.write_eof()
        return response

    def _answer(self, asked: dict) -> tuple[list[dict], str]:
        results = [m["content"] for m in asked["messages"] if m["role"] == "tool"]
        offered = [tool["function"]["name"] for tool in asked.get("tools", ())]
        if results or self.tool not in offered:
            return [{"content": self.text or f"the tool said {results[-1:]}"}], "stop"
        written = json.dumps(self.arguments)
        function = {"name": self.tool, "arguments": ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        pieces = [written[at : at + 9] for at in range(0, len(written), 9)]
        parts = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
        return [{"tool_calls": [part]} for part in (call, *parts)], "tool_calls"

    @staticmethod
    def _whole(deltas: list[dict]) -> dict:
        text = "".join(delta["content"] for delta in deltas)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        return {"choices": [choice], "usage": usage}
