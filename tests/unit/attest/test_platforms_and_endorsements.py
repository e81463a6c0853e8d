"""Plug-ins are loaded by name only, and endorsements are found, never believed."""

from importlib.metadata import EntryPoint

import pytest
from tests.unit.attest.enclave_double import TestPlatform

from confide.attest.endorsements import Endorsement, FirstOf, StapledEndorsements, require
from confide.attest.platform import BUILT_IN, load_platforms
from confide.errors import ConfigError, EndorsementError, EvidenceError

STAPLED = StapledEndorsements({"snp": {"vek": "AQI", "crl": "AB", "list": [1]}, "x": 5})


def offer(monkeypatch, value, name="test-cpu.verify"):
    point = EntryPoint(name, value, "confide.platforms")
    monkeypatch.setattr(
        "confide.plugins.entry_points",
        lambda group, name=None: [point] if name in (None, point.name) else [],
    )


def test_this_version_has_no_hardware_platform_built_in():
    assert dict(BUILT_IN) == {}
    assert dict(load_platforms([])) == {}


def test_a_named_plug_in_is_loaded(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:TestPlatform")
    assert isinstance(load_platforms(["test-cpu"])["test-cpu"], TestPlatform)


def test_a_plug_in_of_another_type_than_its_name_is_refused(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:TestPlatform", "sev-snp.verify")
    with pytest.raises(ConfigError):
        load_platforms(["sev-snp"])


def test_a_plug_in_that_is_no_class_is_refused(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:NONCE")
    with pytest.raises(ConfigError):
        load_platforms(["test-cpu"])


def test_a_built_in_type_is_never_looked_up(monkeypatch):
    mine = TestPlatform()
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {"test-cpu": mine})
    offer(monkeypatch, "nowhere:Nothing")
    assert load_platforms(["test-cpu"])["test-cpu"] is mine


def test_stapled_endorsements_are_decoded():
    assert require(STAPLED, "snp/vek") == Endorsement("snp/vek", b"\x01\x02", "stapled")


@pytest.mark.parametrize("name", ["snp/ask", "tdx/x", "x/y", "snp", ""])
def test_what_is_not_stapled_is_missing(name):
    with pytest.raises(EndorsementError) as caught:
        require(STAPLED, name)
    assert caught.value.code == "collateral.missing"


@pytest.mark.parametrize("name", ["snp/crl", "snp/list"])
def test_what_is_stapled_badly_is_refused(name):
    with pytest.raises(EvidenceError):
        require(STAPLED, name)


def test_sources_are_asked_in_order():
    first = StapledEndorsements({"snp": {"vek": "Aw"}})
    assert require(FirstOf((first, STAPLED)), "snp/vek").content == b"\x03"
    assert FirstOf(()).find("snp/vek") is None
