"""T-05: a relay swaps the key document or the evidence, and not one sealed byte is sent."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.attacks.tampering_relay import TamperingRelay
from tests.stacks import ECHO, options

from confide import EncryptedTransport
from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.errors import AttestationError, BindingError
from confide.local import Home, Stack, simulated_verifier
from confide.wire.directory import Directory

pytestmark = pytest.mark.e2e

EVIDENCE = "/.well-known/confide/evidence/"
KEYS = "/.well-known/confide/keys"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """Two enclaves, their gateway, and a relay in front of it."""
    home = Home(tmp_path_factory.mktemp("home"))
    with Stack(home, options(ECHO, enclaves=2)) as stack:
        relay = TamperingRelay(stack.gateway_url)
        yield stack, relay
        relay.close()


def attempt(stack, relay):
    """Ask through the relay; return what the client raised, if anything."""
    transport = EncryptedTransport(
        relay.url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with httpx2.Client(transport=transport, timeout=20) as client:
        try:
            answer = client.post(
                "https://confide.invalid/v1/chat/completions",
                json={"model": "echo", "messages": [{"role": "user", "content": "secret"}]},
            )
        except Exception as error:  # noqa: BLE001 - the test looks at what it was
            return error
        assert answer.status_code == 200, answer.text
        return None


def cause_of(error):
    while error is not None and not isinstance(error, AttestationError):
        error = error.__cause__
    return error


@pytest.fixture
def refused(behind):
    """Apply a swap; assert that the client refused it before sending anything sealed."""
    stack, relay = behind
    relay.reset()

    def check(swap):
        relay.on_document = swap
        error = cause_of(attempt(stack, relay))
        assert error is not None
        assert relay.seen == [], "a sealed request left although the enclave was refused"
        return error

    yield check
    relay.reset()


def directory_of(stack):
    return Directory.parse(httpx2.get(stack.gateway_url + KEYS).content)


def test_through_an_honest_relay_the_request_works(behind):
    stack, relay = behind
    relay.reset()
    assert attempt(stack, relay) is None
    assert relay.seen


def test_evidence_of_another_enclave_is_refused(behind, refused):
    stack, _ = behind
    first, second = directory_of(stack).replicas
    evidence = {
        replica.document: other.evidence for replica, other in ((first, second), (second, first))
    }

    def swap(path, content):
        if path.startswith(EVIDENCE):
            return evidence[first.document]
        return content

    assert isinstance(refused(swap), BindingError)


def test_cached_evidence_never_answers_a_challenge(behind, refused):
    stack, _ = behind
    cached = {r.document: r.evidence for r in directory_of(stack).replicas}
    by_digest = {EVIDENCE + sha256_hex(d): evidence for d, evidence in cached.items()}

    def swap(path, content):
        return by_digest.get(path, content)

    assert isinstance(refused(swap), BindingError)


def test_evidence_recorded_for_another_nonce_is_refused(behind, refused):
    kept = {}

    def record(path, content):
        return kept.setdefault(path, content) if path.startswith(EVIDENCE) else content

    stack, relay = behind
    relay.on_document = record
    assert attempt(stack, relay) is None
    relay.reset()
    assert isinstance(refused(record), BindingError)


def test_a_document_changed_by_one_setting_is_refused(behind, refused):
    _, relay = behind
    genuine: dict[str, str] = {}

    def weaken(document):
        changed = document.replace(b'"bucket"', b'"off"')
        genuine[sha256_hex(changed)] = sha256_hex(document)
        return changed

    def swap(path, content):
        if path != KEYS:
            return content
        replicas = [
            dataclasses.replace(replica, document=weaken(replica.document))
            for replica in Directory.parse(content).replicas
        ]
        return Directory(tuple(replicas)).encode()

    def vouch(path):
        # The gateway knows no such document; the relay asks for the genuine one's evidence.
        for changed, digest in genuine.items():
            path = path.replace(changed, digest)
        return path

    relay.on_path = vouch
    assert isinstance(refused(swap), BindingError)


def test_evidence_under_a_root_of_the_relays_own_is_refused(behind, refused):
    stack, _ = behind
    forger = SimulatedCollector(Ed25519PrivateKey.generate())
    replicas = {sha256_hex(r.document): r for r in directory_of(stack).replicas}

    def swap(path, content):
        if not path.startswith(EVIDENCE):
            return content
        replica = replicas[path.removeprefix(EVIDENCE)]
        nonce = json.loads(content)["client_nonce"]
        return forger.collect(
            document=replica.document,
            client_nonce=base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4)),
            manifest_sha256=bytes.fromhex(json.loads(content)["manifest_sha256"]),
            now=0.0,
        )

    assert refused(swap)


def sha256_hex(content):
    return hashlib.sha256(content).hexdigest()
