"""`confide policy` writes what is asked for, says what it means, and never overwrites."""

import hashlib
import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.attest.enclave_double import (
    MANIFEST,
    MANIFEST_SHA256,
    MEASUREMENT,
    NONCE,
    Enclave,
    TestPlatform,
    key_document,
)
from tests.unit.attest.releases.publisher import KEYS, keys_file, release

from confide.attest.collateral import encode_bundle
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.attest.evidence import Evidence
from confide.attest.policy_defaults import policy_text
from confide.attest.releases.history import ReleaseStore
from confide.attest.verifier import Verifier
from confide.cli.attest_bundle import Bundle, Fetched
from confide.cli.main import main

assert Verifier, "imported before a test replaces the built-in platforms"
HOPPER = Path(__file__).parents[2] / "vectors/attestation/nvidia/hopper-550.90.07"
RIMS = HOPPER.parent / "rim"
RIM_TIME = "2025-08-21T12:00:00"
WORKLOAD = {
    "name": "release-1",
    "manifest_sha256": MANIFEST_SHA256.hex(),
    "snp": [{"product": "Genoa", "vcpus": 4, "measurement": MEASUREMENT.hex()}],
}
NOW = datetime.now(tz=UTC)
TEXT = policy_text((WORKLOAD,), name="production", not_after=NOW + timedelta(days=365))


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(["policy", *map(str, words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    return path


# init.


@pytest.fixture
def store(tmp_path):
    """A store that trusts the publisher of the tests, by today's date."""
    raw = keys_file(replace(KEYS, not_after=NOW + timedelta(days=365)))
    found = ReleaseStore(tmp_path / "store")
    found.trust(raw, sha256=hashlib.sha256(raw).digest(), at=NOW)
    return found.folder


def test_a_release_becomes_a_policy(tmp_path, run, store):
    source, target = tmp_path / "release.json", tmp_path / "new.toml"
    end = NOW + timedelta(days=20)
    source.write_bytes(release(not_before=NOW - timedelta(days=1), not_after=end))
    code, _, err = run("init", target, "--release", source, "--store", store)
    assert (code, "check" in err) == (0, True), err
    table = tomllib.loads(target.read_text())
    assert table["profile"] == "production"
    assert table["workload"][0]["snp"][0]["measurement"] == MEASUREMENT.hex()
    assert table["not_after"] <= end
    assert "# " in target.read_text()
    assert run("check", target)[0] == 0


@pytest.mark.parametrize("signers", [(), None])
def test_a_release_that_does_not_count_writes_nothing(tmp_path, run, store, signers):
    source, target = tmp_path / "release.json", tmp_path / "new.toml"
    dates = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
    source.write_bytes(release(**dates) if signers is None else release(signers=signers))
    assert run("init", target, "--release", source, "--store", store)[0] == 3
    assert not target.exists()


def bundle(tmp_path, *enclaves):
    path = tmp_path / "bundle.json"
    replicas = tuple(Fetched(one.document, one.collect(), MANIFEST) for one in enclaves)
    path.write_bytes(Bundle("https://gateway.example", NONCE, NOW, replicas).encode())
    return path


def enclave(**changes):
    start = int(NOW.timestamp()) - 60
    document = key_document(not_before=start, not_after=start + 86_400)
    claims = Enclave().claims | {"product": "Genoa"} | changes
    return Enclave(platform="sev-snp", document=document, claims=claims)


@pytest.fixture
def platform(monkeypatch):
    found = TestPlatform("sev-snp", NOW + timedelta(days=1))
    monkeypatch.setattr("confide.attest.verifier.BUILT_IN", {"sev-snp": found})
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {"sev-snp": found})
    monkeypatch.setattr(
        "confide.attest.verifier.genuine_claims.__kwdefaults__",
        {"platforms": {"sev-snp": found}, "endorsements": ()},
    )


def test_what_an_enclave_showed_becomes_a_policy_for_the_lab(tmp_path, run, platform):
    target = tmp_path / "new.toml"
    code, _, err = run("init", target, "--from-evidence", bundle(tmp_path, enclave(), enclave()))
    assert code == 0, err
    text = target.read_text()
    assert text.startswith("# TRUST ON FIRST USE")
    table = tomllib.loads(text)
    assert table["profile"] == "lab"
    # Two replicas showed the same; it is listed once.
    assert len(table["workload"]) == 1
    assert table["workload"][0]["manifest_sha256"] == MANIFEST_SHA256.hex()
    assert "lab" in run("check", target)[1]


def test_what_the_bundle_carries_is_looked_at(tmp_path, run, platform):
    """An enclave need not staple anything; verify --save keeps what was found elsewhere."""
    one, key = enclave(), EndorsementKey("test/list")
    evidence = replace(Evidence.parse(one.collect()), collateral={}).encode()
    path, target = tmp_path / "bundle.json", tmp_path / "new.toml"
    for carried, code in (((), 3), ((Endorsement(key, b"content", "test"),), 0)):
        replicas = (Fetched(one.document, evidence, MANIFEST),)
        saved = Bundle("https://g.example", NONCE, NOW, replicas, encode_bundle(carried))
        path.write_bytes(saved.encode())
        assert run("init", target, "--from-evidence", path)[0] == code
        assert target.exists() == (code == 0)


def test_evidence_that_is_not_genuine_writes_nothing(tmp_path, run, platform):
    target = tmp_path / "new.toml"
    path = bundle(tmp_path, enclave())
    members = json.loads(path.read_text())
    path.write_text(json.dumps(members | {"nonce": "ab" * 32}))
    assert run("init", target, "--from-evidence", path)[0] == 3
    assert not target.exists()


def test_nothing_is_overwritten(tmp_path, run, platform, file):
    before = file.read_bytes()
    code, _, err = run("init", file, "--from-evidence", bundle(tmp_path, enclave()))
    assert code == 1
    assert "exists" in err
    assert file.read_bytes() == before


@pytest.mark.parametrize("words", [(), ("--release", "{}", "--from-evidence", "{}")])
def test_init_takes_exactly_one_source(tmp_path, run, file, words):
    words = [word.format(file) for word in words]
    assert run("init", tmp_path / "new.toml", *words)[0] == 2


# check.


def test_check_says_in_words_what_is_demanded(run, file):
    code, out, _ = run("check", file)
    assert code == 0
    for text in ("debuggable", "Genoa", "microcode 84", "no GPU", "snp_chip_ids"):
        assert text in out


def test_check_as_json(run, file):
    code, out, _ = run("check", file, "--json")
    found = json.loads(out)
    assert (code, found["valid"], found["profile"]) == (0, True, "production")
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(found["demands"]) > 10


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("max_vmpl = 0", "max_vmpl = 9", "policy.invalid"),
        ("max_vmpl = 0", "max_vpml = 0", "policy.unknown_key"),
        ("[snp]", "[snp]\nallow_debug = true", "policy.profile"),
    ],
)
def test_check_refuses_with_the_code_of_the_loader(run, file, old, new, expected):
    file.write_text(TEXT.replace(old, new, 1))
    code, out, err = run("check", file, "--json")
    found = json.loads(out)
    assert (code, found["valid"], found["error"]["code"]) == (1, False, expected)
    assert "confide: error:" in err


def test_check_as_of_another_day(run, file):
    assert run("check", file, "--at", "2100-01-01")[0] == 1
    late = (NOW + timedelta(days=350)).date()
    assert "ends in 1" in run("check", file, "--at", late)[1]
    assert "ends in" not in run("check", file)[1]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('crl = "required"', 'crl = "optional"', "snp.crl"),
        ("allow_migration_agent = false", "allow_migration_agent = true", "migration"),
        ("require_alias_check = true", "require_alias_check = false", "BadRAM"),
        ("[snp.min_tcb.Genoa]", "[snp.min_tcb.Milan]\nbootloader = 4\ntee = 0\nsnp = 24\n"
         "microcode = 219\n[snp.min_tcb.Genoa]", "Milan"),
        ('profile = "production"', 'profile = "lab"', "lab"),
    ],
)  # fmt: skip
def test_check_warns_of_what_the_loader_accepts(run, file, old, new, text):
    before = [line for line in run("check", file)[1].splitlines() if line.startswith("warning")]
    file.write_text(TEXT.replace(old, new, 1))
    code, out, _ = run("check", file)
    after = [line for line in out.splitlines() if line.startswith("warning")]
    assert code == 0
    assert len(after) == len(before) + 1
    assert any(text in line for line in after)


# diff.


@pytest.mark.parametrize(
    ("old", "new", "path", "effect"),
    [
        ("max_vmpl = 0", "max_vmpl = 1", "snp.max_vmpl", "loosened"),
        ("microcode = 84", "microcode = 83", "snp.min_tcb.Genoa.microcode", "loosened"),
        ("microcode = 84", "microcode = 85", "snp.min_tcb.Genoa.microcode", "tightened"),
        ("allow_smt = true", "allow_smt = false", "snp.allow_smt", "tightened"),
        ("allow_cxl = false", "allow_cxl = true", "snp.allow_cxl", "loosened"),
        ("require_alias_check = true", "require_alias_check = false",
         "snp.require_alias_check", "loosened"),
        ('platform_info_unknown = "allow"', "", "snp.platform_info_unknown", "tightened"),
        ('crl = "required"', 'crl = "optional"', "snp.crl", "loosened"),
        ('min_abi = "1.55"', 'min_abi = "1.9"', "snp.min_abi", "loosened"),
        ('min_abi = "1.55"', 'min_abi = "2.0"', "snp.min_abi", "tightened"),
        ('signers = ["vcek"]', 'signers = ["vlek", "vcek"]\ncsp_id = ["CN=x"]',
         "snp.signers", "loosened"),
        ("[snp.min_tcb.Turin]\nfmc = 1\nbootloader = 1\ntee = 1\nsnp = 4\nmicrocode = 81\n", "",
         "snp.min_tcb.Turin", "tightened"),
        ('profile = "production"', 'profile = "lab"', "profile", "loosened"),
        ('name = "production"', 'name = "other"', "name", "changed"),
        (MEASUREMENT.hex(), bytes(range(1, 49)).hex(), "workload", "loosened"),
    ],
)  # fmt: skip
def test_each_change_says_which_way_it_goes(tmp_path, run, file, old, new, path, effect):
    other = tmp_path / "other.toml"
    assert TEXT.count(old) >= 1
    other.write_text(TEXT.replace(old, new, 1))
    code, out, err = run("diff", file, other, "--json")
    found = [(one["path"], one["effect"]) for one in json.loads(out)]
    assert (path, effect) in found, err
    assert code == (1 if any(one == "loosened" for _, one in found) else 0)
    # The way back is the opposite way.
    _, out, _ = run("diff", other, file, "--json")
    back = {"loosened": "tightened", "tightened": "loosened", "changed": "changed"}[effect]
    assert (path, back) in [(one["path"], one["effect"]) for one in json.loads(out)]


def test_a_list_of_machines_tightens_and_each_further_one_loosens(tmp_path, run, file):
    first, second = bytes(range(64)).hex(), bytes(range(1, 65)).hex()
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(TEXT + f'[platforms]\nsnp_chip_ids = ["{first}"]\n')
    two.write_text(TEXT + f'[platforms]\nsnp_chip_ids = ["{second}", "{first.upper()}"]\n')
    code, out, _ = run("diff", file, one, "--json")
    assert (code, json.loads(out)[0]["effect"]) == (0, "tightened")
    code, out, _ = run("diff", one, two, "--json")
    assert [(c["path"], c["effect"]) for c in json.loads(out)] == [
        ("platforms.snp_chip_ids", "loosened")
    ]
    assert code == 1
    assert json.loads(run("diff", two, file, "--json")[1])[0]["effect"] == "loosened"


def test_text_that_means_the_same_is_no_change(tmp_path, run, file):
    other = tmp_path / "other.toml"
    lines = [
        line for line in TEXT.splitlines() if not line.startswith(("max_vmpl", "crl", "min_g"))
    ]
    other.write_text("\n".join(lines).replace(MEASUREMENT.hex(), MEASUREMENT.hex().upper()))
    code, out, err = run("diff", file, other)
    assert (code, out) == (0, "")
    assert "the same" in err


def test_a_later_end_is_looser(tmp_path, run, file):
    other = tmp_path / "other.toml"
    other.write_text(
        policy_text((WORKLOAD,), name="production", not_after=NOW + timedelta(days=366))
    )
    code, out, _ = run("diff", file, other, "--json")
    assert [(c["path"], c["effect"]) for c in json.loads(out)] == [("not_after", "loosened")]
    assert code == 1


def test_the_old_one_may_have_expired_and_the_new_one_may_not(tmp_path, run, file):
    ended = tmp_path / "ended.toml"
    ended.write_text(policy_text((WORKLOAD,), name="x", not_after=NOW - timedelta(days=1)))
    assert run("diff", ended, file)[0] == 1
    code, _, err = run("diff", file, ended)
    assert code == 1
    assert "ended" in err


def test_a_platform_that_appears_is_looser_and_gpus_are_tighter(tmp_path, run, file):
    other = tmp_path / "other.toml"
    golden = '[[nvidia.golden]]\nvbios = "96.00.9F.00.01"\nmeasurements = { "0" = ["%s"] }\n'
    gpu = '[nvidia]\ncount = 1\nmodes = ["SPT"]\narch = ["HOPPER"]\nrevocation = "crl"\n'
    other.write_text(TEXT + gpu + golden % ("ab" * 48))
    code, out, err = run("diff", file, other, "--json")
    assert [(c["path"], c["effect"]) for c in json.loads(out)] == [("[nvidia]", "tightened")], err
    assert code == 0
    looser = tmp_path / "looser.toml"
    looser.write_text(TEXT + gpu.replace("crl", "none") + golden % ("ab" * 48))
    _, out, _ = run("diff", other, looser, "--json")
    assert [(c["path"], c["effect"]) for c in json.loads(out)] == [
        ("nvidia.revocation", "loosened")
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "effects"),
    [
        ('11 = "%s"\n', "", "azure.pcrs.11", ["loosened"]),
        ('11 = "%s"\n', '11 = ["%s", "%s"]\n', "azure.pcrs.11", ["loosened"]),
        ("secure-boot = true", "secure-boot = false", "azure.vm.secure-boot",
         ["loosened", "tightened"]),
    ],
)  # fmt: skip
def test_each_pcr_is_compared(tmp_path, run, old, new, path, effects):
    first, second = "ab" * 32, "cd" * 32
    azure = f'[azure]\nparavisor = ["{bytes(range(48)).hex()}"]\n'
    azure += f'[azure.pcrs]\n4 = "{first}"\n11 = "{first}"\n[azure.vm]\nsecure-boot = true\n'
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(TEXT + azure)
    old = old % first if "%" in old else old
    new = new % ((first, second)[: new.count("%")]) if "%" in new else new
    two.write_text(TEXT + azure.replace(old, new))
    _, out, err = run("diff", one, two, "--json")
    assert [(c["path"], c["effect"]) for c in json.loads(out)] == [(path, e) for e in effects], err


# import-rim.


def rim(file, *words, driver=HOPPER / "driver-rim.xml", vbios=HOPPER / "vbios-rim.xml"):
    return ("import-rim", file, "--driver", driver, "--vbios", vbios, "--at", RIM_TIME, *words)


@pytest.fixture
def _lxml():
    pytest.importorskip("lxml", reason="pip install 'confide[rim]'")


@pytest.mark.usefixtures("_lxml")
def test_verified_manifests_are_added_and_the_text_stays(run, file):
    code, out, err = run(*rim(file, "--json"))
    assert code == 0, err
    assert json.loads(out)["added"] is True
    text = file.read_text()
    assert text.startswith(TEXT)
    golden = tomllib.loads(text)["nvidia"]["golden"]
    assert [(one["driver"], one["vbios"]) for one in golden] == [("550.90.07", "96.00.9F.00.01")]
    assert (
        hashlib.sha256((HOPPER / "driver-rim.xml").read_bytes()).hexdigest()
        in (golden[0]["rim_sha256"])
    )
    assert run("check", file)[0] == 0
    # The same again changes nothing.
    code, out, _ = run(*rim(file, "--json"))
    assert (code, json.loads(out)["added"], file.read_text()) == (0, False, text)


@pytest.mark.usefixtures("_lxml")
@pytest.mark.parametrize(
    "driver", ["driver-bad-signature.xml", "driver-untrusted-root.xml",
               "driver-535-digest-mismatch.xml"]
)  # fmt: skip
def test_a_manifest_that_is_not_genuine_changes_nothing(run, file, driver):
    assert run(*rim(file, driver=RIMS / driver))[0] == 3
    assert file.read_text() == TEXT
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.usefixtures("_lxml")
def test_an_expired_manifest_changes_nothing(run, file):
    words = [word for word in rim(file) if word not in ("--at", RIM_TIME)]
    assert run(*words)[0] == 3
    assert file.read_text() == TEXT
