"""`confide endorsements` asks vendors only when told to, and carries what they answered."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from tests.doubles.vendors import AMD, VECTORS, Answer, vendors
from tests.unit.attest.enclave_double import Enclave
from tests.unit.cli.test_verify import Answer as Page
from tests.unit.cli.test_verify import Gateway, gateway

from confide.attest.collateral import EndorsementCache, Period, read_bundle_file
from confide.attest.endorsements import CollateralFact, Endorsement, EndorsementKey
from confide.attest.evidence import CpuReport
from confide.cli.main import cli
from confide.errors import ConfigError

assert gateway, Gateway
CRL = EndorsementKey("snp/crl", "Genoa")
CRL_DER = (VECTORS / "snp/crl/genoa.crl.der").read_bytes()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cache(home):
    return EndorsementCache(home / "endorsements")


@pytest.fixture
def served():
    with vendors() as double:
        yield double


def run(*words, code=0):
    done = CliRunner().invoke(cli, ["endorsements", *words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == code, done.output
    return done


def run_json(*words, code=0):
    return json.loads(run(*words, "--json", code=code).stdout)


def fetch(served, *words, code=0):
    return run_json("fetch", *words, "--mirror", served.url, code=code)


def test_what_is_named_is_fetched_and_kept(served, cache):
    rows = fetch(served, "snp/crl:Genoa", "snp/chain:Genoa")["endorsements"]
    assert [row["outcome"] for row in rows] == ["fetched", "fetched"]
    assert rows[0]["until"] == 1762131600
    assert cache.find(CRL)[0].content == CRL_DER


def test_what_is_held_and_not_due_is_not_asked_for_again(served, cache):
    fetch(served, "snp/chain:Genoa")
    (row,) = fetch(served, "snp/chain:Genoa")["endorsements"]
    assert row["outcome"] == "kept"
    assert len(served.asked) == 1
    fetch(served, "snp/chain:Genoa", "--again")
    assert len(served.asked) == 2


def test_what_is_past_half_of_its_life_is_fetched_again(served, cache):
    now = int(time.time())
    cache.add(Endorsement(CRL, b"older", "test"), at=0, period=Period(now - 60, now + 30))
    (row,) = fetch(served, "--due")["endorsements"]
    assert row["outcome"] == "fetched"
    assert [found.content for found in cache.find(CRL)] == [CRL_DER, b"older"]


def test_a_certificate_of_a_chip_is_kept_for_good(served, cache):
    vek = EndorsementKey("snp/vek", "Genoa/" + "ab" * 64 + "/0a00000000001754")
    cache.add(Endorsement(vek, b"certificate", "kdsintf.amd.com"), at=0)
    assert fetch(served, "--due")["endorsements"] == []
    (row,) = fetch(served, f"snp/vek:{vek.subject}")["endorsements"]
    assert row["outcome"] == "kept"
    assert served.asked == []


def test_content_that_was_changed_on_disk_is_fetched_again(served, cache):
    fetch(served, "snp/chain:Genoa")
    for path in (cache.folder / "objects").iterdir():
        os.truncate(path, 10)
    (row,) = fetch(served, "snp/chain:Genoa")["endorsements"]
    assert row["outcome"] == "fetched"
    assert cache.find(EndorsementKey("snp/chain", "Genoa"))


def test_one_failure_is_told_and_takes_nothing_else_away(served, cache):
    served.answers[f"{AMD}/vcek/v1/Genoa/crl"] = Answer(b"", 429, {"Retry-After": "9"})
    rows = fetch(served, "snp/crl:Genoa", "snp/crl:Milan", code=5)["endorsements"]
    assert [row["outcome"] for row in rows] == ["failed", "fetched"]
    assert rows[0]["source"].startswith("vendor-busy: ")


def test_an_entry_that_is_held_survives_a_vendor_that_fails(served, cache):
    fetch(served, "snp/crl:Genoa")
    served.answers[f"{AMD}/vcek/v1/Genoa/crl"] = Answer(b"garbage")
    fetch(served, "snp/crl:Genoa", "--again", code=5)
    assert cache.find(CRL)[0].content == CRL_DER


@pytest.mark.parametrize("key", ["snp/crl", "crl:Genoa", "", "snp/crl/x:Genoa"])
def test_what_is_no_key_is_refused_before_anything_is_asked(served, home, key):
    with pytest.raises(ConfigError):
        fetch(served, key)
    assert served.asked == []


def test_naming_nothing_is_wrong_usage(home):
    import click

    with pytest.raises(click.UsageError):
        run("fetch")


# ---- from evidence -----------------------------------------------------------------------------


def milan_enclave(document, nonce):
    """Evidence with a real report of AMD, which is about another key and so is never accepted."""
    report = (VECTORS / "snp/milan-v3/report.bin").read_bytes()
    evidence = replace(Enclave(), document=document, nonce=nonce).evidence()
    return replace(evidence, cpu=CpuReport("sev-snp", report), collateral={}).encode()


def milan(served):
    """Make the vendors know the recorded chip; return its three keys."""
    import base64

    from confide.client.vendors.amd import target_of

    raw = (VECTORS / "snp/milan-v3/report.bin").read_bytes()
    vek = EndorsementKey("snp/vek", f"Milan/{raw[0x1A0:0x1E0].hex()}/{raw[0x180:0x188].hex()}")
    pem = (VECTORS / "snp/milan-v3/vcek.pem").read_text().strip().splitlines()
    served.answers[AMD + target_of(vek)] = Answer(base64.b64decode("".join(pem[1:-1])))
    served.answers[f"{AMD}/vcek/v1/Milan/cert_chain"] = Answer(
        (VECTORS / "snp/roots/milan.pem").read_bytes()
    )
    return {vek, EndorsementKey("snp/chain", "Milan"), EndorsementKey("snp/crl", "Milan")}


def test_whatever_the_enclaves_need_is_found_out_from_their_evidence(served, cache, gateway):
    wanted = milan(served)
    gateway.evidence = lambda document, nonce: Page(milan_enclave(document, nonce))
    found = fetch(served, "--for", gateway.url)
    assert {row["key"] for row in found["endorsements"]} == {str(key) for key in wanted}
    assert {line.key for line in cache.entries()} == wanted
    (one,) = found["evidence"]
    assert one["genuine"] is False  # the recorded list of revoked chips has ended
    assert "2026-05-12" in one["detail"]
    assert cache.facts() == ()  # fetching decides nothing, so it moves no floor


def test_it_says_when_the_evidence_has_become_genuine(served, cache, gateway):
    milan(served)
    del served.answers[f"{AMD}/vcek/v1/Milan/crl"]  # the policy decides whether that will do
    gateway.evidence = lambda document, nonce: Page(milan_enclave(document, nonce))
    assert fetch(served, "--for", gateway.url, code=5)["evidence"][0]["genuine"] is True


def test_evidence_that_was_saved_on_another_machine_is_enough(served, cache, gateway, tmp_path):
    wanted = milan(served)
    gateway.evidence = lambda document, nonce: Page(milan_enclave(document, nonce))
    saved = tmp_path / "saved.json"
    CliRunner().invoke(cli, ["verify", gateway.url, "--save", str(saved)])
    fetch(served, "--saved", str(saved))
    assert {line.key for line in cache.entries()} == wanted


def test_evidence_of_no_known_platform_needs_nothing(served, cache, gateway):
    found = fetch(served, "--for", gateway.url)
    assert found["endorsements"] == []
    assert found["evidence"][0]["genuine"] is False
    assert served.asked == []


def test_a_device_of_nvidia_is_asked_about_by_its_chain(served, cache, gateway):
    from confide.attest.evidence import GpuReport

    chain = (VECTORS / "nvidia/hopper-550.90.07/chain.pem").read_text()

    def with_gpu(document, nonce):
        evidence = replace(Enclave(), document=document, nonce=nonce).evidence()
        return Page(replace(evidence, gpus=(GpuReport("nvidia-spdm", b"x", chain),)).encode())

    gateway.evidence = with_gpu
    rows = fetch(served, "--for", gateway.url, code=5)["endorsements"]
    kinds = [(row["key"].split()[0], row["outcome"]) for row in rows]
    assert kinds.count(("nvidia/ocsp", "fetched")) == 3
    assert kinds.count(("nvidia/crl", "failed")) == 2  # no list was recorded


# ---- carrying ----------------------------------------------------------------------------------


def test_export_and_import_carry_everything_to_a_machine_without_network(
    served, cache, tmp_path, monkeypatch
):
    fetch(served, "snp/crl:Genoa", "snp/chain:Genoa", "tdx/collateral:50806f000000/platform")
    file = tmp_path / "carried.json"
    assert run_json("export", str(file))["endorsements"] == 3
    other = tmp_path / "air-gapped"
    monkeypatch.setenv("CONFIDE_HOME", str(other))
    assert run_json("import", str(file))["endorsements"] == 3
    arrived = EndorsementCache(other / "endorsements")
    assert {line.key: line.period for line in arrived.entries()} == {
        line.key: line.period for line in cache.entries()
    }
    assert arrived.find(CRL)[0].content == CRL_DER
    assert len(served.asked) == 6  # nothing was asked for after the fetch


def test_only_some_kinds_are_exported_when_named(served, cache, tmp_path):
    fetch(served, "snp/crl:Genoa", "snp/chain:Genoa")
    file = tmp_path / "lists.json"
    run("export", str(file), "--kind", "snp/crl")
    assert {found.key for found in read_bundle_file(file)} == {CRL}


def test_there_must_be_something_to_export(home, tmp_path):
    with pytest.raises(ConfigError):
        run("export", str(tmp_path / "nothing.json"))


def test_a_file_that_is_no_bundle_changes_nothing(cache, tmp_path):
    file = tmp_path / "bad.json"
    file.write_text('{"v":1,"endorsements":[{"kind":"x"}]}')
    with pytest.raises(ConfigError):
        run("import", str(file))
    assert cache.entries() == ()


def test_an_import_takes_no_word_about_what_was_newest(cache, tmp_path):
    cache.saw(CollateralFact(CRL, datetime(2026, 1, 1, tzinfo=UTC), 9))
    file = tmp_path / "old.json"
    other = EndorsementCache(tmp_path / "other")
    other.add(Endorsement(CRL, CRL_DER, "test"), at=0)
    run("export", str(file), "--dir", str(other.folder))
    run("import", str(file))
    assert [fact.number for fact in cache.facts()] == [9]


def test_the_listing_says_what_is_held_due_ended_and_damaged(cache):
    now = int(time.time())
    periods = {"held": Period(now, now + 100), "due": Period(now - 60, now + 40)}
    periods |= {"ended": Period(now - 60, now - 1), "damaged": Period()}
    for name, period in periods.items():
        line = cache.add(
            Endorsement(EndorsementKey("snp/crl", name), name.encode(), "test"),
            at=0,
            period=period,
        )
        if name == "damaged":
            (cache.folder / "objects" / line.sha256.hex()).write_bytes(b"x")
    cache.saw(CollateralFact(CRL, datetime(2026, 1, 1, tzinfo=UTC), 9))
    found = run_json("list")
    assert {row["key"]: row["state"] for row in found["endorsements"]} == {
        f"snp/crl {name}": name for name in periods
    }
    assert found["newest"] == [{"issuer": "snp/crl Genoa", "number": 9, "issued_at": 1767225600}]
    text = run("list").stdout
    assert "2026-01-01 00:00:00 UTC" in text
    assert "damaged" in text


def test_an_empty_directory_lists_nothing(home):
    assert run_json("list") == {"endorsements": [], "newest": []}
    shown = run("list")
    assert (shown.stdout, str(home) in shown.stderr, "fetch" in shown.stderr) == ("", True, True)
    assert not home.exists()


def test_intels_data_is_fetched_together_because_parts_of_it_are_the_same_document(served, cache):
    other = EndorsementKey("tdx/collateral", "90c06f000000/platform")
    cache.add(Endorsement(other, b"older", "test"), at=0, period=Period(0, 2**40))
    raw = (VECTORS / "tdx/pcs/2026-03/tcb_info_90c06f000000.json").read_bytes()
    known = "/api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc="
    served.answers[f"{known}90C06F000000"] = replace(
        served.answers[f"{known}50806F000000"], body=raw
    )
    rows = fetch(served, "tdx/collateral:50806f000000/platform")["endorsements"]
    assert [row["outcome"] for row in rows] == ["fetched", "fetched"]
    assert len(cache.find(other)) == 2


# ---- verify looks here -------------------------------------------------------------------------


def verified(gateway, *words):
    done = CliRunner().invoke(cli, ["verify", gateway.url, "--json", *words], standalone_mode=False)
    (one,) = json.loads(done.stdout)["replicas"]
    return {factor["name"]: factor["outcome"] for factor in one["factors"]}


def test_verify_uses_what_was_fetched_and_what_the_gateway_hands_out(served, cache, gateway):
    from confide.attest.collateral import encode_bundle
    from confide.wire.media_types import COLLATERAL

    milan(served)
    del served.answers[f"{AMD}/vcek/v1/Milan/crl"]
    gateway.evidence = lambda document, nonce: Page(milan_enclave(document, nonce))
    assert verified(gateway)["hardware root"] == "FAIL"
    fetch(served, "--for", gateway.url, code=5)
    assert verified(gateway)["hardware root"] == "PASS"
    held = [found for line in cache.entries() for found in cache.find(line.key)]
    for path in (cache.folder / "objects").iterdir():
        path.unlink()
    assert verified(gateway)["hardware root"] == "FAIL"
    answer = gateway.answer
    gateway.answer = lambda target: (
        Page(encode_bundle(held), COLLATERAL) if target.endswith("/collateral") else answer(target)
    )
    assert verified(gateway)["hardware root"] == "PASS"
