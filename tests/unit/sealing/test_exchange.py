"""One sealed exchange: what the handler wrote arrives, or an error of ours does."""

import os

import pytest

from confide.crypto import dhkem, xwing
from confide.crypto.xwing import PrivateKey
from confide.errors import (
    KeyConfigError,
    OpenError,
    SealingError,
    StreamClosed,
    StreamError,
    StreamTruncated,
)
from confide.sealing.exchange import (
    InnerRequest,
    RequestOpener,
    ResponseBody,
    ResponseEnd,
    ResponseHead,
    check_key_config,
    seal_request,
)
from confide.sealing.padding import PaddingProfile
from confide.wire.envelope import envelope_digest
from confide.wire.frames import FrameReader, encode_frame
from confide.wire.key_config import KeyConfig
from confide.wire.suites import KEM_X25519, KEM_XWING

KEY = PrivateKey.generate()
CONFIG = KeyConfig(7, KEM_XWING, KEY.public_key, ((1, 2),))
OFF = PaddingProfile("off")
EVENTS = ((b"content-type", b"text/event-stream"),)
JSON = ((b"content-type", b"application/json"),)
USAGE = ((b"confide-usage", b"a.b"),)


def request_of(body=b"{}"):
    return InnerRequest("POST", "https", "confide.invalid", "/v1/chat/completions", JSON, body)


def opener_of(profile=OFF, **limits):
    return RequestOpener(lambda key_id: KEY if key_id == 7 else None, profile=profile, **limits)


def exchange(request, profile=OFF, **limits):
    sealed, answer = seal_request(CONFIG, request, pad_to=profile.pad_request)
    opener = opener_of(profile, **limits)
    for piece in sealed.chunks():
        opener.feed(piece)
    return *opener.finish(), answer


def received(answer, *pieces):
    events = [event for piece in pieces for event in answer.feed(piece)]
    return events + answer.finish()


def opened(opener, *pieces):
    for piece in pieces:
        opener.feed(piece)
    return opener.finish()


def content_of(events):
    return b"".join(event.content for event in events if isinstance(event, ResponseBody))


@pytest.mark.parametrize("length", [0, 1, 4096, 16384, 16385, 50_000])
@pytest.mark.parametrize("name", ["off", "bucket", "constant"])
def test_a_request_of_any_size_arrives(length, name):
    profile = PaddingProfile(name)
    request = request_of(bytes(length))
    sealed, _ = seal_request(CONFIG, request, pad_to=profile.pad_request)
    pieces = list(sealed.chunks())
    assert sum(map(len, pieces)) == sealed.length
    opener = opener_of(profile)
    for piece in pieces:
        opener.feed(piece)
    assert opener.finish()[0] == request


@pytest.mark.parametrize(("body", "padded"), [(0, 4096), (3000, 4096), (4096, 8192)])
def test_requests_of_different_sizes_look_the_same(body, padded):
    sealed, _ = seal_request(CONFIG, request_of(bytes(body)), pad_to=PaddingProfile().pad_request)
    assert sealed.length == 7 + 1120 + 1 + padded + 16


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_a_request_arrives_in_any_pieces(step):
    request = request_of(b"x" * 20_000 if step > 1 else b"x")
    sealed, _ = seal_request(CONFIG, request, pad_to=OFF.pad_request)
    stream, opener = b"".join(sealed.chunks()), opener_of()
    for at in range(0, len(stream), step):
        opener.feed(stream[at : at + step])
    assert opener.finish()[0] == request


@pytest.mark.parametrize("length", [1, 4096, 16_384, 16_385, 70_000])
@pytest.mark.parametrize("name", ["off", "bucket", "constant"])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("headers", [EVENTS, JSON], ids=["events", "json"])
def test_an_answer_of_any_size_arrives_byte_for_byte(length, name, streamed, headers):
    profile = PaddingProfile(name)
    _, sealer, answer = exchange(request_of(), profile)
    body = (b"data: x\n\n" * length)[:length]
    events = received(
        answer,
        sealer.head(200, headers, streamed=streamed),
        sealer.body(body),
        sealer.body(b""),
        sealer.body(body[:5]),
        sealer.end(USAGE),
    )
    assert events[0] == ResponseHead(200, headers)
    assert content_of(events) == body + body[:5]
    assert events[-1] == ResponseEnd(USAGE)


def test_content_that_looks_like_padding_arrives_too():
    _, sealer, answer = exchange(request_of(), PaddingProfile())
    real = b":confide-pad is what I say\n\n"
    sent = [sealer.head(200, EVENTS, streamed=True), sealer.body(real), sealer.end()]
    assert content_of(received(answer, *sent)) == real


def plaintext_lengths(stream, first=32):
    reader = FrameReader()
    frames = [*reader.feed(stream[first:]), reader.finish()]
    return [len(frame.ciphertext) - 16 for frame in frames]


@pytest.mark.parametrize(("name", "multiple"), [("bucket", 256), ("constant", 1024)])
def test_every_chunk_of_a_padded_stream_fills_its_bucket(name, multiple):
    _, sealer, _ = exchange(request_of(), PaddingProfile(name))
    sent = sealer.head(200, EVENTS, streamed=True)
    for size in (1, 100, 241, 255, 256, 400, 20_000):
        sent += sealer.body(b"d" * size)
    lengths = plaintext_lengths(sent + sealer.end(USAGE))
    assert all(length % multiple == 0 for length in lengths[:-1])
    assert sum(lengths) & (sum(lengths) - 1) == 0


@pytest.mark.parametrize("size", [1, 900, 5000, 100_000])
def test_the_total_of_a_gathered_answer_is_a_power_of_two(size):
    _, sealer, _ = exchange(request_of(), PaddingProfile())
    sent = sealer.head(200, JSON, streamed=False) + sealer.body(bytes(size)) + sealer.end(USAGE)
    lengths = plaintext_lengths(sent)
    assert sum(lengths) & (sum(lengths) - 1) == 0
    assert all(length == 16_384 for length in lengths[:-1])


def test_two_answers_that_differ_in_length_look_the_same():
    sizes = set()
    for text in (b"yes", b"a much longer answer than yes"):
        _, sealer, _ = exchange(request_of(), PaddingProfile())
        sent = sealer.head(200, JSON, streamed=False) + sealer.body(text) + sealer.end()
        sizes.add(len(sent))
    assert len(sizes) == 1


def test_ticks_of_a_padded_stream_carry_padding_only():
    _, sealer, answer = exchange(request_of(), PaddingProfile("constant"))
    head = sealer.head(200, EVENTS, streamed=True)
    tick = sealer.body(b"")
    assert len(tick) > 1024
    assert content_of(received(answer, head, tick, sealer.end())) == b""


def test_the_digest_and_the_encapsulated_key_are_known_on_both_sides():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    stream, opener = b"".join(sealed.chunks()), opener_of()
    opener.feed(stream[:1126])
    assert opener.encapsulated_key is None
    assert opener.envelope_digest is None
    opener.feed(stream[1126:])
    assert opener.encapsulated_key == stream[7:1127]
    assert opener.envelope_digest == sealed.envelope_digest == envelope_digest(stream)


def test_an_unknown_key_is_refused_as_soon_as_the_header_is_there():
    opener = opener_of()
    opener.feed(bytes.fromhex("08647a000100"))
    with pytest.raises(KeyConfigError):
        opener.feed(b"\x02")


@pytest.mark.parametrize("header", ["07002000010002", "07647a00030002", "07647a00010003"])
def test_another_suite_is_refused_as_soon_as_the_header_is_there(header):
    with pytest.raises(KeyConfigError):
        opener_of().feed(bytes.fromhex(header))


def test_a_suite_the_enclave_allows_but_the_key_is_not_of_is_refused():
    suite = KeyConfig(7, KEM_X25519, bytes(32), ((1, 2),)).suite(1, 2)
    with pytest.raises(KeyConfigError):
        opener_of(suites=(suite,)).feed(bytes.fromhex("07002000010002"))


def test_a_low_order_share_is_an_open_error():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    stream = b"".join(sealed.chunks())
    with pytest.raises(OpenError):
        opener_of().feed(stream[: 7 + 1088] + bytes(32) + stream[1127:])


def test_every_byte_of_the_header_and_some_of_the_key_are_authenticated():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    stream = b"".join(sealed.chunks())
    for place in [*range(7), 7, 500, 1094, 1095, 1126]:
        changed = bytearray(stream)
        changed[place] ^= 0x10
        opener = RequestOpener(lambda _: KEY)  # whatever key id is named
        with pytest.raises((OpenError, KeyConfigError)):
            opened(opener, bytes(changed))


def test_a_request_is_not_a_response():
    sealed, answer = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    stream = b"".join(sealed.chunks())
    with pytest.raises(SealingError):
        received(answer, stream)
    again, answer = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    with pytest.raises(SealingError):
        received(answer, b"".join(again.chunks())[1127:])


def test_the_answer_to_another_request_does_not_open():
    _, sealer, _ = exchange(request_of())
    _, _, answer = exchange(request_of())
    with pytest.raises(OpenError):
        answer.feed(sealer.head(200, JSON, streamed=True))


def test_a_failed_opener_stays_failed():
    _, sealer, answer = exchange(request_of())
    head, end = sealer.head(200, JSON, streamed=True), sealer.end()
    with pytest.raises(OpenError):
        answer.feed(head[:-1] + bytes((head[-1] ^ 1,)))
    for again in (lambda: answer.feed(end), answer.finish):
        with pytest.raises(OpenError):
            again()
    sealed, _ = seal_request(CONFIG, request_of(bytes(20_000)), pad_to=OFF.pad_request)
    first, last = sealed.chunks()
    opener = opener_of()
    with pytest.raises(OpenError):
        opener.feed(first[:-1] + bytes((first[-1] ^ 1,)))
    for again in (lambda: opener.feed(last), opener.finish):
        with pytest.raises(OpenError):
            again()


def test_a_request_without_its_final_chunk_is_truncated():
    sealed, _ = seal_request(CONFIG, request_of(bytes(20_000)), pad_to=OFF.pad_request)
    first, _last = sealed.chunks()
    for cut in (b"", first[:3], first[:1127], first):
        opener = opener_of()
        opener.feed(cut)
        with pytest.raises(StreamTruncated):
            opener.finish()


def test_an_answer_that_ends_early_is_truncated_at_every_byte():
    _, sealer, answer = exchange(request_of())
    stream = sealer.head(200, EVENTS, streamed=True) + sealer.body(b"x") + sealer.end(USAGE)
    for end in range(len(stream)):
        sealed, opener = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
        del sealed
        # The same keys for each try: only the number of bytes differs.
        opener._secret, opener._enc = answer._secret, answer._enc
        with pytest.raises((StreamTruncated, OpenError)):
            received(opener, stream[:end])


def test_an_answer_whose_message_is_incomplete_is_truncated():
    _, sealer, answer = exchange(request_of())
    stream = sealer.head(200, EVENTS, streamed=True) + sealer.body(b"x")
    final = encode_frame(sealer._chunks.seal(b"\x05ab", final=True), final=True)
    with pytest.raises(StreamTruncated):
        received(answer, stream, final)


def test_a_finished_opener_is_closed():
    _, sealer, answer = exchange(request_of())
    received(answer, sealer.head(204, (), streamed=False), sealer.end())
    for again in (lambda: answer.feed(b""), answer.finish):
        with pytest.raises(StreamClosed):
            again()


def test_a_sealer_is_used_in_order_and_once():
    _, sealer, _ = exchange(request_of())
    for early in (lambda: sealer.body(b"x"), sealer.end):
        with pytest.raises(StreamClosed):
            early()
    sealer.head(200, JSON, streamed=False)
    with pytest.raises(StreamClosed):
        sealer.head(200, JSON, streamed=False)
    sealer.end()
    for late in (lambda: sealer.body(b"x"), sealer.end):
        with pytest.raises(StreamClosed):
            late()


def test_a_header_that_is_not_allowed_does_not_use_up_the_sealer():
    _, sealer, answer = exchange(request_of())
    with pytest.raises(SealingError):
        sealer.head(200, ((b"a", b"x\r\n"),), streamed=False)
    events = received(answer, sealer.head(500, (), streamed=False), sealer.end())
    assert events[0].status == 500


def test_a_sealed_request_is_sent_once():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    sealed.chunks()
    with pytest.raises(StreamClosed):
        sealed.chunks()


def test_an_opened_request_is_answered_once():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    opener = opener_of()
    for piece in sealed.chunks():
        opener.feed(piece)
    with pytest.raises(StreamClosed):
        opener.response_sealer()  # the final chunk has not opened yet
    opener.finish()
    for again in (opener.finish, opener.response_sealer):
        with pytest.raises(StreamClosed):
            again()


def test_a_body_over_the_limit_is_refused_before_it_is_kept():
    sealed, _ = seal_request(CONFIG, request_of(bytes(600_000)), pad_to=OFF.pad_request)
    opener = opener_of(max_body=1000, max_fields=1000)
    stream = b"".join(sealed.chunks())
    with pytest.raises(SealingError) as caught:
        opener.feed(stream)  # and not only at the end
    assert caught.value.code == "too-large"
    assert len(opener._opened) == 0


def test_a_body_over_the_exact_limit_is_refused_and_can_be_answered_inside_the_seal():
    sealed, answer = seal_request(CONFIG, request_of(bytes(1001)), pad_to=OFF.pad_request)
    opener = opener_of(max_body=1000)
    for piece in sealed.chunks():
        opener.feed(piece)
    with pytest.raises(SealingError) as caught:
        opener.finish()
    assert caught.value.code == "too-large"
    sealer = opener.response_sealer()
    events = received(answer, sealer.head(413, JSON, streamed=False), sealer.end())
    assert events[0].status == 413


def test_a_request_that_did_not_open_cannot_be_answered():
    sealed, _ = seal_request(CONFIG, request_of(), pad_to=OFF.pad_request)
    stream = b"".join(sealed.chunks())
    opener = opener_of()
    opener.feed(stream[:-1])
    with pytest.raises((OpenError, StreamError)):
        opener.finish()
    with pytest.raises(StreamClosed):
        opener.response_sealer()


def test_nonces_of_two_answers_differ():
    nonces = set()
    for _ in range(2):
        _, sealer, _ = exchange(request_of())
        nonces.add(sealer.head(200, (), streamed=False)[:32])
    assert len(nonces) == 2


def test_only_a_key_with_our_suite_and_a_good_public_key_passes_the_check():
    check_key_config(CONFIG)
    classical = dhkem.PrivateKey.generate()
    weak = KEY.public_key[:1184] + bytes(32)
    for config in (
        KeyConfig(1, KEM_X25519, classical.public_key, ((1, 2),)),
        KeyConfig(1, KEM_XWING, KEY.public_key, ((1, 3),)),
        KeyConfig(1, KEM_XWING, weak, ((1, 2),)),
        KeyConfig(1, KEM_XWING, bytes(xwing.PUBLIC_KEY_LENGTH), ((1, 2),)),
    ):
        with pytest.raises(KeyConfigError):
            check_key_config(config)
        with pytest.raises(KeyConfigError):
            seal_request(config, request_of(), pad_to=OFF.pad_request)


@pytest.mark.parametrize("filler", [b"a", None], ids=["all-equal", "random"])
def test_nothing_is_compressed_before_it_is_sealed(filler):
    body = os.urandom(50_000) if filler is None else filler * 50_000
    sealed, answer = seal_request(CONFIG, request_of(body), pad_to=OFF.pad_request)
    opener = opener_of()
    opener.feed(sealed.content())
    _, sealer = opener.finish()
    stream = sealer.head(200, JSON, streamed=False) + sealer.body(body) + sealer.end()
    assert content_of(received(answer, stream)) == body
    assert sealed.length > len(body)
    assert len(stream) > len(body)
