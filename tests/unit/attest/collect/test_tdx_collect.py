"""A TDX quote is collected without its padding, with the log of its boot."""

import errno
from pathlib import Path

import pytest
from tests.doubles.configfs_tsm import FakeTsm

from confide.attest.platforms.tdx.collect import (
    TdxCollector,
    read_report_data,
    without_padding,
)
from confide.attest.platforms.tsm import TDX_GUEST, TsmClient
from confide.errors import EvidenceError

DATA = bytes(range(64))
VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "tdx"


def quote(data, version=4, *, tee=0x81, kind=3, pem=b"-----BEGIN", padding=b""):
    """Lay out a quote as a quoting enclave does; the signatures are nobody's."""

    def sized(number, content):
        return number.to_bytes(2, "little") + len(content).to_bytes(4, "little") + content

    vendor = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
    header = version.to_bytes(2, "little") + b"\2\0" + tee.to_bytes(4, "little") + bytes(4)
    header += vendor + bytes(20)
    length = 584 if version == 4 or kind == 2 else 648
    if version == 5:
        header += kind.to_bytes(2, "little") + length.to_bytes(4, "little")
    body = bytes(520) + data + bytes(length - 584)
    enclave = bytes(384 + 64) + (32).to_bytes(2, "little") + bytes(32) + sized(5, pem)
    signature = bytes(64 + 64) + sized(6, enclave)
    return header + body + len(signature).to_bytes(4, "little") + signature + padding


def collect(make, event_log=Path("/nonexistent")):
    files = FakeTsm(TDX_GUEST, make=lambda data, level: make(data))
    collector = TdxCollector(TsmClient(files, pause=lambda _: None), event_log=event_log)
    return collector.report(DATA)


@pytest.mark.parametrize(("version", "kind"), [(4, 2), (5, 2), (5, 3)])
def test_a_quote_is_returned_without_its_padding(version, kind):
    collected = collect(lambda data: quote(data, version, kind=kind, padding=bytes(3000)))
    assert collected.report == quote(DATA, version, kind=kind)
    assert (collected.aux, collected.collateral) == ({}, {})


def test_the_event_log_goes_along(tmp_path):
    (tmp_path / "CCEL").write_bytes(b"log")
    assert collect(quote, tmp_path / "CCEL").aux == {"eventlog": b"log"}


def test_an_event_log_too_long_for_the_envelope_is_left_out(tmp_path):
    (tmp_path / "CCEL").write_bytes(bytes(256 * 1024 + 1))
    assert collect(quote, tmp_path / "CCEL").aux == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda data: quote(data, 3),
        lambda data: quote(data, tee=0),  # SGX
        lambda data: quote(data)[:600],
        lambda data: quote(data, 5, kind=2)[:50] + b"\xff\xff\xff\xff" + quote(data, 5)[54:],
        lambda data: quote(data)[:-1],
        lambda data: quote(data, pem=bytes(17 * 1024)),
        lambda data: b"\4",
    ],
)
def test_what_is_not_a_whole_tdx_quote_is_refused(make):
    with pytest.raises(EvidenceError) as caught:
        collect(make)
    assert caught.value.code.startswith("tdx.")


def test_a_quote_about_other_data_is_refused():
    with pytest.raises(EvidenceError) as caught:
        collect(lambda data: quote(bytes(64)))
    assert caught.value.code == "tsm.report_data_echo"


def test_quoting_that_takes_long_is_waited_for():
    files = FakeTsm(TDX_GUEST, make=lambda data, level: quote(data))
    files.faults["read", "outblob"] = [errno.ETIMEDOUT, errno.EINTR]
    pauses = []
    collected = TdxCollector(TsmClient(files, pause=pauses.append)).report(DATA)
    assert read_report_data(collected.report) == DATA
    assert len(pauses) == 2


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*/quote.bin")), ids=lambda p: p.parent.name)
def test_recorded_quotes_have_their_layout(path):
    raw = path.read_bytes()
    if raw[4] != 0x81:
        with pytest.raises(EvidenceError):
            read_report_data(raw)
        return
    assert len(read_report_data(raw)) == 64
    cut = without_padding(raw)
    assert raw.startswith(cut)
    assert cut.rstrip(b"\n\0").endswith(b"-----END CERTIFICATE-----")


def test_there_are_recorded_quotes():
    assert len(sorted(VECTORS.glob("*/quote.bin"))) > 5
