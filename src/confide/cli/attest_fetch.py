"""Fetch what `confide verify` looks at. Everything fetched is untrusted text.

Sizes are limited while reading, redirects are not followed, and no credential, cookie or
prompt is sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import click
import httpx2

from confide.attest.collateral.bundle import MAX_BUNDLE
from confide.client.discovery import COLLATERAL_PATH, KEYS_PATH, evidence_path, refusal
from confide.client.effects import Head, Reply
from confide.errors import GatewayError, TransportError
from confide.wire.directory import MAX_DIRECTORY
from confide.wire.media_types import COLLATERAL, DIRECTORY, EVIDENCE

__all__ = ["MAX_EVIDENCE", "Fetched", "Fetcher", "parse_url"]

_CONNECT_S = 5.0
_READ_S = 15.0
_TOTAL_S = 60.0
MAX_EVIDENCE = 512 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Fetched:
    """One answer.

    Attributes:
        body: At most the limit of what was asked for.
        date: The `Date` header, or an empty string.
    """

    body: bytes = field(repr=False)
    date: str


def parse_url(url: str) -> str:
    """Return the base URL without a trailing slash.

    Raises:
        click.BadParameter: Not http or https, no host, or with credentials, query or fragment.
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise click.BadParameter("not a URL", param_hint="URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or "%" in parsed.host:
        raise click.BadParameter("must start with https:// or http://", param_hint="URL")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise click.BadParameter("only scheme, host, port and path belong here", param_hint="URL")
    return str(parsed).rstrip("/")


class Fetcher:
    """Reads key documents and evidence below one base URL. Use as a context manager."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(_READ_S, connect=_CONNECT_S),
            follow_redirects=False,
            # A proxy of the environment cannot reach this machine's loopback addresses.
            trust_env=httpx2.URL(base_url).host not in _LOOPBACK,
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def directory(self) -> Fetched:
        """Read the directory of key documents.

        Raises:
            TransportError: No answer, an answer that ended early, or one that is too large.
            GatewayError: An answer that is not a directory.
        """
        return self._get(KEYS_PATH, DIRECTORY, MAX_DIRECTORY)

    def collateral(self) -> Fetched:
        """Read the endorsements that the gateway hands out. See `directory`."""
        return self._get(COLLATERAL_PATH, COLLATERAL, MAX_BUNDLE)

    def evidence(self, document_sha256: bytes, nonce: bytes) -> Fetched:
        """Read the evidence for one key document that answers one challenge. See `directory`."""
        return self._get(evidence_path(document_sha256, nonce), EVIDENCE, MAX_EVIDENCE)

    def _get(self, path: str, media_type: str, limit: int) -> Fetched:
        # Compressed answers are refused: a small one could unpack to any size.
        headers = {"accept": media_type, "accept-encoding": "identity"}
        try:
            with self._client.stream("GET", self._base_url + path, headers=headers) as response:
                head = Head(response.status_code, dict(response.headers.items()))
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise GatewayError("the answer is compressed; it was not read")
                body = _read(response, limit)
        except httpx2.HTTPError as error:
            raise TransportError(
                f"no usable answer from {self._base_url} ({type(error).__name__})",
                hint="confide doctor checks the network and the clock",
            ) from error
        if head.status != 200:
            raise refusal(Reply(head.status, head.headers, body), body)
        if head.media_type != media_type:
            raise GatewayError(f"the answer is not {media_type}; is this a confide gateway?")
        return Fetched(body, head.headers.get("date", ""))


def _read(response: httpx2.Response, limit: int) -> bytes:
    declared = response.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TransportError(f"the answer is larger than {limit} bytes")
    body = bytearray()
    deadline = time.monotonic() + _TOTAL_S
    for piece in response.iter_raw():
        body += piece
        # The read timeout starts again with every byte; this one does not.
        if time.monotonic() > deadline:
            raise TransportError(f"the answer took longer than {_TOTAL_S:.0f} s")
        if len(body) > limit:
            raise TransportError(f"the answer is larger than {limit} bytes")
    return bytes(body)
