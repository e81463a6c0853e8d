"""Whatever the bytes are: an error of this package, soon."""

import contextlib
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.snp.mint import NOW, TURIN_WORLD, World

from confide.attest.der import DerReader, Malformed
from confide.attest.platforms.snp.certificate_table import (
    ASK,
    VCEK,
    parse_certificate_table,
)
from confide.attest.platforms.snp.certificates import AmdCertificate, der_blocks
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.platforms.snp.report import SnpReport
from confide.errors import AttestationError, EvidenceError

GENOA = World()


def refused(parse, raw):
    start = time.process_time()
    with pytest.raises(AttestationError):
        parse(raw)
    assert time.process_time() - start < 0.1


def by_part(part):
    whole = {"vek": GENOA.vek, "chain": GENOA.chain, "crl": GENOA.crl()}

    def parse(raw):
        return authenticate_report(GENOA.report, **(whole | {part: raw}), at=NOW, roots=GENOA.roots)

    return parse, whole[part]


def test_a_report_cut_anywhere_is_refused():
    for length in range(1184):
        refused(SnpReport.parse, GENOA.report[:length])


def test_a_certificate_cut_anywhere_is_refused():
    for length in range(len(GENOA.vek)):
        refused(AmdCertificate.parse, GENOA.vek[:length])


@pytest.mark.parametrize("part", ["vek", "chain", "crl"])
def test_collateral_cut_anywhere_is_refused(part):
    parse, raw = by_part(part)
    for length in range(len(raw)):
        # PEM may lose the line feed at its end.
        if raw[:length].strip() != raw.strip():
            refused(parse, raw[:length])


@pytest.mark.parametrize("part", ["vek", "crl"])
def test_every_flipped_bit_of_collateral_is_refused(part):
    parse, raw = by_part(part)
    for offset in range(0, len(raw), 11):
        changed = bytearray(raw)
        changed[offset] ^= 1 << offset % 8
        refused(parse, bytes(changed))


def test_every_flipped_bit_of_a_report_is_refused():
    def parse(raw):
        return authenticate_report(
            raw, vek=GENOA.vek, chain=GENOA.chain, crl=None, at=NOW, roots=GENOA.roots
        )

    for offset in range(0, 1184, 3):
        changed = bytearray(GENOA.report)
        changed[offset] ^= 1 << offset % 8
        refused(parse, bytes(changed))


def test_large_input_is_refused_soon():
    for part in ("vek", "chain", "crl"):
        parse, _ = by_part(part)
        refused(parse, b"\x30\x83\x0f\xff\xff" + bytes(1_000_000))
        refused(parse, b"-----BEGIN CERTIFICATE-----" + b"A" * 1_000_000)
        refused(parse, b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n" * 20_000)
        refused(parse, b"-----BEGIN CERTIFICATE-----" * 40_000)


@given(st.binary(max_size=400))
def test_any_bytes_as_a_certificate_are_refused(raw):
    with pytest.raises(AttestationError):
        AmdCertificate.parse(raw)


@given(st.binary(min_size=1184, max_size=1184))
def test_any_bytes_as_a_report_are_parsed_or_refused(raw):
    with contextlib.suppress(AttestationError):
        SnpReport.parse(raw)


@settings(max_examples=300)
@given(st.data())
def test_bytes_written_over_a_certificate_never_crash_the_reader(data):
    changed = bytearray(TURIN_WORLD.vek)
    offset = data.draw(st.integers(0, len(changed) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=8))
    changed[offset : offset + len(patch)] = patch
    with contextlib.suppress(AttestationError):
        AmdCertificate.parse(bytes(changed))


@given(st.binary(max_size=64))
def test_der_is_read_in_bounds(raw):
    reader = DerReader(raw)
    taken = 0
    try:
        while reader.more:
            taken += len(reader.any().whole)
    except Malformed:
        return
    assert taken == len(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x80\x00\x00",  # indefinite
        b"\x30\x81\x05" + bytes(5),  # not the shortest
        b"\x30\x82\x00\x81" + bytes(129),
        b"\x30\x85\x00\x00\x00\x00\x01\x00",
        b"\x30",
    ],
)
def test_other_encodings_of_a_length_are_refused(raw):
    with pytest.raises(Malformed):
        DerReader(raw).any()


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x00\x01", bytes(33), b"\x01" * 33])
def test_other_encodings_of_an_integer_are_refused(content):
    with pytest.raises(Malformed):
        DerReader(b"\x02" + bytes([len(content)]) + content).integer()


def test_pem_holds_at_most_eight_blocks():
    block = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    assert len(der_blocks(block * 8)) == 8
    with pytest.raises(AttestationError):
        der_blocks(block * 9)


# The host's certificate table.


def table(*entries, end=True):
    head, body = b"", b""
    start = 24 * (len(entries) + 1)
    for name, content in entries:
        head += uuid.UUID(name).bytes_le + (start + len(body)).to_bytes(4, "little")
        head += len(content).to_bytes(4, "little")
        body += content
    return head + (bytes(24) if end else b"") + body


def test_a_certificate_table_is_read():
    blob = table((VCEK, b"leaf"), (ASK, b"authority"), (str(uuid.UUID(int=5)), b"other"))
    found = parse_certificate_table(blob)
    assert found[VCEK] == b"leaf"
    assert found[ASK] == b"authority"
    assert len(found) == 3
    assert parse_certificate_table(b"") == {}
    assert parse_certificate_table(bytes(24)) == {}


@pytest.mark.parametrize(
    "blob",
    [
        bytes(23),
        table((VCEK, b"x"), end=False)[:24],
        table((VCEK, b"x"), (VCEK, b"y")),
        table((VCEK, b"x"))[:-1],
        table((VCEK, bytes(33 * 1024))),
        table(*[(str(uuid.UUID(int=n + 1)), b"") for n in range(33)]),
        b"\x01" * 16 + bytes(4) + b"\x01\x00\x00\x00" + bytes(24),
        b"\x01" * 16 + b"\xff" * 8 + bytes(24),
        b"\x01" + bytes(129 * 1024),
    ],
)
def test_a_malformed_certificate_table_is_refused(blob):
    with pytest.raises(EvidenceError) as caught:
        parse_certificate_table(blob)
    assert caught.value.code == "tsm.outblob"


@given(st.binary(max_size=300))
def test_any_certificate_table_is_read_or_refused(blob):
    with contextlib.suppress(EvidenceError):
        parse_certificate_table(blob)
