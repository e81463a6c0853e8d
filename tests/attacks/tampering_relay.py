"""A relay that does what a malicious operator could.

Put it between gateway and enclave, or between client and gateway. It forwards
everything, except that one function may change the sealed request, one the sealed
answer, and one the key directory and the evidence. Plain asyncio and aiohttp on a thread
of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import aiohttp
from aiohttp import web

Change = Callable[[bytes], bytes]


def unchanged(message: bytes) -> bytes:
    return message


class TamperingRelay:
    """Forward to one enclave; `on_request` and `on_answer` may be replaced at any time."""

    def __init__(self, enclave_url: str) -> None:
        self.enclave_url = enclave_url
        self.on_request: Change = unchanged
        self.on_answer: Change = unchanged
        self.on_document: Callable[[str, bytes], bytes] = lambda _, content: content
        self.on_path: Callable[[str], str] = lambda path: path
        self.cut_answer_at: int | None = None
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        self.on_request = self.on_answer = unchanged
        self.on_document = lambda _, content: content
        self.on_path = lambda path: path
        self.cut_answer_at = None
        self.seen.clear()
        self.statuses.clear()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def replay(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Send a captured request again, straight to the enclave."""
        return asyncio.run_coroutine_threadsafe(self._send(headers, body), self._loop).result(20)

    async def _send(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        url = f"{self.enclave_url}/v1/sealed"
        async with self._client.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._client = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{tail:.*}", self._forward)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await self._client.close()
        await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in {"host", "content-length", "transfer-encoding", "connection"}
        }
        sealed = request.path == "/v1/sealed"
        if sealed:
            self.seen.append((headers, body))
            body = self.on_request(body)
        async with self._client.request(
            request.method,
            self.enclave_url + self.on_path(request.path_qs),
            data=body if request.method == "POST" else None,
            headers=headers,
        ) as answer:
            content = await answer.read()
            if sealed:
                self.statuses.append(answer.status)
                if answer.status == 200:
                    content = self.on_answer(content)
            else:
                content = self.on_document(request.path, content)
            response = web.StreamResponse(
                status=answer.status, headers={"content-type": answer.headers["content-type"]}
            )
            await response.prepare(request)
            if sealed and self.cut_answer_at is not None:
                await response.write(content[: self.cut_answer_at])
                # No final HTTP chunk: the connection is cut, as a crash would.
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(content)
            await response.write_eof()
            return response
