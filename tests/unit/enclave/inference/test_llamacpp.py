"""The embedded engine with a tiny random model: real native code, real child process."""

import asyncio
import base64
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time

import psutil
import pytest
import pytest_asyncio
from tests.doubles.tiny_gguf import write_tiny_gguf
from tests.unit.enclave.inference.inference_bench import (
    Clock,
    chat_request,
    chunks_of,
    finish_of,
    messages,
    read,
    route,
    router_of,
    text_of,
)

from confide.enclave.inference import Operation
from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.backends.llamacpp import LlamaCppBackend
from confide.errors import ConfigError, ContextTooLong, InvalidRequest, ModelUnavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: End tokens of the model, never chosen: generation runs to its limit.
ENDLESS = {"256": -100, "257": -100, "258": -100}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": PARAMETERS}}
    for name in ("get_weather", "get_time")
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["city", "n"],
        },
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny-random.gguf")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model):
    """One engine for the tests that leave it as it was."""
    backend = LlamaCppBackend("local", {"model_path": str(model), "context_length": 1024})
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
def router(engine):
    return router_of(engine, clock=Clock())


async def raw(engine, method, path, body=None):
    """Ask the engine past the backend."""
    reply = await engine._client().send(method, path, body)
    return reply.status, await reply.read_json()


async def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# --- what is open ---------------------------------------------------------------------------


async def test_the_engine_opens_no_network_port(engine):
    process = psutil.Process(engine.process.pid)
    assert process.net_connections(kind="inet") == []
    listening = [c.laddr for c in process.net_connections(kind="unix") if c.laddr]
    assert listening == [str(engine.process.socket_path)]


async def test_its_socket_lies_in_a_private_directory(engine):
    directory = engine.process.socket_path.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_it_asks_for_a_random_key(engine, model):
    other = LlamaCppBackend("other", {"model_path": str(model), "n_parallel": 1})
    await other.start()
    try:
        assert len(engine.process.api_key) == 64
        assert other.process.api_key != engine.process.api_key
        other._client()._session.headers["authorization"] = "Bearer wrong"
        status, _ = await raw(other, "POST", "/v1/chat/completions", b"{}")
        assert status == 401
        with pytest.raises(BackendUnavailable):
            await other.open(chat_request())
    finally:
        await other.stop()


async def test_pages_that_show_other_requests_are_off(engine):
    for path in ("/slots", "/slots?fail_on_no_slot=1", "/metrics"):
        assert (await raw(engine, "GET", path))[0] == 501
    assert (await raw(engine, "GET", "/"))[0] == 404
    for path in ("/props", "/slots/0?action=save", "/models/load"):
        assert (await raw(engine, "POST", path, b"[]"))[0] in (400, 404, 501)


async def test_neither_key_nor_environment_shows_in_its_process(engine):
    process = psutil.Process(engine.process.pid)
    assert engine.process.api_key not in " ".join(process.cmdline())
    assert set(process.environ()) <= {"LANG", "PATH", "LC_CTYPE"}
    assert engine.process.api_key not in repr(engine.process) + repr(engine._client())


async def test_what_it_prints_goes_nowhere(engine, router, capfd):
    await read(await route(router, messages=messages("MARKER " * 20), max_tokens=5))
    for descriptor in (1, 2):
        link = f"/proc/{engine.process.pid}/fd/{descriptor}"
        assert os.readlink(link) == os.devnull
    printed = capfd.readouterr()
    assert "MARKER" not in printed.out + printed.err
    assert printed.err == ""


async def test_it_may_not_dump_core(engine):
    limits = psutil.Process(engine.process.pid).rlimit(psutil.RLIMIT_CORE)
    assert limits == (0, 0)


async def test_one_core_is_left_to_others(engine):
    cores = len(os.sched_getaffinity(0))
    assert engine._settings().threads == max(1, cores - 1)
    given = LlamaCppBackend("x", {"model_path": str(engine.options.model_path), "threads": 3})
    assert given._settings().threads == 3


# --- nothing is kept for the next request ---------------------------------------------------


async def test_no_request_is_answered_from_what_another_left(engine, router):
    said = messages("the same long beginning, word for word, again and again " * 4)
    for fields in ({}, {"seed": 1}, {"stream": True, "stream_options": {"include_usage": True}}):
        answer = await read(await route(router, messages=said, max_tokens=3, **fields))
        found = chunks_of(answer)[-1] if fields.get("stream") else json.loads(answer)
        assert found["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_even_past_the_router_a_request_cannot_turn_the_cache_on(engine):
    said = messages("the same long beginning, word for word, again and again " * 4)
    for _ in range(2):
        request = chat_request(messages=said, max_tokens=3, cache_prompt=True, id_slot=0)
        answer = json.loads(await read(await engine.open(request)))
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_even_an_engine_that_is_not_told_so_keeps_nothing(engine):
    said = messages("the same long beginning, word for word, again and again " * 4)
    body = json.dumps({"messages": said, "max_tokens": 3}).encode()
    for _ in range(2):
        _, answer = await raw(engine, "POST", "/v1/chat/completions", body)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize("field", ["cache_prompt", "id_slot", "lora", "grammar", "n_predict"])
async def test_engine_control_is_refused_by_name(router, field):
    with pytest.raises(InvalidRequest) as refusal:
        await route(router, **{field: 1})
    assert refusal.value.param == field


async def test_a_field_that_nobody_knows_does_not_reach_the_engine(engine, monkeypatch):
    sent = []
    real = engine._client().send

    async def send(method, path, body=None):
        sent.append(json.loads(body))
        return await real(method, path, body)

    monkeypatch.setattr(engine._client(), "send", send)
    await read(await engine.open(chat_request(max_tokens=2, control_of_next_year=1, user="x")))
    assert sent[0].keys() == {"messages", "max_tokens", "cache_prompt"}


# --- answering ------------------------------------------------------------------------------


async def test_answers_name_the_alias_and_not_the_file(router, engine):
    answer = await read(await route(router, max_tokens=3))
    assert json.loads(answer)["model"] == "tiny-random"
    assert str(engine.options.model_path.parent).encode() not in answer


async def test_usage_is_exact_streamed_or_not(router):
    whole = await route(router, max_tokens=7, logit_bias=ENDLESS)
    await read(whole)
    streamed = await route(router, max_completion_tokens=7, logit_bias=ENDLESS, stream=True)
    stream = await read(streamed)
    assert whole.usage == streamed.usage
    assert (whole.usage.completion_tokens, whole.usage.precision) == (7, "exact")
    assert b'"usage"' not in stream
    assert finish_of(stream) == "length"


async def test_equal_seeds_have_equal_texts(router):
    answers = [
        text_of(await read(await route(router, max_tokens=20, seed=5, stream=True)))
        for _ in range(2)
    ]
    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_has_its_route(router, stream):
    answer = await route(
        router, operation=Operation.COMPLETIONS, prompt="once", max_tokens=5, stream=stream
    )
    assert b"text_completion" in await read(answer)
    assert answer.usage.precision == "exact"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_does_not_fit_says_how_much_does(router, stream):
    for further in ({}, {"response_format": SCHEMA}, {"tools": TOOLS}):
        with pytest.raises(ContextTooLong) as refusal:
            await route(router, messages=messages("MARKER" * 1000), stream=stream, **further)
        assert "1024" in str(refusal.value)
        assert "MARKER" not in str(refusal.value)


async def test_an_image_to_a_text_model_is_the_requests_fault(router):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    for further in ({}, {"response_format": SCHEMA}, {"tools": TOOLS}):
        with pytest.raises(InvalidRequest) as refusal:
            await route(router, messages=[{"role": "user", "content": [part]}], **further)
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "MARKER"},
        {"messages": [{"role": "user"}]},
        {"temperature": "MARKER"},
        {"tool_choice": "MARKER", "tools": TOOLS},
        {"tool_choice": "required"},
        {"tool_choice": "required", "tools": [{"type": "function"}]},
        {"tool_choice": {"type": "function", "function": {"name": "MARKER"}}, "tools": TOOLS},
        {"response_format": {"type": "MARKER"}},
        {"response_format": "MARKER"},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": "MARKER"}}},
        {"n": 2},
        {"operation": Operation.COMPLETIONS, "prompt": ["a", "b"]},
        {"operation": Operation.COMPLETIONS, "prompt": {"prompt_string": "x"}},
        {"operation": Operation.COMPLETIONS, "prompt": "x", "best_of": 2},
        {"operation": Operation.EMBEDDINGS, "input": "x"},
    ],
)
async def test_a_malformed_request_is_a_400_that_quotes_nothing(router, fields):
    with pytest.raises(InvalidRequest) as refusal:
        await route(router, **{"max_tokens": 2, **fields})
    assert "MARKER" not in f"{refusal.value} {refusal.value.__cause__}"


async def test_several_streams_run_at_the_same_time(router):
    async def one(number):
        fields = {"max_tokens": 64, "seed": number, "logit_bias": ENDLESS}
        answer = await route(router, stream=True, messages=messages(f"n{number}"), **fields)
        return text_of(await read(answer)), answer.usage.completion_tokens

    answers = await asyncio.gather(*(one(number) for number in range(8)))
    assert {tokens for _, tokens in answers} == {64}
    assert len({text for text, _ in answers}) == 8


async def test_no_connection_to_the_engine_is_kept_for_a_second_request(engine, router):
    for stream in (True, False, True):
        await read(await route(router, max_tokens=2, stream=stream))
    process = psutil.Process(engine.process.pid)
    await until(lambda: len(process.net_connections(kind="unix")) == 1, 3)


# --- shapes -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_output_that_is_cut_ends_with_length_and_not_with_an_error(router, stream):
    reasons = set()
    for seed in range(12):
        answer = await route(
            router, response_format=SCHEMA, max_tokens=16, seed=seed, stream=stream
        )
        found = await read(answer)
        assert answer.outcome == "complete"
        assert answer.usage.precision == "exact"
        if stream:
            reasons.add(finish_of(found))
            assert text_of(found).lstrip().startswith("{")
        else:
            choice = json.loads(found)["choices"][0]
            reasons.add(choice["finish_reason"])
            assert choice["message"]["content"].lstrip().startswith("{")
    assert "length" in reasons


async def test_structured_output_that_is_not_cut_fits_its_schema(router):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}}
    answer = json.loads(
        await read(await route(router, response_format=wanted, max_tokens=900, seed=3))
    )
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    # One spelling: no whitespace for a weak model to get lost in.
    assert choice["message"]["content"] in ('{"city": "Rome"}', '{"city": "Oslo"}')


@pytest.mark.parametrize(
    ("choice", "names", "reason"),
    [
        ("required", {"get_weather", "get_time"}, "tool_calls"),
        ({"type": "function", "function": {"name": "get_time"}}, {"get_time"}, "stop"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "get_weather"}}],
                },
            },
            {"get_weather"},
            "tool_calls",
        ),
    ],
)
async def test_a_forced_tool_is_called_even_by_a_model_that_knows_nothing(
    router, choice, names, reason
):
    fields = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 500, "seed": 4}
    whole = await route(router, **fields)
    found = json.loads(await read(whole))["choices"][0]
    (call,) = found["message"]["tool_calls"]
    assert call["function"]["name"] in names
    assert json.loads(call["function"]["arguments"])["city"] in ("Rome", "Oslo")
    assert (found["finish_reason"], found["message"]["content"]) == (reason, None)

    streamed = await route(router, stream=True, **fields)
    stream = await read(streamed)
    (delta,) = [
        call
        for chunk in chunks_of(stream)
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert delta["index"] == 0
    assert delta["function"] == call["function"]
    assert finish_of(stream) == reason
    assert whole.usage == streamed.usage


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_call_that_is_cut_ends_with_length(router, stream):
    for limit in (1, 12):
        fields = {"tools": TOOLS, "tool_choice": "required", "max_tokens": limit}
        found = await read(await route(router, stream=stream, **fields))
        if stream:
            assert finish_of(found) == "length"
        else:
            assert json.loads(found)["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_offering_tools_never_fails_whatever_the_model_says(router, stream):
    for seed in range(25):
        fields = {"tools": TOOLS, "max_tokens": 60, "seed": seed, "temperature": 1}
        answer = await route(router, stream=stream, **fields)
        found = await read(answer)
        assert answer.outcome == "complete"
        if stream:
            assert finish_of(found) in ("stop", "length", "tool_calls")


# --- embeddings -----------------------------------------------------------------------------


async def test_embeddings_come_in_both_encodings_if_the_settings_ask_for_them(model):
    options = {"model_path": str(model), "embeddings": True, "context_length": 256}
    backend = LlamaCppBackend("embed", options)
    await backend.start()
    try:
        router = router_of(backend, clock=Clock())
        ask = {"operation": Operation.EMBEDDINGS, "input": ["one", "two", "one"]}
        answer = await route(router, **ask)
        vectors = [entry["embedding"] for entry in json.loads(await read(answer))["data"]]
        assert vectors[0] == pytest.approx(vectors[2])
        assert vectors[0] != pytest.approx(vectors[1])
        assert (answer.usage.prompt_tokens, answer.usage.precision) == (9, "exact")
        packed = json.loads(await read(await route(router, encoding_format="base64", **ask)))
        first = struct.unpack("<64f", base64.b64decode(packed["data"][0]["embedding"]))
        assert first == pytest.approx(vectors[0], abs=1e-5)
        with pytest.raises(InvalidRequest) as refusal:
            await route(router, dimensions=8, **ask)
        assert refusal.value.param == "dimensions"
        with pytest.raises(ContextTooLong):
            await route(router, operation=Operation.EMBEDDINGS, input="x" * 2000)
        (found,) = await backend.models()
        assert Operation.EMBEDDINGS in found.operations
    finally:
        await backend.stop()


# --- the process ----------------------------------------------------------------------------


async def test_giving_up_frees_the_engine(tmp_path):
    slow = write_tiny_gguf(tmp_path / "slow.gguf", embd=256, layers=8, context=8192)
    backend = LlamaCppBackend("slow", {"model_path": str(slow), "n_parallel": 1})
    await backend.start()
    try:
        router = router_of(backend, clock=Clock())
        answer = await route(router, stream=True, max_tokens=8000, logit_bias=ENDLESS)
        await anext(answer.body)
        await anext(answer.body)
        # The one slot is busy for many seconds, unless giving up frees it.
        await answer.aclose()
        process = psutil.Process(backend.process.pid)

        def idle():
            before = process.cpu_times()
            time.sleep(0.1)
            after = process.cpu_times()
            return after.user + after.system - before.user - before.system < 0.02

        before = time.monotonic()
        await until(idle, 2)
        assert time.monotonic() - before < 2
        async with asyncio.timeout(5):
            await read(await route(router, max_tokens=2))
    finally:
        await backend.stop()


async def test_a_crash_fails_the_request_in_flight_and_nothing_else(model):
    backend = LlamaCppBackend("crash", {"model_path": str(model)})
    await backend.start()
    try:
        router = router_of(backend, clock=Clock(), breaker_threshold=5)
        answer = await route(router, stream=True, max_tokens=1900, logit_bias=ENDLESS)
        await anext(answer.body)
        first, socket_path = backend.process.pid, backend.process.socket_path
        os.kill(first, signal.SIGKILL)
        rest = await read(answer)
        assert chunks_of(rest)[-1]["error"]["code"] == "backend_failed"
        assert answer.outcome == "failed"
        assert socket_path.exists()  # left behind; it must not stop the next engine
        await until(lambda: backend.process.restarts == 1 and backend.process.pid != first)
        assert (await read(await route(router, max_tokens=3))).startswith(b"{")
        await backend.probe()
        assert backend.process.restarts == 1
    finally:
        await backend.stop()


async def test_an_engine_that_cannot_restart_is_tried_again_with_growing_pauses(model, tmp_path):
    path = tmp_path / "gone.gguf"
    path.write_bytes(model.read_bytes())
    backend = LlamaCppBackend("gone", {"model_path": str(path), "restart_wait_s": 0.01})
    await backend.start()
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0)

    try:
        backend.process._sleep = sleep
        path.unlink()
        os.kill(backend.process.pid, signal.SIGKILL)
        await until(lambda: len(pauses) >= 3)
        assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
        with pytest.raises(BackendUnavailable):
            await backend.probe()
        with pytest.raises(ModelUnavailable):
            await route(router_of(backend, clock=Clock()))
        path.write_bytes(model.read_bytes())
        await backend.process.wait_ready(20)
        await backend.probe()
    finally:
        await backend.stop()


async def test_stopping_leaves_neither_process_nor_file(model):
    backend = LlamaCppBackend("stop", {"model_path": str(model)})
    await backend.start()
    await backend.start()  # once is enough
    process, directory = psutil.Process(backend.process.pid), backend.process.socket_path.parent
    before = time.monotonic()
    await backend.stop()
    assert time.monotonic() - before < 3
    assert not process.is_running()
    assert not directory.exists()
    await backend.stop()
    with pytest.raises(BackendUnavailable):
        await backend.open(chat_request())


PARENT = """
import asyncio, sys
from confide.enclave.inference import build_backend

async def main():
    backend = build_backend("llamacpp", "x", {"model_path": sys.argv[1]})
    await backend.start()
    print(backend.process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_engine_does_not_outlive_a_parent_that_was_killed(model):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(model.parent)},
    )
    with parent:
        engine = psutil.Process(int(parent.stdout.readline()))
        assert engine.is_running()
        parent.kill()
    await until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


# --- model files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"<html>404</html>",
        b"GGUF" + bytes(500),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 60),
        300,
        20_000,
        200_000,
    ],
)
async def test_a_model_file_that_cannot_be_used_is_one_sentence_that_names_it(
    model, tmp_path, content
):
    path = tmp_path / "broken-model.gguf"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else model.read_bytes()[:content])
    backend = LlamaCppBackend("b", {"model_path": str(path)})
    with pytest.raises(ConfigError) as refusal:
        await backend.start()
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    await backend.stop()


@pytest.mark.parametrize("content", [b"", b"<html>", b"GGUF" + bytes(500)])
async def test_a_file_that_is_no_gguf_is_found_before_anything_starts(
    tmp_path, monkeypatch, content
):
    async def refuse(*arguments, **further):
        raise AssertionError("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    path = tmp_path / "page.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        await LlamaCppBackend("b", {"model_path": str(path)}).start()


async def test_a_directory_is_no_model_file(tmp_path):
    with pytest.raises(ConfigError):
        await LlamaCppBackend("b", {"model_path": str(tmp_path)}).start()


async def test_a_socket_path_that_is_too_long_is_a_config_error(model, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(ConfigError):
        await LlamaCppBackend("b", {"model_path": str(model)}).start()
    assert list(long.iterdir()) == []


async def test_without_the_library_the_error_says_what_to_install(model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refusal:
        await LlamaCppBackend("b", {"model_path": str(model)}).start()
    assert "confide[llamacpp]" in refusal.value.hint


async def test_the_context_is_what_the_model_was_trained_for_unless_set(model, tmp_path):
    long = write_tiny_gguf(tmp_path / "long.gguf", context=100_000)
    assert LlamaCppBackend("a", {"model_path": str(model)})._settings().context_length == 2048
    assert LlamaCppBackend("b", {"model_path": str(long)})._settings().context_length == 8192
    chosen = LlamaCppBackend("c", {"model_path": str(long), "context_length": 512})
    assert chosen._settings().context_length == 512
