"""An envelope has one meaning, and its signature is over the kind of bytes as well."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attest.releases.publisher import ALICE, BOB, keys_file

from confide.attest.releases.dsse import MAX_ENVELOPE, MAX_PAYLOAD, Envelope, pae
from confide.errors import AttestationError, EvidenceError

RAW = keys_file()


def changed(**members):
    return json.dumps(json.loads(RAW) | members).encode()


def refused(raw):
    with pytest.raises(EvidenceError) as caught:
        Envelope.parse(raw)
    return caught.value.code


def test_what_is_signed_is_what_the_specification_says():
    # secure-systems-lab/dsse, protocol.md, "Test vectors".
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_no_boundary_between_kind_and_content_can_move():
    assert pae("a", b"b 1 c") != pae("a 5 b", b"c")


def test_an_envelope_is_read_as_written():
    envelope = Envelope.parse(RAW)
    assert Envelope.parse(envelope.encode()) == envelope
    assert [one.key_id for one in envelope.signatures] == [ALICE.public.id, BOB.public.id]


def test_signing_again_replaces_the_signature_of_that_key():
    envelope = Envelope.parse(RAW)
    assert len(ALICE.sign(envelope).signatures) == len(envelope.signatures)


@pytest.mark.parametrize(
    "members",
    [
        {"payload": "*"},
        {"payload": "YQ"},
        {"payload": "YR=="},
        {"payload": "YQ==\n"},
        {"payload": 1},
        {"payloadType": None},
        {"payloadType": "x" * 129},
        {"signatures": {}},
        {"signatures": [1]},
        {"signatures": [{"keyid": "a"}]},
        {"signatures": [{"keyid": "a", "sig": "YQ==", "cert": ""}]},
        {"signatures": [{"keyid": "a", "sig": "YQ=="}] * 2},
        {"signatures": [{"keyid": str(n), "sig": "YQ=="} for n in range(17)]},
        {"signatures": [{"keyid": "a", "sig": base64.b64encode(bytes(8193)).decode()}]},
        {"extra": 1},
    ],
)
def test_what_is_not_exactly_an_envelope_is_refused(members):
    assert refused(changed(**members)).startswith("envelope.")


def test_a_huge_envelope_is_refused_before_it_is_parsed():
    assert refused(b"x" * (MAX_ENVELOPE + 1)) == "envelope.size"
    assert refused(changed(payload="A" * (2 * MAX_PAYLOAD))) == "envelope.size"


def test_an_envelope_cut_at_any_byte_is_refused():
    for length in range(0, len(RAW.rstrip()), 7):
        refused(RAW[:length])


@given(st.binary(max_size=300))
def test_only_refusals_escape(raw):
    with pytest.raises(AttestationError):
        Envelope.parse(raw)
