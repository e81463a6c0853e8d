"""LangChain's chat model and embeddings over the sealed transport (extra `langchain`).

    from confide.langchain import ChatConfide

    model = ChatConfide("https://gateway.example.org", policy=policy, model="demo-tiny")

Both are LangChain's own classes for OpenAI's API with another way out. What would send a
prompt, or the address of a picture in it, around the seal is refused or replaced: another
base URL or HTTP client, tracing to LangSmith, and the downloads of a tokenizer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import httpx2
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langsmith.utils import tracing_is_enabled

from confide.client import AsyncEncryptedTransport, EncryptedTransport
from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.attest.policy import AppraisalPolicy
    from confide.attest.results import EnclaveVerifier

__all__ = ["ChatConfide", "ConfideEmbeddings", "count_tokens"]

_BASE_URL: Final = "https://confide.invalid/v1"
_OURS: Final = frozenset(
    (
        "base_url",
        "openai_api_base",
        "openai_api_key",
        "openai_proxy",
        "http_client",
        "http_async_client",
        "client",
        "async_client",
        "root_client",
        "root_async_client",
    )
)


class ChatConfide(ChatOpenAI):
    """A chat model whose prompts and answers are sealed between here and the enclave.

    Args:
        gateway: Base URL of the gateway.
        policy: What evidence is accepted. Exactly one of policy and verifier.
        verifier: Decides about evidence instead of a policy.
        api_key: Credential for the gateway. Default: ``CONFIDE_API_KEY``; a key for OpenAI
            in the environment is never used.
        allow_tracing: Build it although LangSmith's tracing is on, which sends every prompt
            to LangSmith in the clear.
        transport_options: Further arguments of both transports, such as ``clock``.
        options: Fields of `ChatOpenAI`, such as ``model`` and ``temperature``.

    Raises:
        ConfigError: An option that would lead around the seal, tracing that was not
            allowed, no key, or an unusable gateway or policy.
    """

    def __init__(
        self,
        gateway: str,
        *,
        policy: AppraisalPolicy | None = None,
        verifier: EnclaveVerifier | None = None,
        api_key: str | None = None,
        allow_tracing: bool = False,
        transport_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        wiring = _wiring(
            gateway, policy, verifier, api_key, allow_tracing, transport_options, options
        )
        super().__init__(**options, **wiring)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """No: what LangChain would load again is its own class, without the seal."""
        return False

    def get_token_ids(self, text: str) -> list[int]:  # noqa: ARG002
        """Refuse: LangChain would download OpenAI's tokenizer, which is not the model's.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "the tokenizer is in the enclave; there are no token ids here",
            hint="use get_num_tokens for an estimate, or usage_metadata of an answer",
        )

    def get_num_tokens(self, text: str) -> int:
        """Estimate tokens from the length, without asking anybody."""
        return count_tokens([("user", text)])

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Any] | None = None,  # noqa: ARG002 - LangChain's signature
        **options: Any,  # noqa: ARG002
    ) -> int:
        """Estimate tokens from the length; LangChain's way would fetch pictures by their URL."""
        return count_tokens(messages)


class ConfideEmbeddings(OpenAIEmbeddings):
    """Embeddings of texts that only the enclave reads; arguments as `ChatConfide`.

    Texts are sent whole: cutting them into tokens here would download OpenAI's tokenizer.
    """

    def __init__(
        self,
        gateway: str,
        *,
        policy: AppraisalPolicy | None = None,
        verifier: EnclaveVerifier | None = None,
        api_key: str | None = None,
        allow_tracing: bool = False,
        transport_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        wiring = _wiring(
            gateway, policy, verifier, api_key, allow_tracing, transport_options, options
        )
        if options.setdefault("check_embedding_ctx_length", False):
            raise ConfigError("check_embedding_ctx_length would download a tokenizer")
        super().__init__(**options, **wiring)


def count_tokens(messages: Sequence[Any]) -> int:
    """Estimate the tokens of messages from their length. Nothing is sent or downloaded."""
    return count_tokens_approximately(messages)


def _wiring(
    gateway: str,
    policy: AppraisalPolicy | None,
    verifier: EnclaveVerifier | None,
    api_key: str | None,
    allow_tracing: bool,
    transport_options: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Build what both classes need, after refusing what would lead around the seal."""
    if around := sorted(_OURS & options.keys()):
        raise ConfigError(f"{around[0]} is set by confide and cannot be an option")
    if not allow_tracing and tracing_is_enabled():
        raise ConfigError(
            "LangSmith's tracing is on, so LangChain would send every prompt there in the clear",
            hint="unset LANGSMITH_TRACING, or pass allow_tracing=True",
        )
    key = api_key or os.environ.get("CONFIDE_API_KEY")
    if not key:
        raise ConfigError("no API key for the gateway", hint="pass api_key, or set CONFIDE_API_KEY")
    arguments = {"policy": policy, "verifier": verifier, **(transport_options or {})}
    return {
        "base_url": _BASE_URL,
        "api_key": key,
        "http_client": httpx2.Client(transport=EncryptedTransport(gateway, **arguments)),
        "http_async_client": httpx2.AsyncClient(
            transport=AsyncEncryptedTransport(gateway, **arguments)
        ),
    }
