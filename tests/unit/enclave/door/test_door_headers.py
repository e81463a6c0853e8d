"""Headers inside the seal: to the engine and back, within bounds, whoever sealed them."""

from __future__ import annotations

import pytest
from tests.doubles.openai_server import OpenAIDouble
from tests.unit.enclave.door.door_bench import MESSAGES, opened

from confide.enclave.inference.backends.openai_http import OpenAIHTTPBackend

ASK = {"model": "echo", "messages": MESSAGES}
LIMIT_REQUEST = (431, "headers_too_large")


@pytest.fixture
def engine():
    double = OpenAIDouble()
    with double.serve() as url:
        double.url = url
        yield double


@pytest.fixture
def serve(engine, make_bench, tmp_path):
    """An enclave before a real server with options of its backend."""
    key = tmp_path / "engine.key"
    key.write_text("engine-key")

    def make(padding='profile = "off"\ntick_ms = 0', **options):
        backend = OpenAIHTTPBackend(
            "main", {"base_url": engine.url, "api_key_file": str(key), **options}
        )
        return make_bench(padding=padding, echo={"instance": backend})

    return make


def asking(bench, *headers, **fields):
    return bench.inner({**ASK, **fields}, headers=headers)


def asked(engine):
    """Headers of the last request that was no probe."""
    return engine.raw_headers[-1]


async def test_a_header_nobody_knows_reaches_the_engine_and_its_answer_the_caller(serve, engine):
    engine.told = [("X-Engine", "a"), ("openai-processing-ms", "7"), ("x-engine", "b")]
    async with serve() as bench:
        inner = asking(bench, (b"x-new", b"1"), (b"openai-beta", b"z"), (b"x-new", b"2"))
        received = await bench.ask(inner=inner)
    sent = [line for line in asked(engine) if line[0] in (b"x-new", b"openai-beta")]
    assert sorted(sent) == [(b"openai-beta", b"z"), (b"x-new", b"1"), (b"x-new", b"2")]
    told = [line for line in received.head.headers if line[0] in (b"x-engine",)]
    assert told == [(b"x-engine", b"a"), (b"x-engine", b"b")]
    assert dict(received.head.headers)[b"openai-processing-ms"] == b"7"


async def test_a_streamed_answer_has_its_engines_headers(serve, engine):
    engine.told = [("x-ratelimit-remaining-tokens", "12")]
    async with serve() as bench:
        received = await bench.ask(inner=asking(bench, stream=True))
    assert dict(received.head.headers)[b"x-ratelimit-remaining-tokens"] == b"12"


async def test_what_another_client_sealed_against_the_rules_never_reaches_the_engine(serve, engine):
    names = (
        *(b"authorization", b"cookie", b"user-agent", b"x-request-id", b"x_request_id", b"host"),
        *(b"content-length", b"transfer-encoding", b"x-data-parallel-rank", b"traceparent"),
        *(b"accept-encoding", b"x-forwarded-for", b"confide-grant", b"accept", b"content-digest"),
    )
    async with serve() as bench:
        received = await bench.ask(inner=asking(bench, *((name, b"smuggled") for name in names)))
    assert received.head.status == 200
    got = asked(engine)
    assert [line for line in got if b"smuggled" in line[1]] == []
    assert [v for n, v in got if n == b"authorization"] == [b"Bearer engine-key"]
    assert [v for n, v in got if n == b"content-type"] == [b"application/json"]


async def test_the_engines_identity_cookies_and_commands_to_browsers_stay_behind(serve, engine):
    engine.told = [
        ("Server", "inside"),
        ("Set-Cookie", "a=inside"),
        ("Access-Control-Allow-Origin", "inside"),
        ("Via", "inside"),
        ("x-request-id", "inside"),
        ("x-confide-origin", "inside"),
        ("openai-organization", "inside"),
    ]
    async with serve() as bench:
        for stream in (False, True):
            received = await bench.ask(inner=asking(bench, stream=stream))
            assert [line for line in received.head.headers if b"inside" in line[1]] == []
            ids = [value for name, value in received.head.headers if name == b"x-request-id"]
            assert len(ids) == 1


async def test_an_operator_can_keep_headers_from_a_server_and_its_own_from_callers(serve, engine):
    engine.told = [("x-engine", "a")]
    async with serve(forward_headers=False) as bench:
        received = await bench.ask(inner=asking(bench, (b"x-new", b"1")))
    assert b"x-new" not in dict(asked(engine))
    assert b"x-engine" not in dict(received.head.headers)


@pytest.mark.parametrize(
    "headers",
    [[(b"x-%d" % n, b"v") for n in range(65)], [(b"x-long", b"v" * 8192)]],
    ids=["many", "long"],
)
async def test_headers_over_a_bound_are_refused_inside_the_seal(serve, engine, headers):
    async with serve() as bench:
        received = await bench.ask(inner=asking(bench, *headers))
    assert (received.head.status, received.error["code"]) == LIMIT_REQUEST
    assert engine.paths == ["/v1/models"]  # the probe


async def test_a_control_character_is_refused_inside_the_seal(serve, engine):
    async with serve() as bench:
        received = await bench.ask(inner=asking(bench, (b"x-a", b"1\x012")))
    assert (received.head.status, received.error["code"]) == (400, "header_malformed")
    assert engine.paths == ["/v1/models"]  # the probe


async def test_an_engine_with_endless_headers_gets_its_answer_through_without_them(serve, engine):
    engine.told = [(f"x-{n}", "v" * 100) for n in range(90)]
    async with serve() as bench:
        received = await bench.ask(inner=asking(bench))
    assert received.head.status == 200
    names = [name for name, _ in received.head.headers if name.startswith(b"x-")]
    assert len(names) == 65  # 64 and the request's id


async def test_other_engines_ignore_headers(bench):
    received = await bench.ask(inner=bench.inner(ASK, headers=[(b"x-new", b"1")]))
    assert received.head.status == 200
    assert b"x-new" not in dict(received.head.headers)


@pytest.mark.parametrize(
    ("stream", "buckets"),
    # Padded plaintext, and what is around it: nonce, length, tag.
    [(False, {1024 + 32 + 1 + 16, 2048 + 32 + 1 + 16}), (True, {256 + 32 + 2 + 16})],
)
async def test_headers_of_an_answer_show_in_its_length_as_buckets_only(
    serve, engine, stream, buckets
):
    sizes = set()
    async with serve(padding='profile = "bucket"\ntick_ms = 0') as bench:
        for remaining in ("1", "1" * 7, "1" * 20, "1" * 60):
            engine.told = [("x-ratelimit-remaining-tokens", remaining)]
            sealed, opener = bench.seal(asking(bench, stream=stream))
            peer = bench.post(sealed)
            received = opened(await peer.result(), opener)
            assert dict(received.head.headers)[b"x-ratelimit-remaining-tokens"]
            # When an engine's pieces come decides the later chunks of a stream, not its head.
            sizes.add(len(peer.chunks[0]))
    assert sizes <= buckets
