"""Whatever the gateway does to an exchange, the end that reads it notices."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from confide.crypto.xwing import PrivateKey
from confide.errors import OpenError, SealingError, StreamTruncated
from confide.sealing.exchange import (
    InnerRequest,
    RequestOpener,
    ResponseBody,
    ResponseEnd,
    seal_request,
)
from confide.sealing.padding import PaddingProfile
from confide.wire.frames import FrameReader, encode_frame
from confide.wire.key_config import KeyConfig
from confide.wire.suites import KEM_XWING

KEY = PrivateKey.generate()
CONFIG = KeyConfig(7, KEM_XWING, KEY.public_key, ((1, 2),))
EVENTS = ((b"content-type", b"text/event-stream"),)
NONCE = 32
OFF = PaddingProfile("off")
SIZES = [1, 4096, 16384, 16385]


class Answer:
    """One answer as the gateway sees it, and a fresh opener for each try."""

    def __init__(self, sizes, profile=OFF):
        request = InnerRequest("POST", "https", "confide.invalid", "/v1/x")
        sealed, self.opener = seal_request(CONFIG, request, pad_to=profile.pad_request)
        intake = RequestOpener(lambda _: KEY, profile=profile)
        self.request = b"".join(sealed.chunks())
        intake.feed(self.request)
        _, sealer = intake.finish()
        self.parts = [bytes((n % 251,)) * size for n, size in enumerate(sizes)]
        stream = sealer.head(200, EVENTS, streamed=True)
        for part in self.parts:
            stream += sealer.body(part)
        self.stream = stream + sealer.end(((b"confide-usage", b"a.b"),))
        self.secret = self.opener._secret
        self.nonce = self.stream[:NONCE]
        reader = FrameReader()
        self.frames = [*reader.feed(self.stream[NONCE:]), reader.finish()]

    def open(self, stream, cuts=()):
        # An opener is used once; give each try its own state over the same keys.
        opener = object.__new__(type(self.opener))
        opener.__init__(_Exporter(self), self.opener._enc)
        content, at, ended = b"", 0, False
        for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
            for event in opener.feed(stream[at:end]):
                content += event.content if isinstance(event, ResponseBody) else b""
            at = end
        for event in opener.finish():
            content += event.content if isinstance(event, ResponseBody) else b""
            ended = isinstance(event, ResponseEnd)
        assert ended
        return content

    def join(self, frames):
        return self.nonce + b"".join(encode_frame(*frame) for frame in frames)


class _Exporter:
    """Stands for the sender's context, whose exported secret is already known."""

    def __init__(self, answer):
        self.suite = answer.opener._suite
        self._secret = answer.secret

    def export(self, context, length):
        return self._secret


@pytest.fixture(scope="module")
def answer():
    return Answer(SIZES)


@pytest.fixture(scope="module")
def other():
    return Answer(SIZES)


def test_what_was_not_changed_arrives(answer):
    assert answer.open(answer.join(answer.frames)) == b"".join(answer.parts)


def drop_first(frames, other):
    return frames[1:]


def drop_middle(frames, other):
    return frames[:2] + frames[3:]


def drop_final(frames, other):
    return frames[:-1]


def swap(frames, other):
    return [frames[0], frames[2], frames[1], *frames[3:]]


def duplicate(frames, other):
    return [*frames[:2], frames[1], *frames[2:]]


def splice(frames, other):
    return [*frames[:2], other[2], *frames[3:]]


def relabel_final(frames, other):
    return [*frames[:2], frames[2]._replace(final=True)]


def flip(frames, other):
    changed = bytearray(frames[1].ciphertext)
    changed[len(changed) // 2] ^= 1
    return [frames[0], frames[1]._replace(ciphertext=bytes(changed)), *frames[2:]]


def relabel_final_as_not_final(frames, other):
    return [*frames[:-1], frames[-1]._replace(final=False)]


@pytest.mark.parametrize(
    "tamper",
    [
        drop_first,
        drop_middle,
        drop_final,
        swap,
        duplicate,
        splice,
        relabel_final,
        flip,
        relabel_final_as_not_final,
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_a_stream_the_gateway_changed_does_not_pass_for_whole(answer, other, tamper):
    stream = answer.join(tamper(answer.frames, other.frames))
    with pytest.raises(SealingError):
        answer.open(stream)


def test_a_chunk_cut_in_two_does_not_open(answer):
    whole = answer.frames[2].ciphertext
    halves = [encode_frame(whole[:2000]), encode_frame(whole[2000:])]
    stream = answer.join(answer.frames[:2]) + b"".join(halves) + answer.join(answer.frames[3:])[32:]
    with pytest.raises(OpenError):
        answer.open(stream)


def test_a_stream_without_its_final_chunk_is_truncated_and_not_a_failure_to_open(answer):
    with pytest.raises(StreamTruncated):
        answer.open(answer.join(answer.frames[:-1]))


def test_request_bytes_that_come_back_as_an_answer_do_not_open(answer):
    for reflected in (
        answer.request,
        answer.request[7 + 1120 :],
        answer.nonce + answer.request[1127:],
    ):
        with pytest.raises(SealingError):
            answer.open(reflected)


def test_the_answer_of_another_exchange_does_not_open(answer, other):
    for stream in (
        other.stream,
        answer.nonce + other.stream[NONCE:],
        other.nonce + answer.stream[32:],
    ):
        with pytest.raises(OpenError):
            answer.open(stream)


@pytest.mark.parametrize("sizes", [[1], [3, 40]])
def test_truncation_at_every_byte_of_a_small_answer_is_noticed(sizes):
    small = Answer(sizes)
    for end in range(len(small.stream)):
        with pytest.raises((StreamTruncated, OpenError)):
            small.open(small.stream[:end])


@pytest.mark.parametrize("size", SIZES[1:])
def test_truncation_of_a_long_answer_is_noticed_at_its_seams_and_between(size):
    long = Answer([size])
    assert len(long.parts[0]) == size
    ends, at = {0, 1, NONCE - 1, NONCE, *range(NONCE, len(long.stream), 509)}, NONCE
    for frame in long.frames:
        at += len(encode_frame(*frame))
        ends.update(range(at - 2, at + 3))
    assert at == len(long.stream)
    for end in ends - set(range(len(long.stream), at + 3)):
        with pytest.raises((StreamTruncated, OpenError)):
            long.open(long.stream[:end])


slow = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(st.data())
def test_truncation_anywhere_is_noticed(answer, data):
    end = data.draw(st.integers(0, len(answer.stream) - 1))
    with pytest.raises((StreamTruncated, OpenError)):
        answer.open(answer.stream[:end])


@slow
@given(st.data())
def test_any_changed_byte_is_noticed(answer, data):
    changed = bytearray(answer.stream)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealingError):
        answer.open(bytes(changed))


@slow
@given(st.binary(min_size=1, max_size=40))
def test_bytes_after_the_end_are_noticed(answer, more):
    with pytest.raises(SealingError):
        answer.open(answer.stream + more)


@slow
@given(st.lists(st.integers(0, 100_000), max_size=20))
def test_how_the_bytes_arrive_changes_nothing(answer, cuts):
    assert answer.open(answer.stream, cuts) == b"".join(answer.parts)


texts = st.binary(max_size=300) | st.sampled_from(
    [b":confide-pad ", b":confide-pad 000\n", b":confide-pad", b":", b"data: x\n\n"]
)


@slow
@example([b":confide-pad real\n\n"], "bucket", [], False)
@given(
    st.lists(texts, max_size=6),
    st.sampled_from(["off", "bucket", "constant"]),
    st.lists(st.integers(0, 20_000), max_size=12),
    st.booleans(),
)
def test_padding_never_shows_and_never_takes_content_with_it(parts, name, cuts, streamed):
    profile = PaddingProfile(name)
    request = InnerRequest("POST", "https", "confide.invalid", "/v1/x")
    sealed, opener = seal_request(CONFIG, request, pad_to=profile.pad_request)
    intake = RequestOpener(lambda _: KEY, profile=profile)
    intake.feed(b"".join(sealed.chunks()))
    _, sealer = intake.finish()
    stream = sealer.head(200, EVENTS, streamed=streamed)
    stream += b"".join(sealer.body(part) for part in parts) + sealer.end()
    content, at = b"", 0
    events = []
    for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        events += opener.feed(stream[at:end])
        at = end
    events += opener.finish()
    content = b"".join(event.content for event in events if isinstance(event, ResponseBody))
    assert content == b"".join(parts)


@slow
@given(st.data())
def test_any_changed_byte_of_a_request_is_noticed(answer, data):
    changed = bytearray(answer.request)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    intake = RequestOpener(lambda _: KEY)
    with pytest.raises(SealingError):
        (intake.feed(bytes(changed)), intake.finish())


@pytest.mark.parametrize("place", range(7))
def test_every_bit_of_the_header_is_authenticated(answer, place):
    for bit in range(8):
        changed = bytearray(answer.request)
        changed[place] ^= 1 << bit
        intake = RequestOpener(lambda _: KEY)
        with pytest.raises(SealingError):
            (intake.feed(bytes(changed)), intake.finish())
