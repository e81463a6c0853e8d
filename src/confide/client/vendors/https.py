"""One small request to one fixed vendor host.

https only, no redirect, no proxy of the environment, no cookie, no compression; sizes and times
have limits. A mirror takes the place of every vendor: `https://mirror.example/kds` is asked for
`https://mirror.example/kds/kdsintf.amd.com/vcek/v1/...`. It may speak plain http on loopback only,
where nobody else listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import httpx2

from confide.errors import ConfigError, TransportError

__all__ = ["HOSTS", "VendorAnswer", "VendorHttp"]

HOSTS: Final = frozenset(
    {
        "kdsintf.amd.com",
        "api.trustedservices.intel.com",
        "certificates.trustedservices.intel.com",
        "ocsp.ndis.nvidia.com",
        "crl.ndis.nvidia.com",
    }
)
"""All hosts that are ever asked."""

_CONNECT_S: Final = 5.0
_READ_S: Final = 15.0
_TOTAL_S: Final = 60.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class VendorAnswer:
    """A complete answer with status 200.

    Attributes:
        body: At most the limit of the request.
        headers: Names in lower case.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class VendorHttp:
    """Asks vendors. Use as a context manager.

    Args:
        mirror: Base URL of a mirror that is asked instead; None asks the vendors.
        total_s: Most seconds for one answer.
        monotonic: Seconds.

    Raises:
        ConfigError: The mirror's URL is not https, or http on loopback, or holds more than a path.
    """

    def __init__(
        self,
        mirror: str | None = None,
        *,
        total_s: float = _TOTAL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mirror = None if mirror is None else _mirror(mirror)
        self._total_s = total_s
        self._monotonic = monotonic
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(min(_READ_S, total_s), connect=min(_CONNECT_S, total_s)),
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity", "user-agent": "confide"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, host: str, target: str, *, limit: int) -> VendorAnswer:
        """GET a target of a vendor.

        Args:
            host: One of `HOSTS`.
            target: Path and query.
            limit: Most bytes of the answer.

        Raises:
            TransportError: vendor-unreachable, vendor-busy, vendor-refused or vendor-malformed.
        """
        return self._ask("GET", host, target, limit)

    def post(
        self, host: str, target: str, content: bytes, *, kind: str, limit: int
    ) -> VendorAnswer:
        """POST content of one media type; otherwise as `get`."""
        return self._ask("POST", host, target, limit, content, {"content-type": kind})

    def _ask(
        self,
        method: str,
        host: str,
        target: str,
        limit: int,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> VendorAnswer:
        if host not in HOSTS or not target.startswith("/"):
            raise ValueError(f"{host} is not a vendor's host")
        where = f"https://{host}" if self._mirror is None else f"{self._mirror}/{host}"
        try:
            with self._client.stream(
                method, where + target, content=content, headers=headers
            ) as response:
                _refuse_status(response, host)
                body = self._read(response, host, limit)
                return VendorAnswer(body, {n.lower(): v for n, v in response.headers.items()})
        except httpx2.HTTPError as error:
            raise TransportError(
                f"no usable answer from {host} ({type(error).__name__})",
                code="vendor-unreachable",
                hint="a machine without network takes a bundle: confide endorsements import FILE",
            ) from error

    def _read(self, response: httpx2.Response, host: str, limit: int) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _malformed(host, "the answer is compressed")
        deadline = self._monotonic() + self._total_s
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > limit:
                raise _malformed(host, f"the answer is longer than {limit} bytes")
            if self._monotonic() > deadline:
                raise TransportError(
                    f"{host} took longer than {self._total_s:.0f} s", code="vendor-unreachable"
                )
        if not body:
            raise _malformed(host, "the answer is empty")
        return bytes(body)


def _refuse_status(response: httpx2.Response, host: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status == 429 or status >= 500:
        wait = response.headers.get("retry-after", "")
        after = f" in {wait} s" if wait.isascii() and wait.isdigit() and len(wait) < 6 else " later"
        raise TransportError(
            f"{host} is busy ({status})",
            code="vendor-busy",
            hint=f"try again{after}; what was fetched before is kept",
        )
    what = "wants to send us elsewhere" if 300 <= status < 400 else "refused"
    raise TransportError(f"{host} {what} ({status})", code="vendor-refused")


def _malformed(host: str, why: str) -> TransportError:
    return TransportError(f"{host}: {why}", code="vendor-malformed")


def _mirror(text: str) -> str:
    try:
        url = httpx2.URL(text.rstrip("/"))
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    plain = url.scheme == "http" and url.host in _LOOPBACK
    if not (url.scheme == "https" or plain) or not url.host or url.userinfo or url.query:
        raise ConfigError(
            "a mirror must look like https://mirror.example.org/vendors",
            hint="plain http is accepted on this machine only",
        )
    return str(url)
