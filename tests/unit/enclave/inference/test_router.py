import asyncio
import json
import time

import pytest
from tests.unit.enclave.inference.inference_bench import (
    ISOLATION,
    chunks_of,
    echo,
    messages,
    read,
    route,
    router_of,
    text_of,
)

from confide.enclave.inference import CatalogEntry, Operation, Router, Usage
from confide.enclave.inference.backend import (
    EVENT_STREAM,
    JSON,
    BackendResponse,
    BackendUnavailable,
)
from confide.enclave.inference.health import HealthSettings
from confide.errors import (
    ConfigError,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
)


class Scripted:
    """A backend that answers with given bytes, or raises."""

    kind = "scripted"

    def __init__(self, name="scripted", *pieces, error=None, content_type=EVENT_STREAM, refused=()):
        self.name = name
        self.pieces = pieces
        self.error = error
        self.content_type = content_type
        self.refused_fields = frozenset(refused)
        self.asked = []
        self.closed = 0
        self.started = self.stopped = 0

    async def start(self):
        self.started += 1

    async def stop(self):
        self.stopped += 1

    async def models(self):
        return []

    async def probe(self):
        pass

    async def open(self, request):
        self.asked.append(request)
        if self.error is not None:
            raise self.error

        async def body():
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece

        async def close():
            self.closed += 1

        return BackendResponse(200, self.content_type, body(), close)


def event(**chunk):
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


TEXT = event(choices=[{"delta": {"content": "x"}, "finish_reason": None}])
USAGE = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2})
DONE = b"data: [DONE]\n\n"


# --- choosing -------------------------------------------------------------------------------


async def test_an_answer_comes_from_the_first_backend(clock):
    first, second = echo("a"), echo("b")
    answer = await route(router_of(first, second, clock=clock))
    assert answer.backend == "a"
    assert json.loads(await read(answer))["choices"][0]["message"]["content"] == "hello brave world"
    assert answer.outcome == "complete"
    assert answer.usage == Usage(3, 3, "exact")


async def test_the_model_class_of_the_catalog_is_told_and_never_the_name(clock):
    entries = [CatalogEntry("secret-model", ("echo",), model_class="small")]
    router = router_of(echo(), clock=clock, entries=entries)
    answer = await route(router, model="secret-model")
    assert answer.model_class == "small"
    assert [model.id for model in router.models()] == ["secret-model"]


async def test_a_backend_gets_its_own_name_of_the_model_and_the_body_otherwise_untouched(clock):
    backend = Scripted("s", b"{}", content_type=JSON)
    entries = [CatalogEntry("m", ("s",), backend_model="org/m-8b")]
    raw = b'{ "model":"m", "temperature":1.0e-1,"messages":[],"new_field":{"b":1,"a":2} }'
    await route(router_of(backend, clock=clock, entries=entries), raw=raw)
    request = backend.asked[0]
    assert request.body == raw.replace(b'"m"', b'"org/m-8b"', 1)
    assert request.fields["model"] == request.model == "org/m-8b"
    assert request.isolation == ISOLATION


async def test_an_unknown_model_is_refused(clock):
    with pytest.raises(ModelNotFound):
        await route(router_of(echo(), clock=clock), model="other")


async def test_an_operation_that_is_not_offered_is_refused(clock):
    entries = [CatalogEntry("m", ("echo",), operations=(Operation.CHAT,))]
    with pytest.raises(InvalidRequest):
        await route(
            router_of(echo(), clock=clock, entries=entries),
            operation=Operation.EMBEDDINGS,
            input="x",
        )


# --- failing over ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        Scripted("bad", error=BackendUnavailable("down")),
        Scripted("bad", BackendUnavailable("died")),
        Scripted("bad", b"<html>", content_type="text/html"),
        Scripted("bad", error=ModelNotFound("no")),
    ],
)
async def test_a_backend_that_cannot_begin_is_replaced_unnoticed(clock, bad, stream):
    answer = await route(router_of(bad, echo("good"), clock=clock), stream=stream)
    assert answer.backend == "good"
    await read(answer)
    assert answer.outcome == "complete"


@pytest.mark.parametrize(
    "pieces",
    [
        (DONE[:4],),
        (event(error={"message": "MARKER"}), DONE),
        (),
        (b": ping\n\n", BackendUnavailable("died")),
    ],
)
async def test_a_stream_that_ends_before_it_begins_is_replaced(clock, pieces):
    bad = Scripted("bad", *pieces)
    answer = await route(router_of(bad, echo("good"), clock=clock), stream=True)
    stream = await read(answer)
    assert b"MARKER" not in stream
    assert text_of(stream) == "hello brave world"
    assert bad.closed == 1


async def test_after_the_first_byte_there_is_no_second_try(clock):
    good = echo("good")
    bad = Scripted("bad", TEXT, BackendUnavailable("died: MARKER"))
    answer = await route(router_of(bad, good, clock=clock), stream=True)
    chunks = chunks_of(await read(answer))
    assert chunks[0]["choices"][0]["delta"]["content"] == "x"
    assert chunks[-1]["error"]["code"] == "backend_failed"
    assert "MARKER" not in json.dumps(chunks)
    assert answer.outcome == "failed"
    assert answer.usage.precision == "estimated"
    assert (bad.closed, good.finished_generations) == (1, 0)


@pytest.mark.parametrize("end", [(), (DONE[:-2],)])
async def test_a_stream_without_its_end_is_an_error_and_not_a_full_stop(clock, end):
    answer = await route(router_of(Scripted("bad", TEXT, *end), clock=clock), stream=True)
    stream = await read(answer)
    assert chunks_of(stream)[-1]["error"]
    assert b"[DONE]" not in stream
    assert answer.outcome == "failed"


async def test_an_engines_error_event_is_replaced_by_one_that_quotes_nothing(clock):
    bad = Scripted("bad", TEXT, event(error={"message": "MARKER"}), TEXT, DONE)
    answer = await route(router_of(bad, clock=clock), stream=True)
    stream = await read(answer)
    assert b"MARKER" not in stream
    assert chunks_of(stream)[-1]["error"]["type"] == "server_error"
    assert answer.outcome == "failed"


@pytest.mark.parametrize("error", [InvalidRequest("no", param="x"), ContextTooLong("long")])
async def test_a_request_at_fault_is_not_tried_elsewhere(clock, error):
    second = Scripted("second", b"{}", content_type=JSON)
    router = router_of(Scripted("first", error=error), second, clock=clock)
    for _ in range(5):
        with pytest.raises(type(error)):
            await route(router)
    assert second.asked == []


@pytest.mark.parametrize(
    "content", [b"<html>", b"[]", b'{"error":{"message":"MARKER"}}', b"", b"[" * 100_000]
)
async def test_a_whole_answer_that_is_none_is_a_failure_that_quotes_nothing(clock, content):
    router = router_of(Scripted("bad", content, content_type=JSON), clock=clock)
    with pytest.raises(ModelUnavailable) as refusal:
        await route(router)
    assert "MARKER" not in str(refusal.value)
    assert "html" not in str(refusal.value)


async def test_a_usable_answer_under_the_wrong_media_type_is_not_used(clock):
    router = router_of(Scripted("bad", b"{}", content_type="text/html"), clock=clock)
    with pytest.raises(ModelUnavailable):
        await route(router)


async def test_an_answer_without_end_is_cut_off(clock, monkeypatch):
    monkeypatch.setattr("confide.enclave.inference.answer.MAX_ANSWER", 1000)
    bad = Scripted("bad", b'{"choices":[', *[b" " * 400] * 4, b"]}", content_type=JSON)
    with pytest.raises(ModelUnavailable):
        await route(router_of(bad, clock=clock))
    assert bad.closed == 1


async def test_no_backend_left_is_model_unavailable(clock):
    bad = [Scripted(name, error=BackendUnavailable("down")) for name in "ab"]
    with pytest.raises(ModelUnavailable) as refusal:
        await route(router_of(*bad, clock=clock))
    assert not isinstance(refusal.value, BackendUnavailable)


async def test_a_model_that_no_engine_has_is_not_found(clock):
    with pytest.raises(ModelNotFound):
        await route(router_of(Scripted("a", error=ModelNotFound("no")), clock=clock))


async def test_a_failing_backend_is_left_alone_and_tried_again_later(clock):
    bad = Scripted("bad", error=BackendUnavailable("down"))
    router = router_of(bad, echo("good"), clock=clock, breaker_threshold=3, breaker_reset_s=10)
    for _ in range(5):
        assert (await route(router)).backend == "good"
    assert len(bad.asked) == 3
    clock.at += 10
    bad.error, bad.pieces, bad.content_type = None, (b"{}",), JSON
    assert (await route(router)).backend == "bad"
    assert router.status()[0].breaker == "closed"


async def test_a_busy_backend_is_passed_over_and_not_blamed(clock):
    busy = Scripted("busy", error=BackendUnavailable("later", busy=True))
    router = router_of(busy, echo("good"), clock=clock, breaker_threshold=1)
    for _ in range(3):
        assert (await route(router)).backend == "good"
    assert len(busy.asked) == 3


async def test_dying_midway_counts_against_a_backend(clock):
    bad = Scripted("bad", TEXT, BackendUnavailable("died"))
    router = router_of(bad, clock=clock, breaker_threshold=1)
    await read(await route(router, stream=True))
    assert router.status()[0].breaker == "open"
    assert not router.available("m")
    with pytest.raises(ModelUnavailable):
        await route(router, stream=True)


async def test_an_ejected_backend_is_not_asked(clock):
    bad = echo("bad", fail="probe")
    router = router_of(
        bad, echo("good"), clock=clock, health=HealthSettings(interval_s=3600, eject_after=1)
    )
    await router.start()
    try:
        assert (await route(router)).backend == "good"
        assert [status.health for status in router.status()] == ["ejected", "healthy"]
        assert router.available("m")
    finally:
        await router.stop()


# --- what a request may say -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["cache_prompt", "id_slot", "cache_salt", "lora", "own_control"])
async def test_engine_control_is_refused_by_name(clock, name):
    backend = Scripted("s", b"{}", content_type=JSON, refused={"own_control"})
    with pytest.raises(InvalidRequest) as refusal:
        await route(router_of(backend, clock=clock), **{name: 1})
    assert (refusal.value.status, refusal.value.param) == (400, name)
    assert backend.asked == []


async def test_what_any_backend_of_a_model_refuses_is_refused_whoever_is_healthy(clock):
    first = Scripted("a", b"{}", content_type=JSON)
    second = Scripted("b", b"{}", content_type=JSON, refused={"grammar"})
    with pytest.raises(InvalidRequest):
        await route(router_of(first, second, clock=clock), grammar="x")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:8080/x.png"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": "https://example.com/x.png"},
        {"type": "image_url", "image_url": {}},
        {"type": "image_url", "image_url": {"url": ["data:"]}},
        {"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}},
        {"type": "audio_url", "audio_url": {"url": " data:x"}},
        {"type": "tool_result", "content": [{"image_url": {"url": "gopher://x"}}]},
    ],
)
async def test_media_by_address_is_refused_before_any_engine_sees_it(clock, part):
    backend = Scripted("s", b"{}", content_type=JSON)
    with pytest.raises(InvalidRequest) as refusal:
        await route(router_of(backend, clock=clock), messages=[{"role": "user", "content": [part]}])
    assert refusal.value.param == "messages"
    assert backend.asked == []


async def test_media_in_the_request_and_schemas_with_such_names_pass(clock):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    properties = {"image_url": {"type": "string"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}
    said = [{"role": "user", "content": [part]}]
    await route(router_of(echo(), clock=clock), messages=said, tools=[tool])


@pytest.mark.parametrize("value", ["true", 1, "", [True], {}])
async def test_stream_must_be_a_boolean(clock, value):
    with pytest.raises(InvalidRequest) as refusal:
        await route(router_of(echo(), clock=clock), stream=value)
    assert refusal.value.param == "stream"


@pytest.mark.parametrize("taken", [True, False])
async def test_the_callers_reading_of_the_body_must_agree_with_it(clock, taken):
    router = router_of(echo(), clock=clock)
    fields = {"model": "m", "messages": messages(), "stream": not taken}
    body = json.dumps(fields).encode()
    with pytest.raises(InvalidRequest):
        await router.route(Operation.CHAT, "m", body, fields, taken, ISOLATION)
    with pytest.raises(InvalidRequest):
        await router.route(Operation.CHAT, "m", body, {"model": "m"}, not taken, ISOLATION)


@pytest.mark.parametrize("isolation", [b"", bytes(31), bytes(33)])
async def test_a_request_without_its_domains_secret_is_a_defect(clock, isolation):
    backend = Scripted("s", b"{}", content_type=JSON)
    fields = {"model": "m", "messages": messages()}
    with pytest.raises(ValueError):
        await router_of(backend, clock=clock).route(
            Operation.CHAT, "m", json.dumps(fields).encode(), fields, False, isolation
        )
    assert backend.asked == []


async def test_embeddings_cannot_be_streamed(clock):
    with pytest.raises(InvalidRequest):
        await route(
            router_of(echo(), clock=clock), operation=Operation.EMBEDDINGS, input="x", stream=True
        )


# --- usage ----------------------------------------------------------------------------------


async def test_usage_is_asked_for_on_behalf_of_the_client_and_taken_out_again(clock):
    backend = Scripted("s", TEXT, USAGE, DONE)
    answer = await route(router_of(backend, clock=clock), stream=True)
    assert await read(answer) == TEXT + DONE
    assert answer.usage == Usage(5, 2, "exact")
    assert backend.asked[0].fields["stream_options"] == {"include_usage": True}
    assert json.loads(backend.asked[0].body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "other": 1}])
async def test_options_that_do_not_ask_for_usage_are_completed(clock, options):
    backend = Scripted("s", TEXT, USAGE, DONE)
    router = router_of(backend, clock=clock)
    answer = await route(router, stream=True, stream_options=options)
    assert await read(answer) == TEXT + DONE
    sent = json.loads(backend.asked[0].body)["stream_options"]
    assert sent == {**(options or {}), "include_usage": True}


async def test_usage_that_the_client_asked_for_stays(clock):
    backend = Scripted("s", TEXT, USAGE, DONE)
    router = router_of(backend, clock=clock)
    answer = await route(router, stream=True, stream_options={"include_usage": True})
    assert await read(answer) == TEXT + USAGE + DONE
    assert answer.usage == Usage(5, 2, "exact")


async def test_null_usage_of_other_chunks_goes_too_and_nothing_else_changes(clock):
    asked = (
        b'data: {"choices":[{"delta":{"content":"\\u00e9 \\"usage\\""}}],"usage":null,"x":1}\n\n'
    )
    unasked = b'data: {"choices":[{"delta":{"content":"\\u00e9 \\"usage\\""}}],"x":1}\n\n'
    answer = await route(router_of(Scripted("s", asked, USAGE, DONE), clock=clock), stream=True)
    assert await read(answer) == unasked + DONE


async def test_usage_on_the_last_chunk_with_text_is_read_and_taken_out(clock):
    last = event(choices=[{"text": "x"}], usage={"prompt_tokens": 1, "completion_tokens": 9})
    answer = await route(router_of(Scripted("s", last, DONE), clock=clock), stream=True)
    assert chunks_of(await read(answer)) == [{"choices": [{"text": "x"}]}]
    assert answer.usage == Usage(1, 9, "exact")


async def test_text_about_usage_is_not_usage(clock):
    fake = event(choices=[{"delta": {"content": '{"usage":{"prompt_tokens":0}}'}}])
    answer = await route(router_of(Scripted("s", fake, DONE), clock=clock), stream=True)
    assert await read(answer) == fake + DONE
    assert answer.usage.precision == "estimated"


async def test_without_a_report_events_are_counted_and_called_an_estimate(clock):
    answer = await route(
        router_of(Scripted("s", TEXT, TEXT + TEXT, b": ping\n\n", DONE), clock=clock),
        stream=True,
        messages=messages("x" * 40),
    )
    await read(answer)
    assert answer.usage.completion_tokens == 3
    assert 10 <= answer.usage.prompt_tokens <= 12
    assert answer.usage.precision == "estimated"


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": "5"}, {"prompt_tokens": -1}, {"prompt_tokens": True}, [], None]
)
async def test_a_malformed_report_is_no_report(clock, usage):
    content = json.dumps({"choices": [], "usage": usage}).encode()
    answer = await route(router_of(Scripted("s", content, content_type=JSON), clock=clock))
    assert answer.usage.precision == "estimated"


async def test_embeddings_use_prompt_tokens_only(clock):
    answer = await route(
        router_of(echo(), clock=clock), operation=Operation.EMBEDDINGS, input="a b c"
    )
    assert answer.usage == Usage(3, 0, "exact")


# --- giving up ------------------------------------------------------------------------------


async def test_giving_up_reaches_the_engine_at_once(clock):
    backend = echo("slow", token_delay_ms=20, tokens=10_000)
    answer = await route(router_of(backend, clock=clock), stream=True)
    await anext(answer.body)
    await anext(answer.body)
    before = time.monotonic()
    await answer.aclose()
    assert time.monotonic() - before < 0.25
    assert (backend.cancelled_generations, backend.open_generations) == (1, 0)
    assert answer.outcome == "cancelled"
    assert answer.usage.precision == "estimated"
    assert answer.usage.completion_tokens >= 1


async def test_giving_up_while_another_task_waits_ends_that_wait_without_an_error_event(clock):
    waiting = asyncio.Event()
    gone = asyncio.Event()

    class Stalled(Scripted):
        async def open(self, request):
            async def body():
                yield TEXT
                waiting.set()
                await gone.wait()
                raise BackendUnavailable("the connection was closed")

            async def close():
                gone.set()

            return BackendResponse(200, EVENT_STREAM, body(), close)

    router = router_of(Stalled("s"), clock=clock, breaker_threshold=1)
    answer = await route(router, stream=True)
    reader = asyncio.create_task(read(answer))
    await asyncio.wait_for(waiting.wait(), 5)
    await answer.aclose()
    assert await asyncio.wait_for(reader, 5) == TEXT
    assert answer.outcome == "cancelled"
    assert router.status()[0].breaker == "closed"


async def test_cancelling_the_wait_for_an_answer_reaches_the_engine(clock):
    backend = echo("slow", first_token_delay_ms=60_000)
    task = asyncio.create_task(route(router_of(backend, clock=clock)))
    while not backend.open_generations:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.cancelled_generations == 1


async def test_what_is_left_of_an_ended_answer_can_be_closed(clock):
    answer = await route(router_of(echo(), clock=clock), stream=True)
    await read(answer)
    await answer.aclose()
    assert answer.outcome == "complete"


async def test_nothing_of_a_request_or_answer_shows_in_a_repr(clock):
    backend = Scripted("s", TEXT, DONE)
    answer = await route(router_of(backend, clock=clock), stream=True, messages=messages("MARKER"))
    await read(answer)
    assert "MARKER" not in repr(backend.asked[0]) + repr(answer)
    assert ISOLATION.hex() not in repr(backend.asked[0])
    assert repr(ISOLATION) not in repr(backend.asked[0])


# --- starting -------------------------------------------------------------------------------


async def test_backends_start_and_stop_with_the_router(clock):
    backend = Scripted("s", b"{}", content_type=JSON)
    router = router_of(backend, clock=clock)
    await router.start()
    await router.stop()
    await router.stop()
    assert (backend.started, backend.stopped) == (1, 1)


async def test_a_backend_that_cannot_be_set_up_stops_those_already_started(clock):
    class Broken(Scripted):
        async def start(self):
            raise ConfigError("no such file")

    first = Scripted("a")
    router = router_of(first, Broken("b"), clock=clock)
    with pytest.raises(ConfigError):
        await router.start()
    assert first.stopped == 1


def test_a_catalog_that_names_no_backend_of_the_router_is_refused(clock):
    with pytest.raises(ConfigError):
        Router([CatalogEntry("m", ("absent",))], {"echo": echo()}, clock)
