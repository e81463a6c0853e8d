"""What the enclave says outside the seal: its keys, its evidence, its numbers."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.unit.enclave.door.door_bench import MESSAGES, Peer

from confide.attest.evidence import Evidence
from confide.errors import ConfigError, EvidenceError
from confide.wire.directory import Directory
from confide.wire.grants import GRANT_TYPE, USAGE_TOKEN_TYPE, usage_token_claims
from confide.wire.key_document import KeyDocument
from confide.wire.usage import UsageStatement, parse_batch

CHAT_BODY = {"model": "echo", "messages": MESSAGES}


async def post(bench, path, body, **headers):
    named = [("host", "x"), *headers.items()]
    return await Peer(bench.app, "POST", path, named, [body]).result()


async def test_the_directory_has_this_replica_with_cached_evidence(bench):
    got = await bench.get("/.well-known/confide/keys")
    assert got.headers[b"content-type"] == b"application/vnd.confide.directory+json"
    [replica] = Directory.parse(got.raw).replicas
    assert replica.document == bench.keyring.current.raw
    assert replica.manifest == bench.measurement.manifest.encode()
    assert (
        KeyDocument.parse(replica.document).manifest_sha256
        == bench.measurement.manifest.sha256.hex()
    )
    evidence = Evidence.parse(replica.evidence)
    assert evidence.document == replica.document
    assert evidence.client_nonce == b""


async def test_evidence_answers_a_challenge(bench):
    document = bench.keyring.current
    got = await bench.get(
        f"/.well-known/confide/evidence/{document.sha256_hex}", f"nonce={'ab' * 32}"
    )
    assert got.headers[b"content-type"] == b"application/vnd.confide.evidence+json"
    evidence = Evidence.parse(got.raw)
    assert evidence.client_nonce == bytes.fromhex("ab" * 32)
    assert evidence.document == document.raw


@pytest.mark.parametrize(
    "query", ["", "nonce=", f"nonce={'ab' * 31}", f"nonce={'zz' * 32}", f"nonce={'ab ' * 32}"]
)
async def test_a_nonce_that_is_not_32_bytes_is_refused(bench, query):
    path = f"/.well-known/confide/evidence/{bench.keyring.current.sha256_hex}"
    got = await bench.get(path, query)
    assert (got.status, got.problem.code) == (400, "nonce-invalid")


async def test_evidence_for_a_document_that_is_not_live_is_a_404(bench):
    old = bench.keyring.current.sha256_hex
    bench.clock.at += 86_400 + 3_600
    for document in (old, "00" * 32, "x"):
        got = await bench.get(f"/.well-known/confide/evidence/{document}", f"nonce={'ab' * 32}")
        assert (got.status, got.problem.code) == (404, "document-unknown")


async def test_a_platform_without_evidence_is_a_503(bench):
    def broken(**_):
        raise EvidenceError("no report")

    bench.parts.quoting._collector.collect = broken
    got = await bench.get("/.well-known/confide/keys")
    assert (got.status, got.problem.code) == (503, "evidence-unavailable")


async def test_a_flood_of_challenges_is_a_429(bench):
    path = f"/.well-known/confide/evidence/{bench.keyring.current.sha256_hex}"
    bench.parts.quoting._monotonic = lambda: 1.0
    statuses = [(await bench.get(path, f"nonce={n:064x}")).status for n in range(105)]
    assert statuses[:100] == [200] * 100
    assert set(statuses[100:]) == {429}


async def test_usage_is_pulled_in_order_and_forgotten_when_acknowledged(bench):
    for _ in range(3):
        await bench.ask(CHAT_BODY)
    token = bench.usage_token()
    got = await bench.get("/v1/usage", "after=1", [("authorization", token)])
    assert got.headers[b"content-type"] == b"application/vnd.confide.usage+json"
    key = Ed25519PublicKey.from_public_bytes(bench.keyring.current.usage_key)
    for signed in parse_batch(got.raw):
        key.verify(signed.signature, signed.signed_bytes)
    assert [UsageStatement.parse(s.statement).seq for s in parse_batch(got.raw)] == [2, 3]
    got = await post(bench, "/v1/usage/ack", b'{"through":2}', authorization=token)
    assert json.loads(got.raw) == {"dropped": 2}
    got = await bench.get("/v1/usage", "after=0", [("authorization", token)])
    assert [UsageStatement.parse(s.statement).seq for s in parse_batch(got.raw)] == [3]


async def test_the_customer_gets_the_same_statement_inside_the_seal(bench):
    answer = await bench.ask(CHAT_BODY, grant={"usage": "bucketed"})
    got = await bench.get("/v1/usage", "", [("authorization", bench.usage_token())])
    [signed] = parse_batch(got.raw)
    assert answer.trailers[b"confide-usage"].decode() == signed.encode()
    assert answer.usage.precision == "bucketed"
    assert answer.usage.completion_tokens == 16
    assert answer.usage.model_class == "small"


@pytest.mark.parametrize(
    "token",
    [
        *(None, "", "Bearer", "Basic abc", "Bearer x.y.z"),
        *("grant", "late", "early", "long", "endless", "foreign"),
    ],
)
@pytest.mark.parametrize("page", ["/v1/usage", "/v1/usage/ack"])
async def test_usage_needs_the_gateways_token(bench, token, page):
    await bench.ask(CHAT_BODY)
    now = int(bench.clock())
    endless = {name: value for name, value in usage_token_claims(now).items() if name != "exp"}
    made = {
        "grant": lambda: (
            "Bearer " + bench.sign(bench.grant(bytes(32), "r-1").to_claims(), typ=GRANT_TYPE)
        ),
        "late": lambda: bench.usage_token(iat=now - 71, exp=now - 11),
        "early": lambda: bench.usage_token(iat=now + 11, exp=now + 71),
        "long": lambda: bench.usage_token(exp=now + 61),
        "endless": lambda: "Bearer " + bench.sign(endless, typ=USAGE_TOKEN_TYPE),
        "foreign": lambda: bench.usage_token(iss="someone"),
    }
    token = made.get(token, lambda: token)()
    headers = {} if token is None else {"authorization": token}
    if page.endswith("ack"):
        got = await post(bench, page, b'{"through":9}', **headers)
    else:
        got = await bench.get(page, "", list(headers.items()))
    assert got.status in {401, 403}
    assert len(bench.parts.ledger) == 1


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 16])
async def test_a_place_in_the_chain_is_a_number(bench, after):
    got = await bench.get("/v1/usage", f"after={after}", [("authorization", bench.usage_token())])
    assert (got.status, got.problem.code) == (400, "usage-after")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"through":true}',
        b'{"through":-1}',
        b'{"through":"1"}',
        b"[" * 999,
    ],
)
async def test_an_acknowledgement_names_a_number(bench, body):
    got = await post(bench, "/v1/usage/ack", body, authorization=bench.usage_token())
    assert (got.status, got.problem.code) == (400, "usage-through")


async def test_a_long_acknowledgement_is_refused(bench):
    got = await post(bench, "/v1/usage/ack", b" " * 2000, authorization=bench.usage_token())
    assert (got.status, got.problem.code) == (413, "request-too-large")


async def test_a_full_ledger_refuses_requests_inside_the_seal_until_acknowledged(make_bench):
    async with make_bench(door="usage_capacity = 10") as bench:
        for _ in range(10):
            assert (await bench.ask(CHAT_BODY)).head.status == 200
        got = await bench.ask(CHAT_BODY)
        assert (got.head.status, got.error["code"]) == (503, "usage_ledger_full")
        assert b"confide-usage" not in got.trailers
        got = await bench.ask(path="/v1/models", method="GET")
        assert got.head.status == 200
        await post(bench, "/v1/usage/ack", b'{"through":1}', authorization=bench.usage_token())
        assert (await bench.ask(CHAT_BODY)).head.status == 200


async def test_health_counts_and_names_nothing(bench):
    got = await bench.get("/healthz")
    assert json.loads(got.raw) == {
        "status": "ok",
        "models": 2,
        "available": 2,
        "open_requests": 0,
        "platform": "software-dev",
        "simulated": True,
    }


async def test_health_is_degraded_when_no_model_is_available(make_bench):
    async with make_bench(echo={"fail": "open"}) as bench:
        for _ in range(3):
            await bench.ask(CHAT_BODY)
        assert json.loads((await bench.get("/healthz")).raw)["status"] == "degraded"


async def test_metrics_count_outcomes_and_refusals(bench):
    await bench.ask(CHAT_BODY)
    await bench.ask({"model": "absent", "messages": MESSAGES})
    await bench.ask(CHAT_BODY, token=None)
    text = (await bench.get("/metrics")).raw.decode()
    assert 'confide_enclave_requests_total{outcome="complete"} 1' in text
    assert 'confide_enclave_requests_total{outcome="refused"} 1' in text
    assert 'confide_enclave_refusals_total{reason="grant"} 1' in text
    assert "confide_enclave_open_requests 0" in text
    assert "confide_enclave_replay_entries 2" in text
    assert "confide_enclave_usage_pending 2" in text
    assert "absent" not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/chat/completions", 404), ("POST", "/healthz", 405)],
)
async def test_other_routes_are_problem_documents(bench, method, path, status):
    got = await Peer(bench.app, method, path, [("host", "x")]).result()
    assert (got.status, got.problem.status) == (status, status)


class Lifespan:
    """Drives the lifespan of an application."""

    def __init__(self, app):
        import asyncio

        self.incoming, self.sent = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.ensure_future(app(scope, self.incoming.get, self.sent.put))

    async def tell(self, what):
        await self.incoming.put({"type": f"lifespan.{what}"})
        return (await self.sent.get())["type"]


async def test_starting_collects_evidence_and_stopping_stops_the_backends(bench):
    life = Lifespan(bench.app)
    assert await life.tell("startup") == "lifespan.startup.complete"
    assert bench.parts.quoting._cached
    assert await life.tell("shutdown") == "lifespan.shutdown.complete"
    await life.task


@pytest.mark.parametrize("fault", ["platform", "backend"])
async def test_a_start_that_fails_keeps_its_reason(bench, fault):
    if fault == "platform":
        error = EvidenceError("no report")

        def broken(**_):
            raise error

        bench.parts.quoting._collector.collect = broken
    else:
        error = ConfigError("the model is broken")

        async def broken():
            raise error

        bench.backend.start = broken
    life = Lifespan(bench.app)
    assert await life.tell("startup") == "lifespan.startup.failed"
    assert bench.app.startup_error is error
    with pytest.raises(type(error)):
        await life.task


@pytest.mark.parametrize("path", ["/healthz", "/.well-known/confide/keys", "/no-such-page"])
async def test_every_answer_of_a_simulated_enclave_says_so(bench, path):
    got = await bench.get(path)
    assert got.headers[b"x-confide-attestation"] == b"none-development"
