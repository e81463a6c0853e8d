"""The clear prefix is read exactly, and its digest ignores what follows."""

import hashlib

import pytest

from confide.errors import KeyConfigError, StreamError
from confide.wire.envelope import HEADER_LENGTH, RequestHeader, envelope_digest, prefix_length
from confide.wire.suites import XWING_SUITE

HEADER = RequestHeader(9, 0x647A, 1, 2)


def test_the_header_is_seven_bytes_in_the_order_of_rfc_9458():
    assert HEADER.encode() == bytes.fromhex("09647a00010002")
    assert RequestHeader.parse(HEADER.encode()) == HEADER
    assert HEADER.suite() == XWING_SUITE


@pytest.mark.parametrize("length", [0, 6, 8])
def test_a_header_of_another_length_is_refused(length):
    with pytest.raises(StreamError):
        RequestHeader.parse(bytes(length))


def test_the_prefix_ends_after_the_encapsulated_key():
    assert prefix_length(HEADER) == HEADER_LENGTH + 1120


def test_an_unknown_kem_has_no_prefix():
    with pytest.raises(KeyConfigError):
        prefix_length(RequestHeader(9, 1, 1, 1))


def test_the_digest_covers_header_and_encapsulated_key_only():
    prefix = HEADER.encode() + bytes(1120)
    assert envelope_digest(prefix) == hashlib.sha256(prefix).digest()
    assert envelope_digest(prefix + b"chunks") == envelope_digest(prefix)
    assert envelope_digest(memoryview(prefix + b"chunks")) == envelope_digest(prefix)


@pytest.mark.parametrize("length", [0, 6, 7, 1126])
def test_a_prefix_cut_short_has_no_digest(length):
    with pytest.raises(StreamError):
        envelope_digest((HEADER.encode() + bytes(1120))[:length])
