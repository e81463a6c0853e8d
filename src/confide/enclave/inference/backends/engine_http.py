"""Talk HTTP to an engine: no redirects, no proxies from the environment, no cookies, limits.

One `EngineHTTP` is one engine, on a TCP address or a Unix socket. Everything that goes wrong
on the way is `BackendUnavailable`, and its message says what happened, never what was sent
or received.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import weakref
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from confide.enclave.inference.backend import BackendUnavailable
from confide.errors import ConfigError
from confide.wire.inner_headers import Fields, answer_fields, travels

__all__ = ["EngineHTTP", "check_base_url"]

#: Largest error or control body read, in bytes. Answers have their own limit in the router.
SMALL_BODY: Final = 1024 * 1024
_READ_FAILURES: Final = (aiohttp.ClientError, TimeoutError, ConnectionError, OSError)


def check_base_url(name: str, url: str, trusted_hosts: Collection[str]) -> str:
    """Check where a backend lies, before anything connects to it.

    Loopback and private addresses may be plain HTTP: inside the machine, or its own network,
    nobody listens. Any other host must be listed in the measured settings by name and must
    speak TLS, because prompts leave the machine to it.

    Returns:
        The URL without a trailing slash.

    Raises:
        ConfigError: The URL is malformed, holds credentials, or its host is not acceptable.
    """
    parts = urlsplit(url)
    where = f"backend {name!r}: base_url"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{where}: must be an http or https URL", hint="such as http://127.0.0.1:11434"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{where}: no credentials, query or fragment", hint="use api_key_file")
    if not _is_near(parts.hostname):
        if parts.hostname not in trusted_hosts:
            raise ConfigError(
                f"{where}: {parts.hostname} is neither loopback nor private",
                hint="prompts would leave this machine; if they may, list it in trusted_hosts",
            )
        if parts.scheme != "https":
            raise ConfigError(
                f"{where}: {parts.hostname} must be reached over https", hint="write https://"
            )
    return url.rstrip("/")


def _is_near(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.is_private and not address.is_unspecified)


class EngineHTTP:
    """A client for one engine.

    Args:
        base_url: Scheme, host and path prefix.
        headers: Sent with every request.
        socket_path: Unix socket to use instead of the URL's host.
        connect_timeout_s: Seconds to connect.
        read_timeout_s: Seconds between two pieces of an answer; not a limit on the whole.
        reuse: Keep connections. An engine that drops idle ones needs False.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        socket_path: Path | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 300.0,
        reuse: bool = True,
    ) -> None:
        self._base_url = base_url
        # Answers are relayed byte for byte and scanned for usage: no compression.
        self._headers = {"accept-encoding": "identity", **(headers or {})}
        self._own = frozenset({"content-type", *map(str.lower, self._headers)})
        self._socket_path = socket_path
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_s, sock_read=read_timeout_s
        )
        self._reuse = reuse
        self._session: aiohttp.ClientSession | None = None
        # An answer nobody read to its end must not outlive the pool it came from.
        self._replies: weakref.WeakSet[EngineReply] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"EngineHTTP({self._base_url!r})"

    async def start(self) -> None:
        """Make the connection pool; connects to nothing yet."""
        if self._session is not None:
            return
        connector: aiohttp.BaseConnector
        if self._socket_path is not None:
            connector = aiohttp.UnixConnector(
                str(self._socket_path), limit=0, force_close=not self._reuse
            )
        else:
            connector = aiohttp.TCPConnector(limit=0, force_close=not self._reuse)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Close every connection, those of unfinished answers first."""
        for reply in tuple(self._replies):
            reply.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        forwarded: Fields = (),
    ) -> EngineReply:
        """Send one request and wait for the head of the answer; a redirect is an answer.

        Args:
            method: HTTP method.
            path: Below the base URL.
            body: Sent as it is.
            content_type: Of the body.
            forwarded: The caller's headers. They never replace one of ours.

        Raises:
            BackendUnavailable: No answer.
        """
        if self._session is None:
            raise BackendUnavailable("the backend is not started")
        headers = [
            (name.decode("ascii"), value.decode("utf-8"))
            for name, value in forwarded
            if name.decode("ascii") not in self._own and travels(name.decode("ascii"))
        ]
        if body is not None:
            headers.append(("content-type", content_type))
        try:
            response = await self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers=headers,
                allow_redirects=False,
            )
        except _READ_FAILURES as error:
            raise BackendUnavailable(f"no answer from the engine: {_reason(error)}") from None
        reply = EngineReply(response)
        self._replies.add(reply)
        return reply

    async def get_json(self, path: str) -> tuple[int, object]:
        """Fetch a small JSON document; None stands for one that is not JSON.

        Raises:
            BackendUnavailable: No answer.
        """
        reply = await self.send("GET", path)
        return reply.status, _parse(await reply.read())


class EngineReply:
    """The head of an answer, and its body on request.

    Attributes:
        status: HTTP status.
        content_type: Media type without parameters, lower case.
        media_type: The same with its charset, if it names one.
        headers: Those that a caller may get; see `confide.wire.inner_headers`.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = answer_fields(response.raw_headers)
        self.content_type = self.media_type = response.content_type.lower()
        if self.content_type.startswith("text/plain") and response.charset:
            self.media_type += f"; charset={response.charset.lower()}"

    def close(self) -> None:
        """Close the connection at once; the engine sees its client leave."""
        self._response.close()

    async def aclose(self) -> None:
        """Close the connection at once."""
        self.close()

    async def read(self, limit: int = SMALL_BODY) -> bytes:
        """Read the whole body.

        Raises:
            BackendUnavailable: It is over the limit or was cut.
        """
        received = bytearray()
        async for piece in self.pieces():
            received += piece
            if len(received) > limit:
                self.close()
                raise BackendUnavailable("the engine's answer is over the size limit")
        return bytes(received)

    async def read_json(self, limit: int = SMALL_BODY) -> object:
        """Read and parse the whole body; None stands for one that is not JSON."""
        return _parse(await self.read(limit))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            BackendUnavailable: It was cut, or paused for longer than the read timeout.
        """
        try:
            while piece := await self._response.content.readany():
                yield piece
        except _READ_FAILURES as error:
            self.close()
            raise BackendUnavailable(f"the engine's answer was cut: {_reason(error)}") from None
        except asyncio.CancelledError:
            self.close()
            raise
        self._response.release()


def _reason(error: BaseException) -> str:
    return "timed out" if isinstance(error, TimeoutError) else type(error).__name__


def _parse(content: bytes) -> object:
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed
