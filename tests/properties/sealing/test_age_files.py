"""Any bytes at all end in a text or in one of our errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.errors import AgeFileError, NoMatchingIdentity
from confide.sealing import age
from confide.sealing.age import armor, bech32
from confide.sealing.age.header import Header

IDENTITY = age.HybridIdentity.generate()
CLASSICAL = age.X25519Identity.generate()
TEXT = bytes(range(200))
FILES = {
    form: age.encrypt(TEXT, [IDENTITY.recipient], armored=form == "text")
    for form in ("binary", "text")
}


@given(st.binary(max_size=200_000), st.booleans())
def test_every_text_comes_back(plaintext, armored):
    file = age.encrypt(plaintext, [CLASSICAL.recipient], armored=armored)
    assert age.decrypt(file, [CLASSICAL]) == plaintext


@given(st.data(), st.sampled_from(["binary", "text"]))
def test_no_changed_byte_goes_unnoticed(data, form):
    file = FILES[form]
    at = data.draw(st.integers(0, len(file) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != file[at]))
    changed = file[:at] + bytes((value,)) + file[at + 1 :]
    try:
        opened = age.decrypt(changed, [IDENTITY])
    except (AgeFileError, NoMatchingIdentity):
        return
    # White space around the text form, and its line ends, carry nothing.
    assert form == "text"
    assert armor.unwrap(changed) == armor.unwrap(file)
    assert opened == TEXT


@given(st.data())
def test_no_cut_goes_unnoticed(data):
    end = data.draw(st.integers(0, len(FILES["binary"]) - 1))
    with pytest.raises((AgeFileError, NoMatchingIdentity)):
        age.decrypt(FILES["binary"][:end], [IDENTITY])


@given(st.binary(max_size=2000), st.sampled_from([b"", b"age-encryption.org/v1\n-> a", b"-----BE"]))
def test_any_bytes_are_refused_with_our_errors(tail, start):
    with pytest.raises((AgeFileError, NoMatchingIdentity)):
        age.decrypt(start + tail, [IDENTITY, CLASSICAL])


LINES = st.sampled_from(
    [
        b"-> X25519 AAAA",
        b"-> mlkem768x25519 AAAA",
        b"",
        b"A" * 64,
        b"AAAA",
        b"->",
        b"-> a b",
        b"---",
    ]
)


@given(st.lists(LINES, max_size=12))
def test_any_mixture_of_lines_is_read_exactly_or_refused(lines):
    data = b"\n".join((b"age-encryption.org/v1", *lines, b"--- " + b"A" * 43, b""))
    try:
        header = Header.parse(data)
    except AgeFileError:
        return
    assert Header.cover(header.stanzas) == header.covered


@given(st.binary(max_size=300), st.sampled_from(["age", "age1pq", "age-secret-key-pq-"]))
def test_bech32_gives_back_what_it_got(data, prefix):
    text = bech32.encode(prefix, data)
    assert bech32.decode(text) == bech32.decode(text.upper()) == (prefix, data)


@given(st.data())
def test_one_mistyped_letter_is_noticed(data):
    text = bech32.encode("age", bytes(range(32)))
    at = data.draw(st.integers(4, len(text) - 1))
    letter = data.draw(st.sampled_from(bech32._ALPHABET).filter(lambda letter: letter != text[at]))
    with pytest.raises(AgeFileError):
        bech32.decode(text[:at] + letter + text[at + 1 :])


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_refused(text):
    for parse in (age.parse_recipient, age.parse_identity, age.parse_identities):
        with pytest.raises(AgeFileError):
            parse(text)
