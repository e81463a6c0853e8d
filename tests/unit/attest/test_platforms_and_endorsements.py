"""Plug-ins are loaded by name only, and endorsements are found, never believed."""

from datetime import UTC, datetime
from importlib.metadata import EntryPoint

import pytest
from tests.unit.attest.enclave_double import TestPlatform

from confide.attest.endorsements import (
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EverySource,
    StapledEndorsements,
    first_valid,
)
from confide.attest.platform import BUILT_IN, BuiltIn, load_platforms
from confide.errors import ConfigError, EndorsementError, EvidenceError

STAPLED = StapledEndorsements(
    {
        "snp": {"vek": "AQI", "crl": "AB", "list": [1], "many": ["AQ"] * 17},
        "nvidia": {"ocsp": ["AQ", "Ag"]},
        "x": 5,
    }
)


def offer(monkeypatch, value, name="test-cpu.verify"):
    point = EntryPoint(name, value, "confide.platforms")
    monkeypatch.setattr(
        "confide.plugins.entry_points",
        lambda group, name=None: [point] if name in (None, point.name) else [],
    )


def test_every_built_in_platform_has_the_type_it_is_listed_under():
    assert "sev-snp" in BUILT_IN
    assert {name: platform.type for name, platform in BUILT_IN.items()} == {n: n for n in BUILT_IN}
    assert set(load_platforms([])) == set(BUILT_IN)


def test_a_platform_is_imported_when_it_is_first_asked_for():
    lazy = BuiltIn({"a": "nowhere:Nothing", "test-cpu": f"{TestPlatform.__module__}:TestPlatform"})
    assert list(lazy) == ["a", "test-cpu"]
    assert lazy["test-cpu"] is lazy["test-cpu"]
    with pytest.raises(ModuleNotFoundError):
        lazy["a"]


def test_a_named_plug_in_is_loaded(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:TestPlatform")
    assert isinstance(load_platforms(["test-cpu"])["test-cpu"], TestPlatform)


def test_a_plug_in_of_another_type_than_its_name_is_refused(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:TestPlatform", "other-cpu.verify")
    with pytest.raises(ConfigError):
        load_platforms(["other-cpu"])


def test_a_plug_in_that_is_no_class_is_refused(monkeypatch):
    offer(monkeypatch, "tests.unit.attest.enclave_double:NONCE")
    with pytest.raises(ConfigError):
        load_platforms(["test-cpu"])


def test_a_built_in_type_is_never_looked_up(monkeypatch):
    mine = TestPlatform()
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {"test-cpu": mine})
    offer(monkeypatch, "nowhere:Nothing")
    assert load_platforms(["test-cpu"])["test-cpu"] is mine


def contents(source, kind):
    return [found.content for found in source.find(EndorsementKey(kind, "any subject"))]


def take(candidate):
    return candidate.content


def test_stapled_endorsements_are_decoded():
    key = EndorsementKey("snp/vek", "Genoa")
    assert STAPLED.find(key) == (Endorsement(key, b"\x01\x02", "stapled"),)
    assert contents(STAPLED, "nvidia/ocsp") == [b"\x01", b"\x02"]


@pytest.mark.parametrize("kind", ["snp/ask", "tdx/x", "x/y", "snp", ""])
def test_what_is_not_stapled_is_missing(kind):
    with pytest.raises(EndorsementError) as caught:
        first_valid(STAPLED, EndorsementKey(kind), take)
    assert caught.value.code == "collateral.missing"


@pytest.mark.parametrize("kind", ["snp/crl", "snp/list", "snp/many"])
def test_what_is_stapled_badly_is_refused(kind):
    with pytest.raises(EvidenceError):
        STAPLED.find(EndorsementKey(kind))


def test_candidates_come_in_the_order_of_the_sources():
    first = StapledEndorsements({"snp": {"vek": "Aw"}})
    assert contents(EverySource((first, STAPLED)), "snp/vek") == [b"\x03", b"\x01\x02"]
    assert contents(EverySource(()), "snp/vek") == []


def test_the_first_candidate_that_holds_is_used():
    source = StapledEndorsements({"snp": {"crl": ["AQ", "Ag", "Aw"]}})

    def check(candidate):
        if candidate.content == b"\x01":
            raise EndorsementError("stale", code="snp.crl_expired")
        return candidate.content

    assert first_valid(source, EndorsementKey("snp/crl"), check) == b"\x02"


def test_if_no_candidate_holds_the_first_refusal_is_raised():
    def check(candidate):
        raise EndorsementError("no", code=f"test.{candidate.content.hex()}")

    with pytest.raises(EndorsementError) as caught:
        first_valid(STAPLED, EndorsementKey("nvidia/ocsp"), check)
    assert caught.value.code == "test.01"


def test_a_fact_reaches_every_source():
    seen = []

    class Memory:
        def find(self, key):
            return ()

        def saw(self, fact):
            seen.append(fact)

    fact = CollateralFact(EndorsementKey("snp/crl", "Genoa"), datetime(2026, 1, 1, tzinfo=UTC), 7)
    EverySource((Memory(), STAPLED, Memory())).saw(fact)
    assert seen == [fact, fact]
