"""What was saved is checked again elsewhere; a report is one page that loads nothing."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attest.enclave_double import CPU, MANIFEST, Enclave, TestPlatform
from tests.unit.attest.enclave_double import NOW as AT
from tests.unit.attest.enclave_double import policy as strict_policy
from tests.unit.cli.test_verify import gateway, policy, verify, verify_json  # noqa: F401

from confide.attest.collateral import Bundle as Endorsements
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.attest.evidence import Evidence
from confide.cli.attest_bundle import NO_ENDORSEMENTS, Bundle, Fetched
from confide.cli.attest_run import Seen, run_bundle
from confide.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BUNDLE = Bundle("https://gateway.example", bytes(32), NOW, (Fetched(b"document", b"{}", b"m"),))


@pytest.fixture
def saved(gateway, policy, tmp_path, verify_json):  # noqa: F811
    """A bundle of evidence that the policy accepts, made by the command itself."""
    path = tmp_path / "saved.json"
    assert verify_json(gateway.url, "--policy", policy, "--save", str(path))[0] == 0
    gateway.seen.clear()
    return path


def outcomes(members):
    return {factor["name"]: factor["outcome"] for factor in members["replicas"][0]["factors"]}


def test_a_saved_bundle_is_verified_without_network(saved, gateway, policy, verify_json):  # noqa: F811
    code, members = verify_json("--bundle", str(saved), "--policy", policy)
    assert code == 0
    assert members["verified"]
    assert members["url"] == gateway.url
    assert members["saved_at"]
    assert gateway.seen == []


def test_a_bundle_says_that_its_challenge_is_not_the_readers(saved, policy, verify_json):  # noqa: F811
    _, members = verify_json("--bundle", str(saved), "--policy", policy)
    found = outcomes(members)
    assert found["challenge of your own"] == "N-A"
    assert found["transport reached"] == "N-A"
    assert found["fresh and bound"] == "PASS"


def test_a_live_run_chose_the_challenge_itself(gateway, policy, verify_json):  # noqa: F811
    assert outcomes(verify_json(gateway.url, "--policy", policy)[1])[
        "challenge of your own"
    ] == "PASS"  # fmt: skip


def test_a_bundle_without_a_policy_is_not_trusted(saved, verify_json):  # noqa: F811
    code, members = verify_json("--bundle", str(saved))
    assert code == 3
    assert outcomes(members)["policy valid"] == "FAIL"


def test_old_evidence_is_refused_now_and_accepted_at_its_time(saved, policy, verify_json):  # noqa: F811
    later = (datetime.now(tz=UTC) + timedelta(days=3)).isoformat()
    code, members = verify_json("--bundle", str(saved), "--policy", policy, "--at", later)
    assert code == 3
    assert members["replicas"][0]["error"]["code"] == "binding.keyset_expired"
    now = datetime.now(tz=UTC).isoformat()
    assert verify_json("--bundle", str(saved), "--policy", policy, "--at", now)[0] == 0


@pytest.mark.parametrize("part", ["document", "evidence", "manifest"])
def test_a_bundle_that_was_changed_is_refused(saved, policy, verify_json, part):  # noqa: F811
    members = json.loads(saved.read_text())
    text = members["replicas"][0][part]
    middle = len(text) // 2
    changed = "A" if text[middle] != "A" else "B"
    members["replicas"][0][part] = text[:middle] + changed + text[middle + 1 :]
    saved.write_text(json.dumps(members))
    assert verify_json("--bundle", str(saved), "--policy", policy)[0] == 3


def test_another_nonce_in_a_bundle_is_refused(saved, policy, verify_json):  # noqa: F811
    members = json.loads(saved.read_text())
    members["nonce"] = "00" * 32
    saved.write_text(json.dumps(members))
    code, members = verify_json("--bundle", str(saved), "--policy", policy)
    assert code == 3
    assert members["replicas"][0]["error"]["code"] == "binding.nonce_mismatch"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("http://127.0.0.1:1", "--bundle", "FILE"),
        ("--bundle", "FILE", "--save", "x"),
        ("--bundle", "FILE", "--nonce", "00" * 32),
        ("http://127.0.0.1:1", "--at", "2026-11-20"),
        ("--bundle", "FILE", "--at", "yesterday"),
    ],
)
def test_options_that_mean_nothing_together_are_a_usage_error(verify, tmp_path, words):  # noqa: F811
    path = tmp_path / "b.json"
    path.write_bytes(BUNDLE.encode())
    assert verify(*(str(path) if word == "FILE" else word for word in words))[0] == 2


def test_nothing_is_written_if_nothing_was_fetched(verify, tmp_path):  # noqa: F811
    path = tmp_path / "kept.json"
    path.write_text("old")
    code, _, err = verify("http://127.0.0.1:9", "--save", str(path))
    assert code == 5
    assert path.read_text() == "old"
    assert str(path) in err


# The file.


def test_a_bundle_reads_back_equal():
    assert Bundle.parse(BUNDLE.encode()) == BUNDLE


def members_with(**changes):
    members = json.loads(BUNDLE.encode())
    return json.dumps(members | changes).encode()


REPLICA = json.loads(BUNDLE.encode())["replicas"][0]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":1,"v":1}',
        members_with(v=2),
        members_with(v=True),
        members_with(extra=1),
        members_with(nonce="00"),
        members_with(nonce="zz" * 32),
        members_with(url=7),
        members_with(url="a\x1b[2J"),
        members_with(fetched_at=-1),
        members_with(fetched_at=10**15),
        members_with(replicas=[]),
        members_with(replicas=[REPLICA] * 65),
        members_with(replicas=[1]),
        members_with(replicas=[REPLICA | {"evidence": "A==="}]),
        members_with(replicas=[REPLICA | {"x": ""}]),
        members_with(replicas=[REPLICA | {"evidence": "AAAA" * (512 * 1024 // 3 + 1)}]),
    ],
)
def test_what_is_no_bundle_is_refused(raw):
    with pytest.raises(ConfigError) as caught:
        Bundle.parse(raw)
    assert caught.value.code == "bundle.invalid"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_refused(raw):
    with pytest.raises(ConfigError):
        Bundle.parse(raw)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("confide.cli.attest_bundle.MAX_BUNDLE", 100)
    path = tmp_path / "big"
    path.write_bytes(bytes(101))
    with pytest.raises(ConfigError) as caught:
        Bundle.read(path)
    assert caught.value.code == "bundle.invalid"


# Endorsements travel with the evidence.

LIST = EndorsementKey("test/list")


def bundle_of_unstapled_evidence(endorsements):
    enclave = Enclave()
    evidence = replace(Evidence.parse(enclave.collect()), collateral={}).encode()
    one = Fetched(enclave.document, evidence, MANIFEST)
    return Bundle("https://gateway.example", enclave.nonce, AT, (one,), endorsements)


@pytest.fixture
def known_platform(monkeypatch):
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {CPU: TestPlatform(CPU)})


def test_a_bundle_brings_the_endorsements_that_were_looked_at(known_platform):
    held = Endorsements({LIST: (Endorsement(LIST, b"content", "test"),)})
    seen = Seen((held,))
    assert seen.find(LIST)[0].content == b"content"
    assert seen.find(EndorsementKey("test/other")) == ()
    saved = Bundle.parse(bundle_of_unstapled_evidence(seen.encode()).encode())
    assert run_bundle(saved, policy=strict_policy(), at=AT).verified


def test_more_candidates_than_a_bundle_may_hold_do_not_spoil_it(known_platform):
    sources = tuple(
        Endorsements({LIST: (Endorsement(LIST, b"content %d" % number, "test"),)})
        for number in range(17)
    )
    seen = Seen(sources)
    assert len(seen.find(LIST)) == 17
    saved = Bundle.parse(bundle_of_unstapled_evidence(seen.encode()).encode())
    run_bundle(saved, policy=strict_policy(), at=AT)


def test_without_them_the_bundle_is_refused(known_platform):
    (one,) = run_bundle(
        bundle_of_unstapled_evidence(NO_ENDORSEMENTS), policy=strict_policy(), at=AT
    ).examined
    assert one.error.code == "collateral.missing"


def test_malformed_endorsements_in_a_bundle_are_refused(tmp_path, verify):  # noqa: F811
    path = tmp_path / "b.json"
    path.write_bytes(replace(BUNDLE, endorsements=b"{}").encode())
    code, _, err = verify("--bundle", str(path))
    assert code == 3
    assert "endorsements" in err


# The page.


class Page(HTMLParser):
    """Collects tags and text, and anything that would be loaded."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.loads, self.words = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        self.words += data


def page_of(path):
    source = path.read_text(encoding="utf-8")
    return source, Page(source)


def test_the_report_is_one_page_with_every_factor(saved, policy, tmp_path, verify_json):  # noqa: F811
    path = tmp_path / "report.html"
    _, members = verify_json("--bundle", str(saved), "--policy", policy, "--html", str(path))
    source, page = page_of(path)
    assert "default-src 'none'" in source
    assert page.loads == []
    assert not {"script", "img", "link", "iframe", "form"} & set(page.tags)
    for factor in members["replicas"][0]["factors"]:
        assert factor["name"] in page.words
        assert factor["detail"] in page.words
    assert "trusted until" in page.words
    assert "SIMULATED" not in page.words


def test_the_report_under_a_lab_policy_does_not_say_trusted(saved, policy, tmp_path, verify):  # noqa: F811
    lab, path = tmp_path / "lab.toml", tmp_path / "report.html"
    text = Path(policy).read_text()
    lab.write_text(text.replace("version = 1", 'version = 1\nprofile = "lab"'))
    assert verify("--bundle", str(saved), "--policy", str(lab), "--html", str(path))[0] == 0
    words = page_of(path)[1].words
    assert "LAB ONLY" in words
    assert "trusted until" not in words


def test_a_refused_enclave_is_reported_as_not_trusted(saved, tmp_path, verify):  # noqa: F811
    path = tmp_path / "report.html"
    assert verify("--bundle", str(saved), "--html", str(path))[0] == 3
    words = page_of(path)[1].words
    assert "NOT TRUSTED" in words
    assert "NOT verified" in words
    assert re.search(r"SKIP|FAIL", words)


def test_a_url_full_of_markup_stays_text(tmp_path, verify):  # noqa: F811
    evil = '<script>alert(1)</script>"onmouseover="x'
    bundle = Bundle(evil, bytes(32), NOW, BUNDLE.replicas)
    path, report = tmp_path / "b.json", tmp_path / "r.html"
    path.write_bytes(bundle.encode())
    assert verify("--bundle", str(path), "--html", str(report))[0] == 3
    source, page = page_of(report)
    assert "script" not in page.tags
    assert evil in page.words
    assert evil not in source


def test_simulated_evidence_is_loud_in_the_report(gateway, tmp_path, verify):  # noqa: F811
    from tests.unit.cli.test_verify import simulated

    gateway.evidence = simulated
    report = tmp_path / "r.html"
    assert verify(gateway.url, "--html", str(report))[0] == 3
    assert "SIMULATED EVIDENCE" in page_of(report)[1].words
