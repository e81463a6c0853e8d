"""T-01 to T-04: whatever a relay changes, drops, repeats or reflects, the client is told.

Client, gateway and enclave are real and separate processes; the relay sits between the
gateway and the enclave, where a malicious operator would sit. Every case ends in a typed
error, never in a short or altered answer.
"""

from __future__ import annotations

import json

import httpx2
import pytest
from openai import APIError, OpenAI
from tests.attacks.tampering_relay import TamperingRelay
from tests.stacks import ECHO, options

from confide import EncryptedTransport
from confide.errors import ConfideError, OpenError, SealingError, StreamTruncated
from confide.local import Home, Stack, simulated_verifier
from confide.local.enclave_file import BackendChoice
from confide.local.readiness import free_port
from confide.wire.frames import FrameReader, encode_frame

pytestmark = pytest.mark.e2e

NONCE = 32  # bytes before the first response chunk (draft-08: max(Nn, Nk))
HEADER = 7
ENCAPSULATED = 1120
PACED = BackendChoice("echo", ("paced",), {"token_delay_ms": 5})
WORDS = " ".join(f"word{n}" for n in range(60))


class Refused(Exception):
    """The exchange was refused in clear, before anything was processed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@pytest.fixture(scope="module")
def tampered(tmp_path_factory):
    enclave_port = free_port()
    relay = TamperingRelay(f"http://127.0.0.1:{enclave_port}")
    home = Home(tmp_path_factory.mktemp("home"))
    chosen = options(
        ECHO,
        PACED,
        enclave_ports=(enclave_port,),
        gateway={
            "enclaves": [relay.url],
            "requests_per_minute": 100_000,
            "concurrent_streams": 200,
        },
    )
    with Stack(home, chosen) as stack:
        yield stack, relay
    relay.close()


@pytest.fixture
def road(tampered):
    """The stack, its relay, and a function that sends one streamed request."""
    stack, relay = tampered
    relay.reset()
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with httpx2.Client(transport=transport, timeout=30) as client:

        def ask(model: str = "paced", words: str = WORDS) -> bytes:
            body = {
                "model": model,
                "stream": True,
                "messages": [{"role": "user", "content": words}],
            }
            answer = client.post("https://confide.invalid/v1/chat/completions", json=body)
            if answer.headers.get("x-confide-origin") == "gateway":
                raise Refused(answer.json()["error"]["code"])
            assert answer.status_code == 200, answer.text
            return answer.content

        yield relay, ask


def frames(sealed: bytes) -> list[tuple[bytes, bool]]:
    reader = FrameReader()
    found = [(frame.ciphertext, frame.final) for frame in reader.feed(sealed[NONCE:])]
    final = reader.finish()
    return [*found, (final.ciphertext, True)]


def joined(nonce: bytes, parts: list[tuple[bytes, bool]]) -> bytes:
    return nonce + b"".join(encode_frame(ciphertext, final) for ciphertext, final in parts)


def flip(message: bytes, position: int) -> bytes:
    changed = bytearray(message)
    changed[position] ^= 1
    return bytes(changed)


def drop_first(parts, _):
    return parts[1:]


def drop_middle(parts, _):
    return parts[: len(parts) // 2] + parts[len(parts) // 2 + 1 :]


def swap(parts, _):
    return [parts[0], parts[2], parts[1], *parts[3:]]


def duplicate(parts, _):
    return [parts[0], parts[1], parts[1], *parts[2:]]


def splice(parts, other):
    return [*parts[:2], other[2], *parts[3:]]


def relabel_final(parts, _):
    return [*parts[:2], (parts[2][0], True)]


def flip_middle(parts, _):
    return [*parts[:2], (flip(parts[2][0], 5), False), *parts[3:]]


CHUNK_CASES = [drop_first, drop_middle, swap, duplicate, splice, relabel_final, flip_middle]


def test_an_untouched_answer_arrives_whole(road):
    _, ask = road
    assert b"word59" in ask()


@pytest.mark.parametrize("change", CHUNK_CASES)
def test_a_changed_stream_does_not_authenticate(road, change):
    relay, ask = road
    kept = []
    relay.on_answer = lambda sealed: kept.append(sealed) or sealed
    ask()
    other = frames(kept[0])
    relay.on_answer = lambda sealed: joined(sealed[:NONCE], change(frames(sealed), other))
    with pytest.raises(OpenError):
        ask()


def test_dropping_the_final_chunk_is_a_truncation(road):
    relay, ask = road
    relay.on_answer = lambda sealed: joined(sealed[:NONCE], frames(sealed)[:-1])
    with pytest.raises(StreamTruncated):
        ask()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_cut_inside_a_chunk_is_noticed(road, part):
    relay, ask = road
    relay.on_answer = lambda sealed: sealed[: int(len(sealed) * part)]
    with pytest.raises(SealingError):
        ask()


def test_a_cut_connection_is_a_truncation(road):
    relay, ask = road
    relay.cut_answer_at = 1500
    with pytest.raises(StreamTruncated):
        ask()


@pytest.mark.parametrize("position", range(NONCE))
def test_a_changed_response_nonce_does_not_authenticate(road, position):
    relay, ask = road
    relay.on_answer = lambda sealed: flip(sealed, position)
    with pytest.raises(OpenError):
        ask()


# One shape for an unknown key and for everything that does not authenticate; the client then
# verifies again and sends once more, which is safe, because nothing was processed.
UNOPENED = ("KeyConfigError", "ohttp-key"), [400, 400]
NOT_GRANTED = ("Refused", "grant_refused"), [403]
REQUEST_BYTES = {
    0: UNOPENED,  # key id
    1: UNOPENED,  # KEM
    2: UNOPENED,
    **dict.fromkeys(range(3, HEADER), NOT_GRANTED),  # the grant names the digest of all this
    HEADER: NOT_GRANTED,
    HEADER + ENCAPSULATED - 1: NOT_GRANTED,
    HEADER + ENCAPSULATED + 20: UNOPENED,
    -1: UNOPENED,
}


def why(ask, *arguments):
    """The class and code of what the client raised."""
    try:
        ask(*arguments)
    except (Refused, ConfideError) as error:
        return type(error).__name__, error.code
    return None


@pytest.mark.parametrize(("position", "expected"), REQUEST_BYTES.items())
def test_a_changed_request_is_refused_before_processing(road, position, expected):
    relay, ask = road
    relay.on_request = lambda sealed: flip(sealed, position)
    assert (why(ask), relay.statuses) == expected


def request_frames(sealed: bytes) -> tuple[bytes, list[tuple[bytes, bool]]]:
    prefix, rest = sealed[: HEADER + ENCAPSULATED], sealed[HEADER + ENCAPSULATED :]
    return prefix, frames(bytes(NONCE) + rest)


@pytest.mark.parametrize("change", [drop_first, drop_middle, swap, duplicate, flip_middle])
def test_a_request_with_changed_chunks_is_refused(road, change):
    relay, ask = road

    def tamper(sealed):
        prefix, parts = request_frames(sealed)
        assert len(parts) > 4
        return joined(prefix, change(parts, None))

    relay.on_request = tamper
    assert (why(ask, "echo", "x" * 100_000), relay.statuses) == UNOPENED


def test_a_request_without_its_final_chunk_is_refused(road):
    relay, ask = road

    def tamper(sealed):
        prefix, parts = request_frames(sealed)
        return joined(prefix, parts[:-1])

    relay.on_request = tamper
    assert (why(ask, "echo", "x" * 100_000), relay.statuses) == UNOPENED


@pytest.mark.parametrize("part", [0.3, 0.9, 0.9999])
def test_a_request_cut_anywhere_is_refused(road, part):
    relay, ask = road
    relay.on_request = lambda sealed: sealed[: int(len(sealed) * part)]
    assert (why(ask, "echo", "x" * 100_000), relay.statuses) == UNOPENED


@pytest.mark.parametrize("size", [1, 4_096, 16_384, 16_385])
def test_requests_and_answers_of_every_chunk_size_arrive(road, size):
    _, ask = road
    assert b"y" * size in ask("echo", "y" * size)


def test_a_request_returned_as_its_answer_does_not_authenticate(road):
    relay, ask = road
    sent = []
    relay.on_request = lambda sealed: sent.append(sealed) or sealed
    relay.on_answer = lambda _: bytes(NONCE) + sent[-1][HEADER + ENCAPSULATED :]
    with pytest.raises(SealingError):
        ask()


def test_a_captured_request_sent_again_is_refused(road):
    relay, ask = road
    ask("echo")
    headers, body = relay.seen[-1]
    status, answer = relay.replay(headers, body)
    assert 400 <= status < 500
    assert json.loads(answer)["type"].startswith("https://")
    assert b"word" not in answer


def test_plaintext_in_place_of_the_answer_is_never_model_output(road):
    relay, ask = road
    forged = json.dumps({"choices": [{"message": {"content": "forged"}}]}).encode()
    relay.on_answer = lambda _: forged
    with pytest.raises(SealingError):
        ask("echo")


def test_through_the_proxy_a_changed_stream_is_an_error_and_never_a_normal_end(tampered):
    stack, relay = tampered
    relay.reset()
    relay.on_answer = lambda sealed: joined(sealed[:NONCE], drop_middle(frames(sealed), None))
    received, told = "", None
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="x", max_retries=0) as client:
        try:
            for event in client.chat.completions.create(
                model="paced", stream=True, messages=[{"role": "user", "content": WORDS}]
            ):
                received += event.choices[0].delta.content or "" if event.choices else ""
        except (APIError, httpx2.HTTPError) as error:
            told = error
    assert told is not None
    assert "word59" not in received
