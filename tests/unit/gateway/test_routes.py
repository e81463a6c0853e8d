"""Every route refuses what it must, in one shape, and says what to do next."""

import asyncio
import json
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.gateway import doubles
from tests.unit.gateway.doubles import Client, EnclaveDouble, Gateway, get, sealed, until

from confide.apps.gateway import build_gateway
from confide.config.gateway import GatewaySettings
from confide.gateway.accounts import Accounts
from confide.gateway.server import Listening, listen, make_server
from confide.wire.directory import Directory
from confide.wire.endpoints import Endpoints


async def refused(client, status, code):
    assert await client.status() == status
    problem = await client.problem()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == client.headers["confide-request-id"]
    return problem


# ---- who may call ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credential",
    ["", "Basic dTpw", "Bearer", "Bearer ", "Bearer ck_wrong", "Bearer sk-proj-x", "ck_x",
     "Bearer ck_0000000000000000000000000000000000000000000AAAAAA"],
)  # fmt: skip
async def test_an_unknown_credential_is_a_401(gateway, enclave, connect, credential):
    client = await connect()
    client.head(
        "POST",
        "/v1/sealed",
        [("authorization", credential), ("content-type", "message/ohttp-chunked-req"),
         ("content-length", "0")],
    )  # fmt: skip
    await refused(client, 401, "invalid-api-key")
    assert client.headers["www-authenticate"].startswith("Bearer")
    assert enclave.requests == []


async def test_no_credential_is_a_401(gateway, connect):
    client = await connect()
    client.head("POST", "/v1/sealed", [("content-length", "0")])
    await refused(client, 401, "invalid-api-key")


async def test_two_credentials_are_a_400(gateway, connect):
    client = await connect()
    client.post(gateway.api_key, sealed(), extra=[("authorization", "Bearer x")])
    await refused(client, 400, "bad-request")


async def test_an_expired_key_is_a_401_that_says_so(gateway, connect):
    now = time.time()
    key = gateway.key(now=now - 100, expires_at=int(now) - 1)
    gateway.parts.callers.refresh()
    client = await connect()
    client.post(key, sealed())
    await refused(client, 401, "key-expired")


async def test_a_revoked_key_stops_working_while_the_gateway_runs(gateway, connect):
    client = await connect()
    client.post(gateway.api_key, sealed())
    assert await client.status() == 200
    await client.body()
    Accounts(gateway.settings.database).revoke_key(gateway.key_id, now=time.time())
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 1.0
    while True:
        client = await connect()
        client.post(gateway.api_key, sealed())
        if await client.status() == 401:
            break
        assert loop.time() < until_s
        await client.body()
    assert (await client.problem())["code"] == "key-revoked"


async def test_a_new_key_works_without_a_restart(gateway, connect):
    key = gateway.key()
    await until(lambda: len(gateway.parts.callers) == 2)
    client = await connect()
    client.post(key, sealed())
    assert await client.status() == 200


# ---- limits -----------------------------------------------------------------------------------


async def test_a_used_up_rate_is_a_429_with_the_exact_wait(gateway, connect):
    key = gateway.key(requests_per_minute=6, burst=2)
    gateway.parts.callers.refresh()
    for _ in range(2):
        client = await connect()
        client.post(key, sealed())
        assert await client.status() == 200
    client = await connect()
    client.post(key, sealed())
    problem = await refused(client, 429, "rate-limited")
    assert client.headers["retry-after"] == "10"
    assert 9 < problem["retry_after_s"] <= 10


async def test_streams_beyond_the_limit_are_a_429_and_slots_come_back(gateway, enclave, connect):
    async def answer(request):
        await request.gone.wait()

    enclave.answer = answer
    key = gateway.key(max_streams=2)
    gateway.parts.callers.refresh()
    clients = [await connect() for _ in range(2)]
    for client in clients:
        client.post(key, sealed())
    await enclave.next_request(2)
    late = await connect()
    late.post(key, sealed())
    await refused(late, 429, "too-many-streams")
    assert late.headers["retry-after"] == "1"
    clients[0].close()
    await until(lambda: gateway.parts.instruments.streams.value == 1)
    enclave.answer = enclave.complete
    again = await connect()
    again.post(key, sealed())
    assert await again.status() == 200


async def test_a_slot_comes_back_after_every_kind_of_refusal(gateway, connect):
    key = gateway.key(max_streams=1)
    gateway.parts.callers.refresh()
    for body in (b"", b"short", sealed(key_id=9), sealed(kem_id=0x9999)):
        client = await connect()
        client.post(key, body)
        await refused(client, 400, "ohttp-key")
    assert gateway.parts.instruments.streams.value == 0
    client = await connect()
    client.post(key, sealed())
    assert await client.status() == 200


async def test_the_caller_can_ask_who_it_is(gateway):
    key = gateway.key(requests_per_minute=30, burst=5, max_streams=3)
    gateway.parts.callers.refresh()
    status, headers, body = await get(gateway.port, "/v1/key", key)
    assert status == 200
    assert "confide-request-id" in headers
    answer = json.loads(body)
    assert answer["key_id"] == gateway.key_id
    assert answer["domain"] == "default"
    assert answer["limits"] == {"requests_per_minute": 30, "burst": 5, "max_streams": 3}
    assert answer["remaining"] == {"requests": 5, "streams": 3}
    assert (await get(gateway.port, "/v1/key"))[0] == 401


# ---- sizes ------------------------------------------------------------------------------------


async def test_a_body_announced_too_long_is_refused_before_it_is_sent(gateway, enclave, connect):
    client = await connect()
    client.post(gateway.api_key, b"", length=36 * 1024**2 + 1)
    await refused(client, 413, "request-too-large")
    assert enclave.requests == []


async def test_a_chunked_body_is_counted_and_cut_off(tmp_path, enclave):
    gateway = Gateway(tmp_path, enclaves=(enclave.url,), sealed_body_limit=5000)
    key = gateway.key()
    async with gateway.serve():
        await gateway.ready()
        client = await Client.connect(gateway.port)
        client.head(
            "POST",
            "/v1/sealed",
            [("authorization", f"Bearer {key}"), ("content-type", "message/ohttp-chunked-req"),
             ("transfer-encoding", "chunked")],
        )  # fmt: skip
        for piece in (sealed(), b"x" * 3000, b"x" * 3000):
            client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            request = await enclave.next_request()
        await refused(client, 413, "request-too-large")
        client.close()
        async with asyncio.timeout(2):
            await request.gone.wait()


async def test_an_upload_that_stops_is_a_408_and_gives_its_slot_back(tmp_path, enclave):
    gateway = Gateway(tmp_path, enclaves=(enclave.url,), upload_timeout_s=0.1)
    key = gateway.key()
    async with gateway.serve():
        await gateway.ready()
        for sent in (b"", sealed()):
            client = await Client.connect(gateway.port)
            client.post(key, sent, length=5000)
            await refused(client, 408, "request-timeout")
            client.close()
        assert gateway.parts.instruments.streams.value == 0


async def test_headers_over_64_kb_are_a_431(gateway):
    client = await Client.connect(gateway.port)
    client.head("GET", "/healthz", [("x", "y" * 66_000)])
    assert await client.status() == 431
    client.close()


async def test_headers_that_never_end_are_cut_off_at_64_kb(gateway):
    client = await Client.connect(gateway.port)
    client.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    sent = 0
    with pytest.raises(ConnectionError):  # noqa: PT012
        while sent < 10_000_000:
            client.writer.write(b"x-%d: " % sent + b"y" * 1000 + b"\r\n")
            await client.writer.drain()
            sent += 1000
            await asyncio.sleep(0)
            if client.reader.at_eof():
                raise ConnectionError
    assert sent < 1_000_000


@pytest.mark.parametrize("kind", ["application/json", "message/ohttp-req", ""])
async def test_another_media_type_is_a_415(gateway, connect, kind):
    client = await connect()
    client.post(gateway.api_key, sealed(), kind=kind)
    await refused(client, 415, "unsupported-media-type")


# ---- routing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["0" * 64, "not hex", "é"])
async def test_an_unknown_document_is_a_key_problem(gateway, enclave, connect, document):
    client = await connect()
    client.post(gateway.api_key, sealed(), document=document)
    problem = await refused(client, 400, "ohttp-key")
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#ohttp-key"
    assert enclave.requests == []


async def test_a_document_with_another_key_id_is_a_key_problem(gateway, enclave, connect):
    client = await connect()
    client.post(gateway.api_key, sealed(key_id=2), document=enclave.document.sha256_hex)
    await refused(client, 400, "ohttp-key")
    assert enclave.requests == []


async def test_no_enclave_at_all_is_a_503(tmp_path):
    gateway = Gateway(tmp_path)
    key = gateway.key()
    async with gateway.serve():
        client = await Client.connect(gateway.port)
        client.post(key, sealed())
        await refused(client, 503, "no-enclave")
        assert client.headers["retry-after"] == "1"
        client.close()
        status, _, body = await get(gateway.port, "/healthz")
        assert status == 200
        assert json.loads(body)["status"] == "no-enclave"


async def test_an_enclave_that_is_gone_is_a_503_and_is_ejected(tmp_path):
    double = EnclaveDouble()
    gateway = Gateway(tmp_path, poll_s=60)
    key = gateway.key()
    async with double.serve():
        Accounts(gateway.settings.database).add_enclave(double.url, now=1)
        async with gateway.serve():
            await gateway.ready()
            document = double.document.sha256_hex
            port = double.port
            await double.shut()
            client = await Client.connect(gateway.port)
            client.post(key, sealed(), document=document)
            await refused(client, 503, "no-enclave")
            client.close()
            assert gateway.parts.registry.healthy == 0
            assert Directory.parse((await get(gateway.port, "/.well-known/confide/keys"))[2]) == (
                Directory(())
            )
            async with double.serve(port):
                await gateway.ready()


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/", 404, "route-not-found"),
        ("GET", "/v1/models", 404, "route-not-found"),
        ("GET", "/v1/sealed", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
        ("DELETE", "/.well-known/confide/keys", 405, "method-not-allowed"),
        ("GET", "/.well-known/confide/evidence/" + "0" * 64, 400, "bad-nonce"),
        ("GET", "/.well-known/confide/evidence/x?nonce=" + "0" * 64, 404, "route-not-found"),
        ("GET", "/v1/usage?after=0", 404, "route-not-found"),
    ],
)
async def test_other_routes_are_problems(gateway, connect, method, target, status, code):
    client = await connect()
    client.head(method, target, [("content-length", "0")])
    await refused(client, status, code)


# ---- directory and evidence ------------------------------------------------------------------


async def test_the_directory_holds_the_strings_of_the_enclave_unchanged(gateway, enclave):
    status, headers, body = await get(gateway.port, "/.well-known/confide/keys")
    assert status == 200
    assert headers["content-type"] == "application/vnd.confide.directory+json"
    (replica,) = Directory.parse(body).replicas
    assert replica.document == enclave.document.raw
    assert (replica.evidence, replica.manifest) == (b"evidence", b"manifest")


async def test_an_evidence_challenge_reaches_the_enclave_it_names(gateway, enclave):
    nonce = "5a" * 32
    target = f"/.well-known/confide/evidence/{enclave.document.sha256_hex}?nonce={nonce}"
    status, headers, body = await get(gateway.port, target)
    assert status == 200
    assert headers["content-type"] == "application/vnd.confide.evidence+json"
    assert json.loads(body) == {"evidence for": target}


@pytest.mark.parametrize("nonce", ["", "5a", "zz" * 32, "00" * 33, "00" * 32 + "&x=1"])
async def test_a_nonce_that_is_not_32_bytes_is_a_400(gateway, enclave, nonce):
    target = f"/.well-known/confide/evidence/{enclave.document.sha256_hex}?nonce={nonce}"
    status, _, body = await get(gateway.port, target)
    assert status == 400
    assert json.loads(body)["code"] == "bad-nonce"


async def test_evidence_challenges_are_limited_per_address(tmp_path, enclave):
    gateway = Gateway(tmp_path, enclaves=(enclave.url,), evidence_per_minute=2)
    async with gateway.serve():
        await gateway.ready()
        nonce = "5a" * 32
        target = f"/.well-known/confide/evidence/{enclave.document.sha256_hex}?nonce={nonce}"
        assert [(await get(gateway.port, target))[0] for _ in range(2)] == [200, 200]
        status, headers, _ = await get(gateway.port, target)
        assert status == 429
        assert headers["retry-after"] == "30"


async def test_a_caller_that_goes_aborts_its_challenge(gateway, enclave, connect):
    enclave.quotes.clear()
    enclave.challenges.clear()
    client = await connect()
    digest, nonce = enclave.document.sha256_hex, "5a" * 32
    client.head("GET", f"/.well-known/confide/evidence/{digest}?nonce={nonce}", [])
    await until(lambda: enclave.challenges)
    client.close()
    async with asyncio.timeout(2):
        await enclave.challenges[0].gone.wait()


async def test_the_endpoints_document_is_served_if_it_is_configured(tmp_path, gateway):
    path = "/.well-known/confide/endpoints.json"
    assert (await get(gateway.port, path))[0] == 404
    named = {"public_url": "https://g.test", "public_enclave_url": "https://e.test"}
    async with Gateway(tmp_path / "named", **named).serve() as named_gateway:
        status, headers, body = await get(named_gateway.port, path)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert Endpoints.parse(body) == Endpoints("https://g.test", "https://e.test")


def test_an_enclave_without_a_gateway_is_no_endpoints_document():
    with pytest.raises(ValueError):
        GatewaySettings(public_enclave_url="https://e.test")


async def test_metrics_are_for_listed_addresses(tmp_path, enclave):
    gateway = Gateway(tmp_path, metrics_clients=("192.0.2.1",))
    async with gateway.serve():
        assert (await get(gateway.port, "/metrics"))[0] == 404


@pytest.mark.parametrize("name", ["x-forwarded-for", "Forwarded"])
async def test_metrics_are_not_for_callers_of_a_proxy_that_is_not_trusted(gateway, connect, name):
    client = await connect()
    client.head("GET", "/metrics", [(name, "127.0.0.1")])
    await refused(client, 404, "route-not-found")


@pytest.mark.parametrize(("caller", "status"), [("198.51.100.7", 200), ("203.0.113.9", 404)])
async def test_behind_a_trusted_proxy_metrics_are_for_the_listed_callers(
    tmp_path, monkeypatch, caller, status
):
    plain = doubles.Listening
    monkeypatch.setattr(
        doubles, "Listening", lambda *where, **rest: plain(*where, **rest, **TRUSTED)
    )
    gateway = Gateway(tmp_path, metrics_clients=("198.51.100.7",))
    async with gateway.serve():
        client = await Client.connect(gateway.port)
        client.head("GET", "/metrics", [("x-forwarded-for", caller)])
        assert await client.status() == status
        client.close()


TRUSTED = {"forwarded_allow_ips": ("127.0.0.1",)}


async def test_metrics_are_written_by_another_thread(gateway, monkeypatch):
    names = []
    render = gateway.parts.instruments.render
    monkeypatch.setattr(
        gateway.parts.instruments,
        "render",
        lambda: names.append(threading.current_thread()) or render(),
    )
    assert (await get(gateway.port, "/metrics"))[0] == 200
    assert threading.main_thread() not in names


async def test_metrics_count_requests_and_refusals(gateway, connect):
    client = await connect()
    client.post(gateway.api_key, sealed())
    await client.status()
    await client.body()
    await get(gateway.port, "/v1/key", "ck_wrong")
    _, headers, body = await get(gateway.port, "/metrics")
    assert headers["content-type"].startswith("text/plain")
    text = body.decode()
    assert '\nconfide_gateway_requests_total{outcome="complete"} 1\n' in text
    assert '\nconfide_gateway_refusals_total{code="invalid-api-key"} 1\n' in text
    assert "\nconfide_gateway_enclaves_healthy 1\n" in text
    assert '\nconfide_gateway_relayed_bytes_total{direction="down"} 13\n' in text


async def test_the_gateway_can_serve_tls_itself(tmp_path):
    certificate, key = self_signed(tmp_path)
    gateway = Gateway(tmp_path)
    app = build_gateway(gateway.settings, verifier=gateway.judge)
    where = Listening("127.0.0.1", 0, 5, (), str(certificate), str(key))
    listener = listen(where)
    server = make_server(app, where)
    serving = asyncio.ensure_future(server._serve([listener]))
    await until(lambda: server.started)
    trust = ssl.create_default_context(cafile=certificate)
    client = await Client.connect(listener.getsockname()[1], ssl=trust, server_hostname="localhost")
    client.head("GET", "/healthz", [])
    assert await client.status() == 200
    assert json.loads(await client.body())["enclaves"] == 0
    client.writer.close()
    server.should_exit = True
    await serving
    listener.close()


def self_signed(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
