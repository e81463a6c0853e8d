"""LangChain over the seal: its own classes, and no way around."""

import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langsmith.utils import get_env_var
from tests.doubles.sealed_stack import SealedStack

from confide.errors import ConfigError, EndorsementError
from confide.langchain import ChatConfide, ConfideEmbeddings, count_tokens

SECRET = "the merger closes on friday"
LANGSMITH = ["LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (*LANGSMITH, "OPENAI_API_KEY", "OPENAI_PROXY", "CONFIDE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    get_env_var.cache_clear()
    yield
    get_env_var.cache_clear()


@pytest.fixture(params=["off", "bucket"])
def stack(request):
    return SealedStack(profile=request.param)


def make(kind, stack, **options):
    options = {"model": "m", "api_key": "ck_test", "verifier": stack.verifier, **options}
    outer = {"transport": stack.transport, "clock": stack.clock}
    return kind(stack.url, transport_options=outer, **options)


def test_an_answer_comes_back(stack):
    assert make(ChatConfide, stack).invoke("hi").content == "hello world"


def test_a_stream_comes_back(stack):
    chunks = [chunk.content for chunk in make(ChatConfide, stack).stream("hi")]
    assert "".join(chunks) == "hello world"
    assert len(chunks) > 1


async def test_an_answer_and_a_stream_come_back_in_asyncio(stack):
    model = make(ChatConfide, stack)
    assert (await model.ainvoke("hi")).content == "hello world"
    assert "".join([chunk.content async for chunk in model.astream("hi")]) == "hello world"


def test_it_works_in_a_chain(stack):
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | make(ChatConfide, stack)
    assert chain.invoke({"text": "hi"}).content == "hello world"


def test_embeddings_of_texts_and_of_a_query(stack):
    embeddings = make(ConfideEmbeddings, stack)
    assert embeddings.embed_query("hi") == [0.5, -0.25]
    assert embeddings.embed_documents(["hi"]) == [[0.5, -0.25]]


async def test_embeddings_in_asyncio(stack):
    assert await make(ConfideEmbeddings, stack).aembed_query("hi") == [0.5, -0.25]


@pytest.mark.parametrize("kind", [ChatConfide, ConfideEmbeddings])
def test_the_gateway_sees_the_key_and_no_word(stack, kind):
    model = make(kind, stack)
    model.invoke(SECRET) if kind is ChatConfide else model.embed_query(SECRET)
    (post,) = stack.posts
    assert post.headers["authorization"] == "Bearer ck_test"
    assert SECRET.encode() not in post.content
    assert SECRET.encode() in stack.enclave.requests[0].body


@pytest.mark.parametrize("kind", [ChatConfide, ConfideEmbeddings])
@pytest.mark.parametrize(
    "option",
    [
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
    ],
)
def test_no_option_leads_around_the_seal(stack, kind, option):
    with pytest.raises(ConfigError):
        make(kind, stack, **{option: "https://api.example.org"})


@pytest.mark.parametrize("kind", [ChatConfide, ConfideEmbeddings])
@pytest.mark.parametrize("name", LANGSMITH)
def test_tracing_to_another_company_is_refused_unless_allowed(stack, monkeypatch, kind, name):
    monkeypatch.setenv(name, "true")
    with pytest.raises(ConfigError) as caught:
        make(kind, stack)
    assert "LANGSMITH_TRACING" in caught.value.hint
    make(kind, stack, allow_tracing=True)


def test_a_base_url_in_the_environment_changes_nothing(stack, monkeypatch):
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "https://api.example.org/v1")
    assert make(ChatConfide, stack).invoke("hi").content == "hello world"
    assert make(ConfideEmbeddings, stack).embed_query("hi") == [0.5, -0.25]


@pytest.mark.parametrize("kind", [ChatConfide, ConfideEmbeddings])
def test_a_key_for_openai_goes_nowhere(stack, monkeypatch, kind):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with pytest.raises(ConfigError):
        make(kind, stack, api_key=None)
    monkeypatch.setenv("CONFIDE_API_KEY", "ck_own")
    model = make(kind, stack, api_key=None)
    model.invoke("hi") if kind is ChatConfide else model.embed_query("hi")
    assert stack.posts[0].headers["authorization"] == "Bearer ck_own"


@pytest.mark.parametrize("kind", [ChatConfide, ConfideEmbeddings])
def test_without_a_policy_there_is_no_model(stack, kind):
    with pytest.raises(ConfigError):
        make(kind, stack, verifier=None)


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__


def test_a_refused_enclave_gets_no_prompt(stack):
    model = make(ChatConfide, stack, verifier=SealedStack().verifier, max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        model.invoke(SECRET)
    assert any(isinstance(cause, EndorsementError) for cause in causes(caught.value))
    assert stack.posts == []


def test_counting_tokens_asks_nobody(stack, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("tiktoken.encoding_for_model", refuse)
    monkeypatch.setattr("tiktoken.get_encoding", refuse)
    model = make(ChatConfide, stack)
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/secret.png"}}
    message = HumanMessage(content=[{"type": "text", "text": SECRET}, picture])
    assert model.get_num_tokens(SECRET) > 0
    assert model.get_num_tokens_from_messages([message]) > 0
    assert count_tokens([message]) > 0
    with pytest.raises(ConfigError):
        model.get_token_ids(SECRET)
    with pytest.raises(ConfigError):
        make(ConfideEmbeddings, stack, check_embedding_ctx_length=True)


def test_a_saved_chain_does_not_come_back_without_the_seal(stack):
    assert not make(ChatConfide, stack).is_lc_serializable()


def test_nobody_prints_the_key(stack):
    assert "ck_test" not in repr(make(ChatConfide, stack))
    assert "ck_test" not in repr(make(ConfideEmbeddings, stack))
