"""The two roads of an OpenAI client: through the proxy, and through the transport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from openai import OpenAI

from confide import EncryptedTransport
from confide.local import simulated_verifier

ROADS = ("proxy", "transport")


@contextmanager
def openai_over(road: str, stack) -> Iterator[OpenAI]:
    """An unmodified client that does not retry."""
    if road == "proxy":
        with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything", max_retries=0) as client:
            yield client
        return
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with (
        httpx2.Client(transport=transport) as http_client,
        OpenAI(
            base_url="https://confide.invalid/v1",
            api_key=stack.api_key,
            http_client=http_client,
            max_retries=0,
        ) as client,
    ):
        yield client
