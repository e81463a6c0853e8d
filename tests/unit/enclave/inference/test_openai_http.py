import asyncio
import hashlib
import json
import socket
import time

import pytest
from tests.doubles.openai_server import (
    NO_IMAGES,
    NO_MODEL,
    TOO_LONG,
    UNAUTHORIZED,
    OpenAIDouble,
    html_server,
)
from tests.unit.enclave.inference.inference_bench import (
    ISOLATION,
    chat_request,
    chunks_of,
    messages,
    read,
    route,
    router_of,
    text_of,
)

from confide.enclave.inference import Operation, Usage
from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.backends.engine_http import EngineHTTP
from confide.enclave.inference.backends.openai_http import OpenAIHTTPBackend, cache_salt
from confide.errors import (
    ConfigError,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
)


@pytest.fixture
def double():
    return OpenAIDouble()


@pytest.fixture
def start(double):
    """Start the backend against the double; both end with the test."""
    closing = []
    servers = []

    async def begin(**options):
        server = double.serve()
        url = server.__enter__()
        servers.append(server)
        backend = OpenAIHTTPBackend("vllm", {"base_url": url, **options})
        await backend.start()
        closing.append(backend)
        return backend

    yield begin
    assert all(backend._http is None for backend in closing), "stop the backend in the test"
    for server in servers:
        server.__exit__(None, None, None)


# --- passing through ------------------------------------------------------------------------


async def test_the_body_arrives_byte_for_byte(start, double, clock):
    backend = await start()
    raw = b'{ "model":"m", "temperature":1.0e-1,"messages":[],"brand_new":{"b":1,"a":[2]} }'
    await read(await route(router_of(backend, clock=clock), raw=raw))
    await backend.stop()
    assert double.bodies == [raw]
    assert double.paths == ["/v1/chat/completions"]


async def test_answers_come_back_byte_for_byte_with_exact_usage(start, double, clock):
    backend = await start()
    router = router_of(backend, clock=clock)
    whole = await route(router)
    assert json.loads(await read(whole))["choices"][0]["message"]["content"] == "one two three"
    streamed = await route(router, stream=True)
    stream = await read(streamed)
    await backend.stop()
    assert text_of(stream) == "one two three"
    assert stream.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in stream
    assert whole.usage == streamed.usage == Usage(7, 3, "exact")


async def test_a_stream_is_the_same_whether_or_not_usage_was_asked_for_behind_its_back(
    start, double, clock
):
    double.null_usage = True
    backend = await start()
    answer = await backend.open(chat_request(stream=True))
    direct = await read(answer)
    routed = await read(await route(router_of(backend, clock=clock), stream=True))
    await backend.stop()
    assert json.loads(double.bodies[1])["stream_options"] == {"include_usage": True}
    assert routed == direct


async def test_completions_and_embeddings_have_their_routes(start, double, clock):
    backend = await start()
    router = router_of(backend, clock=clock)
    answer = await route(router, operation=Operation.COMPLETIONS, prompt="x", stream=True)
    assert text_of(await read(answer)) == "one two three"
    answer = await route(router, operation=Operation.EMBEDDINGS, input="x")
    await read(answer)
    await backend.stop()
    assert answer.usage == Usage(4, 0, "exact")
    assert double.paths == ["/v1/completions", "/v1/embeddings"]


async def test_no_header_of_the_machine_or_a_client_goes_along(start, double, clock, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    backend = await start()
    await read(await route(router_of(backend, clock=clock)))
    await backend.stop()
    assert double.headers[0]["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & double.headers[0].keys()


async def test_the_server_key_comes_from_a_file(start, double, clock, tmp_path):
    double.api_key = "sk-engine"
    (tmp_path / "key").write_text("sk-engine\n")
    backend = await start(api_key_file=str(tmp_path / "key"))
    await backend.probe()
    await read(await route(router_of(backend, clock=clock)))
    await backend.stop()
    assert "sk-engine" not in repr(backend) + repr(backend.options)


@pytest.mark.parametrize("content", [None, "", "two words", "two\nlines"])
async def test_an_unusable_key_file_is_a_config_error_that_shows_no_key(content, tmp_path):
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    options = {"base_url": "http://127.0.0.1:9/v1", "api_key_file": str(path)}
    with pytest.raises(ConfigError) as refusal:
        await OpenAIHTTPBackend("b", options).start()
    assert str(path) in str(refusal.value)
    assert "words" not in str(refusal.value)


# --- isolation ------------------------------------------------------------------------------


async def test_vllm_gets_a_secret_salt_per_domain(start, double, clock):
    backend = await start(engine="vllm")
    await read(await route(router_of(backend, clock=clock)))
    await backend.stop()
    salt = json.loads(double.bodies[0])["cache_salt"]
    digest = hashlib.sha256(b"confide/cache-salt/v1\0" + ISOLATION).digest()
    assert salt == cache_salt(ISOLATION)
    assert len(salt) == 43
    assert ISOLATION.hex() not in salt
    assert digest  # the salt is the hash of the secret, not the secret
    assert cache_salt(bytes(32)) != salt


@pytest.mark.parametrize(
    ("options", "salted"),
    [
        ({}, False),
        ({"engine": "vllm"}, True),
        ({"engine": "vllm", "isolation": "none"}, False),
        ({"isolation": "cache_salt"}, True),
    ],
)
async def test_the_salt_goes_only_to_engines_that_know_it(start, double, clock, options, salted):
    backend = await start(**options)
    await read(await route(router_of(backend, clock=clock)))
    await backend.stop()
    assert (b"cache_salt" in double.bodies[0]) is salted


@pytest.mark.parametrize("field", ["cache_salt", "chat_template", "bootstrap_host", "lora_path"])
async def test_a_client_cannot_set_what_reaches_past_its_own_request(start, double, clock, field):
    backend = await start(engine="vllm")
    with pytest.raises(InvalidRequest) as refusal:
        await route(router_of(backend, clock=clock), **{field: "x"})
    await backend.stop()
    assert refusal.value.param == field
    assert double.bodies == []


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (400, TOO_LONG, ContextTooLong),
        (404, NO_MODEL, ModelNotFound),
        (500, NO_IMAGES, InvalidRequest),
        (400, {"error": {"message": "MARKER is bad", "param": "seed"}}, InvalidRequest),
        (422, {"detail": "MARKER"}, InvalidRequest),
        (501, {"error": {"message": "MARKER"}}, InvalidRequest),
        (401, UNAUTHORIZED, ModelUnavailable),
        (403, {"error": "MARKER"}, ModelUnavailable),
        (429, {"error": "MARKER"}, ModelUnavailable),
        (500, {"error": {"message": "MARKER"}}, ModelUnavailable),
        (502, b"<html>MARKER</html>", ModelUnavailable),
        (307, b"MARKER", ModelUnavailable),
        (400, b"\xff\xfeMARKER", InvalidRequest),
        (400, b"[" * 50_000, InvalidRequest),
        (400, b" " * 2_000_000 + b"{}", ModelUnavailable),
    ],
)
async def test_refusals_are_named_and_never_quoted(start, double, clock, status, content, error):
    double.answer = (status, content, "application/json", {"location": "http://127.0.0.1:9/"})
    backend = await start()
    with pytest.raises(error) as refusal:
        await route(router_of(backend, clock=clock), messages=messages("MARKER"), seed=1)
    await backend.stop()
    shown = [refusal.value, refusal.value.__cause__, refusal.value.__context__]
    assert "MARKER" not in " ".join(f"{found} {found!r}" for found in shown)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(start, double, clock, status):
    elsewhere = OpenAIDouble()
    with elsewhere.serve() as url:
        location = {"location": f"{url}/chat/completions"}
        double.answer = (status, b"", "text/plain", location)
        backend = await start()
        with pytest.raises(ModelUnavailable):
            await route(router_of(backend, clock=clock))
        with pytest.raises(BackendUnavailable):
            await backend.probe()
        await backend.stop()
    assert elsewhere.paths == []


async def test_a_context_error_says_how_much_fits(start, double, clock):
    double.answer = (400, TOO_LONG, "application/json", {})
    backend = await start()
    with pytest.raises(ContextTooLong) as refusal:
        await route(router_of(backend, clock=clock))
    await backend.stop()
    assert "2048" in str(refusal.value)


@pytest.mark.parametrize(("param", "told"), [("seed", "seed"), ("secret_word", None), (7, None)])
async def test_a_field_at_fault_is_told_only_if_the_client_sent_it(
    start, double, clock, param, told
):
    double.answer = (400, {"error": {"message": "no", "param": param}}, "application/json", {})
    backend = await start()
    with pytest.raises(InvalidRequest) as refusal:
        await route(router_of(backend, clock=clock), seed=1)
    await backend.stop()
    assert refusal.value.param == told


@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_web_page_where_an_engine_should_be_is_a_clear_error(clock, status, stream):
    with html_server(status) as url:
        backend = OpenAIHTTPBackend("web", {"base_url": url + "/v1"})
        await backend.start()
        with pytest.raises((ModelUnavailable, ModelNotFound)) as refusal:
            await route(router_of(backend, clock=clock), stream=stream)
        with pytest.raises(BackendUnavailable):
            await backend.probe()
        await backend.stop()
    assert "secret" not in str(refusal.value)
    assert "html" not in str(refusal.value)


async def test_a_server_that_is_down_is_model_unavailable(clock):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = OpenAIHTTPBackend("gone", {"base_url": f"http://127.0.0.1:{port}/v1"})
    await backend.start()
    with pytest.raises(ModelUnavailable):
        await route(router_of(backend, clock=clock))
    with pytest.raises(BackendUnavailable):
        await backend.probe()
    await backend.stop()
    with pytest.raises(BackendUnavailable):
        await backend.probe()


async def test_a_server_that_dies_midway_ends_the_stream_with_an_error(start, double, clock):
    double.die_after = 2
    backend = await start()
    answer = await route(router_of(backend, clock=clock), stream=True)
    stream = await read(answer)
    await backend.stop()
    assert text_of(stream) == "one two"
    assert chunks_of(stream)[-1]["error"]["code"] == "backend_failed"
    assert answer.outcome == "failed"


async def test_a_server_that_pauses_too_long_is_given_up(start, double, clock):
    double.token_delay_s = 60
    backend = await start(read_timeout_s=0.05)
    with pytest.raises(ModelUnavailable):
        await route(router_of(backend, clock=clock))
    # A stream has begun with its first event, so it ends with an error event.
    stream = await read(await route(router_of(backend, clock=clock), stream=True))
    await backend.stop()
    assert chunks_of(stream)[-1]["error"]


# --- giving up ------------------------------------------------------------------------------


async def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_giving_up_reaches_the_server_within_a_quarter_second(start, double, clock):
    double.words, double.token_delay_s = ("x",) * 1000, 0.01
    backend = await start()
    answer = await route(router_of(backend, clock=clock), stream=True)
    await anext(answer.body)
    before = time.monotonic()
    await answer.aclose()
    await until(lambda: double.cancelled == 1)
    assert time.monotonic() - before < 0.25
    await backend.stop()


async def test_leaving_before_a_whole_answer_reaches_the_server(start, double, clock):
    double.token_delay_s = 60
    backend = await start()
    task = asyncio.create_task(route(router_of(backend, clock=clock)))
    await until(lambda: double.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: double.cancelled == 1)
    await backend.stop()


# --- where it may lie -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1/",
        "http://[::1]:8000/v1",
        "http://10.1.2.3/v1",
        "https://192.168.1.1/v1",
    ],
)
def test_loopback_and_private_addresses_are_near(url):
    OpenAIHTTPBackend("b", {"base_url": url})


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://8.8.8.8/v1",
        "http://0.0.0.0:8000/v1",
        "http://localhost.example.com/v1",
        "http://user:secret@127.0.0.1/v1",
        "http://127.0.0.1/v1?x=secret",
        "ftp://127.0.0.1/v1",
        "unix:///x.sock",
        "127.0.0.1:8000",
    ],
)
def test_anything_else_is_refused_before_it_is_connected_to(url):
    with pytest.raises(ConfigError) as refusal:
        OpenAIHTTPBackend("b", {"base_url": url})
    assert "secret" not in str(refusal.value)


def test_a_host_further_away_must_be_listed_and_speak_tls():
    listed = {"trusted_hosts": ["vllm.internal"]}
    OpenAIHTTPBackend("b", {"base_url": "https://vllm.internal/v1", **listed})
    for url in ("http://vllm.internal/v1", "https://other.internal/v1"):
        with pytest.raises(ConfigError):
            OpenAIHTTPBackend("b", {"base_url": url, **listed})


async def test_a_server_without_a_list_of_models_can_go_unprobed(start, double):
    double.answer = (404, b"", "text/plain", {})
    backend = await start(probe=False)
    await backend.probe()
    await backend.stop()


async def test_models_are_listed_with_their_context(start):
    backend = await start()
    (model,) = await backend.models()
    await backend.stop()
    assert (model.id, model.context_length) == ("tiny-vllm", 2048)


async def test_an_answer_nobody_read_is_closed_with_the_backend():
    double = OpenAIDouble(words=(" w",) * 200, token_delay_s=0.02)
    with double.serve() as url:
        client = EngineHTTP(url)
        await client.start()
        body = b'{"model": "tiny-vllm", "messages": [], "stream": true}'
        reply = await client.send("POST", "/chat/completions", body)
        assert reply.status == 200
        await client.stop()
        deadline = time.monotonic() + 2
        while double.running:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
