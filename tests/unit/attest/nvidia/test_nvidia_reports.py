"""A device's report is read whole or refused, whatever its lengths say."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.nvidia import mint

from confide.attest.platforms.nvidia.spdm import MAX_REPORT, Report
from confide.errors import AttestationError, EvidenceError

VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "nvidia"
KEY = mint.GPU.chain()[0].key
RECORDED = sorted(VECTORS.glob("*/report.hex"))


def refused(raw: bytes) -> str:
    with pytest.raises(EvidenceError) as caught:
        Report.parse(raw)
    return caught.value.code


def made(**changes) -> bytes:
    values = {"blocks": [(1, b"a" * 48), (2, b"b" * 48)], "opaque": [(3, b"driver\0")]}
    return mint.report(KEY, **(values | changes))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_every_recorded_report_is_read_and_every_byte_accounted_for(path):
    raw = bytes.fromhex(path.read_text())
    report = Report.parse(raw)
    assert report.signed + report.signature == raw
    assert sorted(report.blocks) == list(range(1, len(report.blocks) + 1))
    assert {len(value) for value in report.blocks.values()} == {48}


def test_there_are_recorded_reports():
    assert len(RECORDED) >= 5


def test_what_was_written_is_read():
    report = Report.parse(made())
    assert report.nonce == mint.NONCE
    assert report.blocks == {1: b"a" * 48, 2: b"b" * 48}
    assert report.opaque == {3: b"driver\0"}
    assert report.parameters == (1, 0xFF)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (made(header=b"\x10\xe0\x01\xff"), "nv.request_header"),
        (made(header=b"\x11\xe1\x01\xff"), "nv.request_header"),
        (made(response=b"\x12\x60\0\0"), "nv.response_header"),
        (made(response=b"\x11\x61\0\0"), "nv.response_header"),
        (made(trailing=b"\0"), "nv.truncated"),
        (b"", "nv.truncated"),
        (bytes(MAX_REPORT + 1), "nv.truncated"),
        (made(count=3), "nv.meas_length"),
        (made(count=1), "nv.meas_length"),
        (made(blocks=[(1, b"a"), (1, b"b")]), "nv.meas_duplicate"),
        (made(opaque=[(3, b"a"), (3, b"b")]), "nv.meas_duplicate"),
        (made(record=mint.block(1, b"a", specification=2), count=1), "nv.meas_spec"),
        (made(record=mint.block(1, b"a", size=0), count=1), "nv.meas_length"),
        (made(record=mint.block(1, b"a", size=3), count=1), "nv.meas_length"),
        (made(record=mint.block(1, b"a", size=65535), count=1), "nv.meas_length"),
        (made(record=mint.block(1, b"aa", value_size=1), count=1), "nv.meas_length"),
        (made(record=mint.block(1, b"aa", value_size=65535), count=1), "nv.meas_length"),
        (made(record=mint.block(1, bytes(65)), count=1), "nv.meas_length"),
        (made(record=b"\x01\x01\x04", count=1), "nv.meas_length"),
    ],
)
def test_a_malformed_report_is_refused_with_its_own_code(raw, code):
    assert refused(raw) == code


def test_an_opaque_field_longer_than_what_is_left_is_refused():
    raw = bytearray(made(opaque=[(3, b"abc")]))
    at = raw.index(b"\x03\0\x03\0abc")
    raw[at + 2] = 0xFF
    assert refused(bytes(raw)) == "nv.truncated"


@pytest.mark.parametrize(("at", "value"), [(42, 0), (42, 255), (43, 0), (43, 255), (44, 255)])
def test_a_hostile_record_length_is_refused(at, value):
    raw = bytearray(bytes.fromhex((VECTORS / "hopper-550.90.07" / "report.hex").read_text()))
    raw[at] = value
    assert refused(bytes(raw)) in {"nv.truncated", "nv.meas_length"}


def test_a_report_cut_anywhere_is_refused():
    raw = bytes.fromhex((VECTORS / "nvswitch-ls10" / "report.hex").read_text())
    started = time.process_time()
    for length in range(len(raw)):
        with pytest.raises(EvidenceError):
            Report.parse(raw[:length])
    assert (time.process_time() - started) / len(raw) < 0.1


@given(st.binary(max_size=600))
def test_no_bytes_make_the_reader_fail_otherwise(raw):
    with pytest.raises(AttestationError):
        Report.parse(b"\x11\xe0" + raw)


@settings(max_examples=200)
@given(st.integers(0, 2167), st.integers(1, 255))
def test_no_single_change_makes_the_reader_fail_otherwise(at, mask):
    raw = bytearray(bytes.fromhex((VECTORS / "nvswitch-ls10" / "report.hex").read_text()))
    raw[at] ^= mask
    with contextlib.suppress(AttestationError):
        Report.parse(bytes(raw))


def test_the_manifest_of_vectors_has_every_report_that_is_read_here():
    manifest = json.loads((VECTORS.parent / "manifest.json").read_text())
    listed = {entry["path"] for entry in manifest["files"]}
    assert {path.relative_to(VECTORS.parent).as_posix() for path in RECORDED} <= listed
