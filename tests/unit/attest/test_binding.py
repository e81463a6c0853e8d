"""The binding formulas give the published values and keep their fields apart."""

import hashlib
import json
from pathlib import Path

import pytest

from confide.attest.binding import gpu_digest, gpu_nonce, report_data

VECTORS = Path(__file__).parents[2] / "vectors" / "attest"
DOCUMENT_SHA256, NONCE = bytes(32), bytes(range(32))


def test_the_published_vector_is_reproduced():
    vector = json.loads((VECTORS / "binding.json").read_text())
    reports = [bytes.fromhex((VECTORS / name).read_text()) for name in vector["gpu_reports"]]
    document = hashlib.sha256(vector["document"].encode()).digest()
    nonce = bytes.fromhex(vector["client_nonce"])
    manifest = hashlib.sha256(vector["manifest"].encode()).digest()
    digest = gpu_digest(reports)
    assert gpu_nonce(document, nonce).hex() == vector["gpu_nonce"]
    assert digest.hex() == vector["gpu_digest"]
    assert report_data(document, nonce, digest, manifest).hex() == vector["report_data"]


def test_no_gpu_has_a_digest_of_its_own():
    assert gpu_digest([]) != gpu_digest([b""])
    assert gpu_digest([b"ab"]) != gpu_digest([b"a", b"b"])


def test_order_of_gpus_matters():
    assert gpu_digest([b"a", b"b"]) != gpu_digest([b"b", b"a"])


def test_the_cached_form_differs_from_a_challenge_of_zeros():
    cached = report_data(DOCUMENT_SHA256, b"", gpu_digest([]), bytes(32))
    assert cached != report_data(DOCUMENT_SHA256, bytes(32), gpu_digest([]), bytes(32))


@pytest.mark.parametrize("position", range(4))
def test_every_field_enters_the_report_data(position):
    fields = [DOCUMENT_SHA256, NONCE, gpu_digest([]), bytes(32)]
    before = report_data(*fields)
    fields[position] = b"\x01" * 32
    assert report_data(*fields) != before
    assert len(before) == 64


@pytest.mark.parametrize(
    "fields",
    [
        (bytes(31), NONCE, bytes(32), bytes(32)),
        (bytes(32), bytes(31), bytes(32), bytes(32)),
        (bytes(32), NONCE, bytes(31), bytes(32)),
        (bytes(32), NONCE, bytes(32), b""),
    ],
)
def test_a_field_of_another_length_is_refused(fields):
    with pytest.raises(ValueError, match="must be"):
        report_data(*fields)


@pytest.mark.parametrize("lengths", [(31, 32), (32, 31), (0, 0)])
def test_a_gpu_nonce_is_made_of_full_lengths_only(lengths):
    with pytest.raises(ValueError, match="must be"):
        gpu_nonce(bytes(lengths[0]), bytes(lengths[1]))
