"""The product agrees with vectors a second implementation wrote (tests/vectors/generate.py)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from confide.attest import binding
from confide.crypto.hpke import SenderContext
from confide.crypto.secret_bytes import SecretBytes
from confide.crypto.xwing import PrivateKey
from confide.sealing import answer as answer_module
from confide.sealing.bhttp import encode_request
from confide.sealing.exchange import (
    InnerRequest,
    RequestOpener,
    ResponseBody,
    ResponseEnd,
    ResponseHead,
    ResponseOpener,
)
from confide.sealing.ohttp import request_info
from confide.sealing.padding import pad_request
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.suites import XWING_SUITE
from confide.wire.usage import FIRST_PREVIOUS, SignedStatement, UsageStatement

VECTORS = Path(__file__).parents[1] / "vectors"
VECTOR = json.loads((VECTORS / "exchange" / "confide_1.json").read_text())
EVENTS = ((b"content-type", b"text/event-stream"),)
USAGE = ((b"confide-usage", b"a.b"),)


@pytest.fixture
def exchange():
    return VECTOR["exchange"]


@pytest.fixture
def opened(exchange):
    private_key = PrivateKey.from_seed(bytes.fromhex(exchange["skR_seed"]))
    opener = RequestOpener(lambda key_id: private_key if key_id == 42 else None)
    opener.feed(bytes.fromhex(exchange["enc_request"]))
    assert opener.envelope_digest.hex() == exchange["envelope_digest"]
    return opener.finish()


def test_the_generator_still_writes_what_is_checked_in():
    subprocess.run([sys.executable, str(VECTORS / "generate.py"), "--check"], check=True)


def test_the_key_configuration_is_that_of_the_seed(exchange):
    key_config = KeyConfig.parse(bytes.fromhex(exchange["key_config"]))
    private_key = PrivateKey.from_seed(bytes.fromhex(exchange["skR_seed"]))
    assert key_config == KeyConfig(42, 0x647A, private_key.public_key, ((1, 2),))
    secret = private_key.decapsulate(bytes.fromhex(exchange["enc"]))
    assert secret.reveal().hex() == exchange["shared_secret"]


def test_the_request_is_opened_and_its_message_written_byte_for_byte(exchange, opened):
    request, _ = opened
    fields = tuple((name.encode(), value.encode()) for name, value in exchange["fields"])
    body = exchange["body"].encode()
    path = "/v1/chat/completions"
    assert request == InnerRequest("POST", "https", "confide.invalid", path, fields, body)
    message = encode_request(request)
    message += bytes(pad_request(len(message)) - len(message))
    assert message.hex() == exchange["request_plain"]


def test_the_answer_is_sealed_byte_for_byte_with_its_padding(exchange, monkeypatch):
    monkeypatch.setattr(
        answer_module.os, "urandom", lambda length: bytes.fromhex(exchange["response_nonce"])
    )
    private_key = PrivateKey.from_seed(bytes.fromhex(exchange["skR_seed"]))
    opener = RequestOpener(lambda _: private_key)
    opener.feed(bytes.fromhex(exchange["enc_request"]))
    _, sealer = opener.finish()
    stream = sealer.head(200, EVENTS, streamed=True)
    for events in exchange["events"]:
        stream += sealer.body(events.encode())
    assert (stream + sealer.end(USAGE)).hex() == exchange["enc_response"]


def test_the_answer_is_opened_with_the_clients_context(exchange):
    enc = bytes.fromhex(exchange["enc"])
    info = request_info(bytes.fromhex(exchange["enc_request"])[:7], chunked=True)
    secret = SecretBytes(bytes.fromhex(exchange["shared_secret"]))
    opener = ResponseOpener(SenderContext.of(XWING_SUITE, secret, info), enc)
    events = opener.feed(bytes.fromhex(exchange["enc_response"])) + opener.finish()
    assert events[0] == ResponseHead(200, EVENTS)
    content = [event.content.decode() for event in events if isinstance(event, ResponseBody)]
    assert "".join(content) == "".join(exchange["events"])
    assert events[-1] == ResponseEnd(USAGE)


def test_the_key_document_and_its_binding_agree():
    vector = VECTOR["key_document"]
    document = KeyDocument.parse(vector["document"].encode())
    rebuilt = KeyDocument.build(
        key_configs=document.key_configs,
        not_before=document.not_before,
        not_after=document.not_after,
        manifest_sha256=document.manifest_sha256,
        boot_id=document.boot_id,
        usage_key=document.usage_key,
    )
    assert rebuilt.raw == document.raw
    assert document.sha256_hex == vector["sha256"]
    nonce, manifest = bytes.fromhex(vector["client_nonce"]), bytes.fromhex(document.manifest_sha256)
    assert binding.gpu_nonce(document.sha256, nonce).hex() == vector["gpu_nonce"]
    gpu_digest = binding.gpu_digest([])
    assert gpu_digest.hex() == vector["gpu_digest_without_gpu"]
    report_data = binding.report_data(document.sha256, nonce, gpu_digest, manifest)
    assert report_data.hex() == vector["report_data"]


def test_usage_statements_parse_verify_and_chain():
    vector = VECTOR["usage"]
    usage_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vector["usage_key"]))
    previous = FIRST_PREVIOUS
    for number, text in enumerate(vector["statements"], start=1):
        signed = SignedStatement.parse(text)
        usage_key.verify(signed.signature, signed.signed_bytes)
        statement = UsageStatement.parse(signed.statement)
        assert (statement.seq, statement.previous) == (number, previous)
        assert signed.encode() == text
        previous = statement.sha256
