"""age files: the vectors of the age project, and what is refused when writing one."""

import base64
import hashlib
import zlib
from pathlib import Path

import pytest

from confide.errors import AgeFileError, NoMatchingIdentity
from confide.sealing import age
from confide.sealing.age import armor, bech32
from confide.sealing.age.header import MAX_HEADER, MAX_STANZAS, Header

VECTORS = sorted(Path("tests/vectors/crypto/age_cctv_hybrid").iterdir())
IDENTITY = age.HybridIdentity.generate()
OTHER = age.HybridIdentity.generate()
CLASSICAL = age.X25519Identity.generate()


def read_vector(path):
    """Return expectation, SHA-256 of the payload, identities and file (the CCTV format)."""
    head, _, file = path.read_bytes().partition(b"\n\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\n")]
    names = dict(lines)
    if names.get("compressed") == "zlib":
        file = zlib.decompress(file)
    identities = [age.parse_identity(value) for name, value in lines if name == "identity"]
    return names["expect"], names.get("payload"), identities, file


def test_all_nineteen_vectors_are_there():
    assert len(VECTORS) == 19


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name)
def test_a_vector_of_the_age_project_ends_as_it_says(path):
    expected, digest, identities, file = read_vector(path)
    if expected == "success":
        assert hashlib.sha256(age.decrypt(file, identities)).hexdigest() == digest
        return
    with pytest.raises({"no match": NoMatchingIdentity, "header failure": AgeFileError}[expected]):
        age.decrypt(file, identities)


def test_each_of_two_recipients_opens_the_file_alone():
    file = age.encrypt(b"text", [IDENTITY.recipient, OTHER.recipient])
    assert age.decrypt(file, [IDENTITY]) == age.decrypt(file, [OTHER]) == b"text"
    assert age.count_recipients(file) == 2


def test_nobody_else_opens_it():
    file = age.encrypt(b"text", [IDENTITY.recipient])
    with pytest.raises(NoMatchingIdentity):
        age.decrypt(file, [OTHER, CLASSICAL])


@pytest.mark.parametrize(
    "recipients",
    [
        [],
        [IDENTITY.recipient, IDENTITY.recipient],
        [IDENTITY.recipient, CLASSICAL.recipient],
        [age.X25519Identity.generate().recipient for _ in range(MAX_STANZAS + 1)],
    ],
    ids=["none", "twice the same", "a mixture", "too many"],
)
def test_these_recipients_are_refused(recipients):
    with pytest.raises(AgeFileError):
        age.encrypt(b"text", recipients)


def test_two_files_of_one_text_have_nothing_in_common():
    first, second = (age.encrypt(bytes(64), [IDENTITY.recipient]) for _ in range(2))
    assert Header.parse(first).stanzas != Header.parse(second).stanzas
    assert first[-80:] != second[-80:]


def test_a_stanza_of_somebody_else_is_covered_by_the_mac():
    file = age.encrypt(b"text", [IDENTITY.recipient, OTHER.recipient])
    body = Header.parse(file).stanzas[1].body
    line = base64.b64encode(body).rstrip(b"=")
    swapped = base64.b64encode(bytes(32)).rstrip(b"=")
    with pytest.raises(AgeFileError):
        age.decrypt(file.replace(line, swapped), [IDENTITY])


@pytest.mark.parametrize("length", [65_536, 131_072])
def test_a_file_cut_after_a_whole_chunk_is_refused(length):
    file = age.encrypt(bytes(length + 1), [IDENTITY.recipient])
    with pytest.raises(AgeFileError):
        age.decrypt(file[:-17], [IDENTITY])


def test_an_empty_last_chunk_is_refused_unless_the_file_is_empty():
    """Otherwise one text would have two encodings (the age specification)."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from confide.sealing.age import file as module

    key = ChaCha20Poly1305(bytes(32))
    full = key.encrypt(module._chunk_nonce(0, False), bytes(65_536), None)
    empty = key.encrypt(module._chunk_nonce(1, True), b"", None)
    with pytest.raises(AgeFileError):
        b"".join(module._open(key, full + empty))
    alone = key.encrypt(module._chunk_nonce(0, True), b"", None)
    assert b"".join(module._open(key, alone)) == b""


def test_a_file_over_the_limit_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("confide.sealing.age.file.MAX_FILE", 100)
    with pytest.raises(AgeFileError):
        age.decrypt(age.encrypt(b"text", [IDENTITY.recipient]), [IDENTITY])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"age-encryption.org/v2\n-> a\n\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\r\n-> a\r\n\r\n--- " + b"A" * 43 + b"\r\n",
        b"age-encryption.org/v1\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\n\n--- " + b"A" * 42 + b"\n",
        b"age-encryption.org/v1\n-> a\n\n---" + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\n\n--- " + b"A" * 43,
        b"age-encryption.org/v1\n-> a\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> \n\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a  b\n\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\n" + b"A" * 64 + b"\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\n" + b"A" * 68 + b"\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\nAA==\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\nAB\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> \xc3\xa4\n\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n" + b"-> a\n\n" * (MAX_STANZAS + 1) + b"--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> a\n" + b"A" * MAX_HEADER,
    ],
)
def test_a_header_that_is_not_exact_is_refused(header):
    with pytest.raises(AgeFileError):
        Header.parse(header)


def test_a_header_is_written_as_it_is_read():
    file = age.encrypt(b"text", [IDENTITY.recipient, OTHER.recipient])
    header = Header.parse(file)
    assert Header.cover(header.stanzas) == header.covered


def test_the_text_form_opens_with_other_line_ends_and_white_space_around():
    text = age.encrypt(bytes(100), [IDENTITY.recipient], armored=True)
    assert age.decrypt(b" \n" + text.replace(b"\n", b"\r\n") + b"\n\t", [IDENTITY]) == bytes(100)


def armored(*lines):
    begin, end = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
    return b"\n".join((begin, *lines, end))


@pytest.mark.parametrize(
    "text",
    [
        armored(),
        armored(b"AAAA", b"AAAA"),
        armored(b"A" * 68),
        armored(b"A" * 64, b""),
        armored(b"AB=="),
        armored(b"A*AA"),
        armored(b"AAAA").removesuffix(b"FILE-----"),
        armored(b"AAAA") + b"\nmore",
    ],
)
def test_a_text_form_that_is_not_exact_is_refused(text):
    with pytest.raises(AgeFileError):
        armor.unwrap(text)


def test_the_bech32_vectors_of_bip_173_are_read():
    valid = [
        "A12UEL5L",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    ]
    for text in valid[:2]:
        assert bech32.decode(text)[1] == b""
    prefix, data = bech32.decode(valid[2])
    assert bech32.encode(prefix, data) == valid[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "pzry9x0s0muk",
        "1pzry9x0s0muk",
        "x1b4n0q5v",
        "li1dgmt3",
        "A1G7SGD8",
        "split1Checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3x",
        "age1" + "q" * 5000,
        "\x7f1g6xzxy",
        "ä1qqqqqqqq",
    ],
)
def test_what_is_not_bech32_is_refused(text):
    with pytest.raises(AgeFileError):
        bech32.decode(text)


@pytest.mark.parametrize("values", [[0], [0, 0, 0], [31, 29], [31, 31], [0] * 6])
def test_bech32_that_does_not_end_on_a_whole_byte_is_refused(values):
    residue = bech32._polymod([*bech32._expand("age"), *values, *[0] * 6]) ^ 1
    letters = values + [residue >> 5 * (5 - i) & 31 for i in range(6)]
    with pytest.raises(AgeFileError):
        bech32.decode("age1" + "".join(bech32._ALPHABET[letter] for letter in letters))


@pytest.mark.parametrize(
    "text",
    [
        IDENTITY.reveal(),
        bech32.encode("age", bytes(31)),
        bech32.encode("age", bytes(32)),
        bech32.encode("age1pq", bytes(1216)),
        bech32.encode("age1pq", b"\xff" * 1216),
        bech32.encode("age1pq", IDENTITY.recipient.public_key[:-1]),
        bech32.encode("age1tag", bytes(33)),
    ],
    ids=["an identity", "short", "zero point", "low order", "out of range", "cut", "other type"],
)
def test_these_are_no_recipients(text):
    with pytest.raises(AgeFileError) as caught:
        age.parse_recipient(text)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        str(IDENTITY.recipient),
        bech32.encode("age-secret-key-pq-", bytes(31)).upper(),
        bech32.encode("age-secret-key-", bytes(33)).upper(),
        IDENTITY.reveal()[:-1],
        IDENTITY.reveal()[:-1] + ("Q" if IDENTITY.reveal()[-1] != "Q" else "P"),
    ],
)
def test_these_are_no_identities_and_are_not_repeated(text):
    with pytest.raises(AgeFileError) as caught:
        age.parse_identity(text)
    assert text not in str(caught.value)


def test_an_identity_file_has_comments_and_empty_lines():
    text = f"# created: today\n\n  {IDENTITY.reveal()}\n{CLASSICAL.reveal()}\r\n"
    hybrid, classical = age.parse_identities(text)
    assert (hybrid.recipient, classical.recipient) == (IDENTITY.recipient, CLASSICAL.recipient)


@pytest.mark.parametrize("text", ["", "# nothing\n", "AGE-SECRET-KEY-1\n", "x\n" * 65])
def test_an_identity_file_without_identities_is_refused(text):
    with pytest.raises(AgeFileError):
        age.parse_identities(text)


@pytest.mark.parametrize("identity", [IDENTITY, CLASSICAL])
def test_an_identity_is_never_printed_by_accident(identity):
    assert identity.reveal() not in f"{identity!r} {identity}"
    assert identity.reveal().lower() not in f"{identity!r} {identity}".lower()


def test_a_key_over_the_limit_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(bech32, "_polymod", None)
    with pytest.raises(AgeFileError):
        bech32.decode("age1" + "q" * bech32.MAX_LENGTH)
