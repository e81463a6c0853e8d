"""The canary finds its marker in every shape a leak takes, and never passes on nothing."""

import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.local.canary import Canary, process_memory


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_the_marker_is_found_inside_base64_at_any_alignment(before, after):
    canary = Canary("canary0123456789abcdef")
    leaked = base64.b64encode(before + canary.text.encode() + after)
    assert canary.found_in([leaked])


def test_the_marker_is_found_in_hex_json_and_upper_case():
    canary = Canary()
    for leaked in (
        canary.text.encode().hex().encode(),
        json.dumps({"prompt": f"tell {canary.text}"}).encode(),
        canary.text.upper().encode(),
    ):
        assert canary.found_in([b"x" * 10, leaked])


def test_other_text_is_not_taken_for_the_marker():
    assert Canary().found_in([b"canary", os.urandom(4096), Canary().text.encode()]) is None


def test_a_file_below_a_directory_is_searched(tmp_path):
    canary = Canary()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.log").write_text(f"event {canary.text}")
    with pytest.raises(AssertionError):
        canary.assert_absent_from(tmp_path)


def test_a_search_of_nothing_is_a_failure(tmp_path):
    with pytest.raises(FileNotFoundError):
        Canary().assert_absent_from(tmp_path / "absent")


def test_a_marker_held_by_a_process_is_found_in_its_memory():
    canary = Canary()
    held = bytearray(b"prefix " + canary.text.encode())
    assert canary.found_in(process_memory(os.getpid())) is not None
    assert held
