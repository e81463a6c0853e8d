"""What the gateway gets to see of a request: URL, credential, sizes. The lists are closed.

Of the caller's headers one is used outside, the bearer credential. The others are sealed, but
for those that would identify or authenticate the caller, or are about one connection:
`confide.wire.inner_headers` lists them.

Source: docs/security/metadata.md, confide.wire.metadata.
"""

from __future__ import annotations

from typing import Final

import httpx2

from confide.client.discovery import COLLATERAL_PATH, KEYS_PATH
from confide.client.effects import Fetch, Post
from confide.client.messages import AUTHORITY, Answer, PlainRequest
from confide.dialects.error_bodies import openai_error
from confide.errors import AuthenticationError, ConfigError, GatewayError, InvalidRequest
from confide.wire.inner_headers import request_fields
from confide.wire.metadata import REQUEST_ID_HEADER

__all__ = [
    "Outer",
    "answer_headers",
    "gateway_answer",
    "plain_request",
    "refuse_other_hosts",
    "unsealed_answer",
]

_FETCH_TIMEOUT: Final = {"connect": 5.0, "read": 10.0, "write": 10.0, "pool": 10.0}
_POST_TIMEOUT: Final = {"connect": 5.0, "read": 600.0, "write": 60.0, "pool": 10.0}
# Headers about one connection say nothing about the next; lengths are the receiver's business.
_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def refuse_other_hosts(url: httpx2.URL) -> None:
    """Refuse to seal for any host but the one that cannot exist.

    Raises:
        ConfigError: Not https://confide.invalid. Nothing was sent.
    """
    if url.scheme != "https" or url.host != AUTHORITY or url.port not in (None, 443):
        raise ConfigError(
            f"this transport sends to https://{AUTHORITY} only, not to {url.scheme}://{url.host}",
            code="wrong-host",
            hint=f'set base_url="https://{AUTHORITY}/v1"',
        )


def plain_request(request: httpx2.Request, body: bytes) -> PlainRequest:
    """Take what will be sealed out of a request.

    Raises:
        InvalidRequest: Its headers are too many, too long (431) or malformed (400).
    """
    path = request.url.raw_path.decode("ascii")
    return PlainRequest(request.method, path, request_fields(request.headers.raw), body)


class Outer:
    """The gateway, the credential for it, and who is asked for documents.

    Args:
        gateway: Base URL, http or https.
        api_key: Credential; None uses the bearer credential of each request.
        enclave: Base URL of the enclave to ask for its documents. Default: the gateway.

    Raises:
        ConfigError: A URL or the key is not usable.
    """

    @property
    def has_key(self) -> bool:
        """Whether there is a credential for requests that bring none."""
        return self._authorization is not None

    def __init__(self, gateway: str, api_key: str | None, enclave: str | None = None) -> None:
        self.gateway = _base_url(gateway, "gateway")
        self._documents = self.gateway if enclave is None else _base_url(enclave, "enclave")
        if api_key is not None and (not api_key.isascii() or not api_key.isprintable()):
            raise ConfigError(
                "the API key holds characters that no API key has",
                hint="copy it again, without line breaks or quotes",
            )
        self._authorization = f"Bearer {api_key}" if api_key else None
        self._urls = {KEYS_PATH: httpx2.URL(self._documents + KEYS_PATH)}

    def __repr__(self) -> str:
        return f"<Outer {self.gateway}>"

    def authorization(self, request: httpx2.Request) -> str:
        """The outer credential of a request.

        Raises:
            AuthenticationError: There is none; nothing was sent.
        """
        if self._authorization is not None:
            return self._authorization
        value = request.headers.get("authorization", "")
        if not value.lower().startswith("bearer ") or not value[7:].strip():
            raise AuthenticationError(
                "there is no API key",
                code="missing-api-key",
                hint="set OPENAI_API_KEY or ANTHROPIC_API_KEY",
            )
        return value

    def fetch(self, effect: Fetch) -> httpx2.Request:
        """Build the request for a public document. It carries no credential."""
        headers = {"accept": effect.accept}
        return httpx2.Request(
            "GET",
            self._url(self._asked(effect.path), effect.path),
            headers=headers,
            extensions={"timeout": _FETCH_TIMEOUT},
        )

    def _asked(self, path: str) -> str:
        """An enclave has its own documents; endorsements are stapled by the gateway alone."""
        return self.gateway if path == COLLATERAL_PATH else self._documents

    def post(self, effect: Post, request: httpx2.Request) -> httpx2.Request:
        """Build the sealed request. Of the caller's request only the time limits are used."""
        return httpx2.Request(
            "POST",
            self._url(self.gateway, effect.path),
            headers=list(effect.headers),
            content=effect.content,
            extensions={"timeout": request.extensions.get("timeout", _POST_TIMEOUT)},
        )

    def _url(self, base: str, path: str) -> httpx2.URL:
        known = self._urls.get(path)
        if known is None:
            known = httpx2.URL(base + path)
            if "?" not in path:
                self._urls[path] = known
        return known


def _base_url(text: str, room: str) -> str:
    try:
        url = httpx2.URL(text.rstrip("/"))
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise ConfigError(
            f"the {room}'s URL must look like https://{room}.example.org",
            hint="a credential goes into api_key, not into the URL",
        )
    return str(url)


def answer_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Headers of the opened answer, and the gateway's request id beside them."""
    headers = [(n, v) for n, v in answer.headers if n.lower() not in _CONNECTION]
    headers.append((b"x-confide-origin", b"enclave"))
    if answer.request_id is not None:
        request_id = answer.request_id.encode()
        headers.append((REQUEST_ID_HEADER.encode(), request_id))
        if not any(n.lower() == b"x-request-id" for n, _ in headers):
            headers.append((b"x-request-id", request_id))
    return headers


def gateway_answer(error: GatewayError) -> httpx2.Response:
    """Put a refusal of the gateway into OpenAI's shape, marked as not the enclave's."""
    return _error_answer(error, "gateway")


def unsealed_answer(error: InvalidRequest) -> httpx2.Response:
    """Put our refusal to seal a request into OpenAI's shape. Nothing was sent."""
    return _error_answer(error, "client")


def _error_answer(error: GatewayError | InvalidRequest, origin: str) -> httpx2.Response:
    answer = openai_error(error, origin=origin)
    return httpx2.Response(answer.status, headers=list(answer.headers), content=answer.body)
