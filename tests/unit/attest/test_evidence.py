"""An envelope means one thing or is refused."""

import json

import pytest
from tests.unit.attest.enclave_double import Enclave

from confide.attest.evidence import MAX_ENVELOPE, CpuReport, Evidence, EvidenceKind
from confide.errors import EvidenceError

RAW = Enclave(gpu_count=1).collect()


def members():
    return json.loads(RAW)


def refused(raw):
    with pytest.raises(EvidenceError) as caught:
        Evidence.parse(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return caught.value.code


def test_an_envelope_is_read_back_as_written():
    evidence = Enclave(gpu_count=2).evidence()
    assert Evidence.parse(evidence.encode()) == evidence


def test_the_report_is_not_in_the_repr():
    assert "report=" not in repr(Evidence.parse(RAW))


@pytest.mark.parametrize("version", [0, 2, True, "1", 1.0, None, -1, 2**60])
def test_an_unknown_version_is_refused(version):
    assert refused(members() | {"v": version}) in ("envelope.version", "envelope.json")


@pytest.mark.parametrize("kind", ["", "Hardware", "simulated", "software", "none"])
def test_an_unknown_kind_is_refused(kind):
    assert refused(members() | {"kind": kind}) == "envelope.kind"


def test_a_duplicate_name_is_refused():
    doubled = RAW[:-1] + b',"kind":"hardware"}'
    assert refused(doubled) == "envelope.duplicate_key"


def test_a_duplicate_name_deep_inside_is_refused():
    doubled = RAW.replace(b'"aux":{}', b'"aux":{"a":"","a":""}')
    assert refused(doubled) == "envelope.duplicate_key"


def test_hardware_evidence_with_a_simulated_member_is_refused():
    extra = {"simulated": {"public_key": "A" * 43, "signature": "A" * 86}}
    assert refused(members() | extra) == "envelope.kind"


def test_hardware_evidence_renamed_to_simulated_is_refused():
    assert refused(members() | {"kind": "software-dev"}) == "envelope.kind"


def test_hardware_evidence_without_a_report_is_refused():
    raw = members()
    del raw["cpu"]
    assert refused(raw) == "envelope.kind"


def test_a_kind_without_its_members_cannot_be_built():
    with pytest.raises(EvidenceError):
        Evidence(EvidenceKind.SOFTWARE_DEV, b"", b"", bytes(32), 0, cpu=CpuReport("x", b""))


def test_an_unknown_member_is_refused():
    assert refused(members() | {"attest": False}) == "envelope.json"


def test_a_missing_member_is_refused():
    raw = members()
    del raw["manifest_sha256"]
    assert refused(raw) == "envelope.json"


@pytest.mark.parametrize("text", ["AA==", "A", "A+", "A/", "AB", "ä", "\ud800", "A A", "AA\n"])
def test_base64url_has_one_spelling(text):
    assert refused(members() | {"keyset": text}) == "envelope.base64"


@pytest.mark.parametrize("nonce", ["AA", "A" * 42, "A" * 44])
def test_a_nonce_is_32_bytes_or_empty(nonce):
    assert refused(members() | {"client_nonce": nonce}) in ("envelope.size", "envelope.base64")


@pytest.mark.parametrize("digest", ["", "00" * 31, "00" * 33, "0x" + "0" * 62, "AA" * 32, 5, None])
def test_a_digest_is_32_bytes_of_lower_case_hex(digest):
    assert refused(members() | {"manifest_sha256": digest}) in ("envelope.json", "envelope.size")


def test_an_oversized_envelope_is_refused_before_it_is_parsed():
    assert refused(b"x" * (MAX_ENVELOPE + 1)) == "envelope.size"


def test_an_oversized_document_is_refused():
    assert refused(members() | {"keyset": "A" * 87_384}) == "envelope.size"


def test_too_many_gpus_are_refused():
    gpu = members()["gpus"][0]
    assert refused(members() | {"gpus": [gpu] * 17}) == "envelope.size"


def test_too_many_further_parts_are_refused():
    cpu = members()["cpu"] | {"aux": {str(n): "" for n in range(9)}}
    assert refused(members() | {"cpu": cpu}) == "envelope.size"


@pytest.mark.parametrize("name", ["", "SEV", "a b", "a\n", "ä"])
def test_a_platform_name_is_plain(name):
    cpu = members()["cpu"] | {"type": name}
    assert refused(members() | {"cpu": cpu}) == "envelope.type"


@pytest.mark.parametrize("number", [1.5, float("nan"), float("inf"), -1, True, "0", 2**53])
def test_a_number_is_an_integer_in_range(number):
    assert refused(members() | {"collected_at": number}) == "envelope.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("cpu", "gpus", "collateral", "release")
        for value in (None, 5, "x", [5], {"x": 5}, [[]])
        # Any object will do in the last two: they are untrusted transport.
        if not (name in ("collateral", "release") and isinstance(value, dict))
    ],
)
def test_a_member_of_another_type_is_refused(name, value):
    assert refused(members() | {name: value}) == "envelope.json"


@pytest.mark.parametrize("raw", [b"", b"\xff", b"null", b"[]", b'"x"', b"\xef\xbb\xbf{}", b"{}x"])
def test_other_bytes_are_refused(raw):
    assert refused(raw) == "envelope.json"


@pytest.mark.parametrize("number", ["1.5", "1e400", "NaN", "-Infinity"])
def test_a_number_that_is_not_an_integer_is_refused_even_where_nobody_reads_it(number):
    raw = RAW.replace(b'"collateral":{', b'"collateral":{"x":' + number.encode() + b",")
    assert refused(raw) == "envelope.json"


def test_deep_nesting_is_refused():
    raw = RAW.replace(b'"collateral":{', b'"collateral":{"x":' + b"[" * 9999 + b"]" * 9999 + b",")
    assert refused(raw) == "envelope.json"
