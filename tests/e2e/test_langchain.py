"""LangChain against the running stack: confide's own classes, and LangChain's through the proxy."""

from __future__ import annotations

import httpx2
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langsmith.utils import get_env_var

from confide.langchain import ChatConfide, ConfideEmbeddings
from confide.local import Canary, simulated_verifier

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def untraced(monkeypatch):
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        monkeypatch.delenv(name, raising=False)
    get_env_var.cache_clear()


@pytest.fixture
async def http():
    """Clients for LangChain to use: its own are shared by all models and never closed."""
    with httpx2.Client(timeout=60) as client:
        async with httpx2.AsyncClient(timeout=60) as other:
            yield {"http_client": client, "http_async_client": other}


@pytest.fixture
async def sealed(stack):
    """Make confide's own class."""
    made = []

    def make(kind, **options):
        verifier = simulated_verifier(stack.home)
        made.append(kind(stack.gateway_url, verifier=verifier, api_key=stack.api_key, **options))
        return made[-1]

    yield make
    for model in made:
        model.http_client.close()
        await model.http_async_client.aclose()


@pytest.fixture
def through_the_proxy(stack, http):
    """Make LangChain's own class."""

    def make(kind, **options):
        return kind(base_url=f"{stack.proxy_url}/v1", api_key="anything", **http, **options)

    return make


@pytest.fixture(params=["sealed", "proxy"])
def make(request, sealed, through_the_proxy):
    """Make a chat model by its name, over the transport or through the proxy."""
    if request.param == "sealed":
        return lambda model: sealed(ChatConfide, model=model)
    return lambda model: through_the_proxy(ChatOpenAI, model=model)


def test_the_embedded_model_answers(make):
    answer = make("demo-tiny").invoke("Hello", max_tokens=8)
    assert answer.content.strip()
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_chain_streams(make):
    chain = (
        ChatPromptTemplate.from_messages([("user", "{text}")]) | make("slow") | StrOutputParser()
    )
    pieces = list(chain.stream({"text": "one two three four"}))
    assert "one two three four" in "".join(pieces)
    assert len([piece for piece in pieces if piece]) > 1


async def test_asyncio_answers_and_streams(make):
    model = make("echo")
    assert "one two" in (await model.ainvoke("one two")).content
    assert "one two" in "".join([piece.content async for piece in model.astream("one two")])


async def test_a_batch(make):
    answers = await make("echo").abatch([f"question {n}" for n in range(8)])
    assert all(f"question {n}" in answer.content for n, answer in enumerate(answers))


@tool
def find(name: str) -> str:
    """Find somebody."""
    return f"found {name}"


def test_a_tool_call_comes_back_as_langchains_own(make):
    asked = [HumanMessage('call find {"name": "ada"}')]
    answer = make("echo").bind_tools([find]).invoke(asked)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("find", {"name": "ada"})
    assert find.invoke(call).content == "found ada"


def test_embeddings(sealed, through_the_proxy):
    own = sealed(ConfideEmbeddings, model="echo")
    theirs = through_the_proxy(OpenAIEmbeddings, model="echo", check_embedding_ctx_length=False)
    vectors = own.embed_documents(["one", "two"])
    assert [len(vector) for vector in vectors] == [len(theirs.embed_query("one"))] * 2
    assert vectors[0] != vectors[1]
    assert theirs.embed_query("one") == pytest.approx(vectors[0], abs=1e-4)


def test_langchains_class_for_anthropic_works_through_the_proxy(stack):
    model = ChatAnthropic(
        base_url=stack.proxy_url, api_key="anything", model="echo", max_tokens=100
    )
    # Its HTTP client is shared by all models of one base URL, so it is not closed here.
    assert "one two" in model.invoke("one two").content
    assert "one two" in "".join(piece.text for piece in model.stream("one two"))


def test_the_gateway_logs_and_keeps_nothing_of_a_chain(stack, sealed):
    prompt = Canary()
    assert prompt.text in sealed(ChatConfide, model="echo").invoke(prompt.text).content
    prompt.assert_absent_from(stack.home.gateway, stack.home.log("gateway"))
