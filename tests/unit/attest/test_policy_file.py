"""A policy file says everything it means; whatever else it says is refused."""

import hashlib
import tomllib
from pathlib import Path

import pytest
from tests.unit.attest.enclave_double import NOW

from confide.attest.claims import Claims
from confide.attest.policy_file import MAX_POLICY, load_policy, read_policy
from confide.errors import ConfigError

MEASUREMENT = bytes(range(48))
MANIFEST = bytes(range(32))
TEXT = f"""
version = 1
name = "production"
not_after = 2027-02-01T00:00:00Z

[[workload]]
name = "confide-0.1.0"
manifest_sha256 = "{MANIFEST.hex()}"
measurements = {{ sev-snp = ["{MEASUREMENT.hex()}"] }}

[min_tcb.sev-snp.Genoa]
bootloader = 10
microcode = 84
"""
GOOD = {
    "platform": "sev-snp",
    "product": "Genoa",
    "measurement": MEASUREMENT,
    "manifest_sha256": MANIFEST,
    "debuggable": False,
    "tcb": {"bootloader": 10, "microcode": 84},
}


def load(text=TEXT):
    return load_policy(text.encode(), at=NOW)


def refused(text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.code


def without(line):
    kept = [one for one in TEXT.splitlines() if not one.startswith(line)]
    assert len(kept) < len(TEXT.splitlines())
    return "\n".join(kept)


def test_a_file_becomes_a_policy():
    policy = load()
    assert policy.name == "production"
    assert policy.objections(Claims(GOOD), NOW) == []


def test_the_digest_is_that_of_the_file():
    assert load().digest == hashlib.sha256(TEXT.encode()).digest()


def test_debug_is_always_refused():
    assert load().objections(Claims(GOOD | {"debuggable": True}), NOW)


def test_a_gpu_and_a_pinned_key_are_demanded_when_the_file_says_so():
    policy = load(TEXT + f'[gpu]\ncount = 1\n[key]\ndocument_sha256 = "{MANIFEST.hex()}"\n')
    objections = policy.objections(Claims(GOOD), NOW)
    assert [o.claim for o in objections] == ["gpus", "document_sha256"]


@pytest.mark.parametrize("line", ["version", "name", "not_after", "manifest", "measurements"])
def test_a_missing_key_is_refused(line):
    assert refused(without(line)) == "policy.invalid"


def test_no_workload_is_refused():
    assert refused(TEXT.replace("[[workload]]", "[other]")) == "policy.unknown_key"
    assert refused(without("[[workload]]")) in ("policy.unknown_key", "policy.invalid")
    empty = 'version = 1\nname = "x"\nnot_after = 2027-02-01T00:00:00Z\nworkload = []\n'
    assert refused(empty) == "policy.no_workload"
    assert refused(empty.replace("workload = []", "")) == "policy.no_workload"


def test_an_empty_list_of_measurements_is_refused():
    assert refused(TEXT.replace(f'["{MEASUREMENT.hex()}"]', "[]")) == "policy.no_workload"


def test_no_tcb_floor_is_refused():
    assert refused(TEXT[: TEXT.index("[min_tcb")]) == "policy.invalid"
    assert refused(TEXT[: TEXT.index("bootloader")]) == "policy.invalid"


@pytest.mark.parametrize(
    "wildcard", ["*", "any", "", "0" * 96, "f" * 96, "**" * 48, MEASUREMENT.hex()[:-2], "zz" * 48]
)
def test_a_wildcard_is_no_measurement(wildcard):
    assert refused(TEXT.replace(MEASUREMENT.hex(), wildcard)) == "policy.invalid"


@pytest.mark.parametrize(
    "line",
    [
        "allow_debug = true",
        "require_nonce = false",
        "attest = false",
        "allow_simulated = true",
        'kind = "software-dev"',
    ],
)
@pytest.mark.parametrize("place", ["version = 1", "[[workload]]"])
def test_an_unknown_key_is_refused(line, place):
    assert refused(TEXT.replace(place, f"{place}\n{line}", 1)) == "policy.unknown_key"


@pytest.mark.parametrize("table", ["[gpu]\ncount = 1\nx = 1", f'[key]\nx = "{MANIFEST.hex()}"'])
def test_an_unknown_key_of_an_inner_table_is_refused(table):
    assert refused(TEXT + table) == "policy.unknown_key"


@pytest.mark.parametrize("platform", ["software-dev", "simulated", "software", "sgx", "test-cpu"])
def test_only_hardware_platforms_can_be_named(platform):
    assert refused(TEXT.replace("sev-snp", platform)) == "policy.unknown_key"


def test_an_expired_file_is_refused():
    assert refused(TEXT.replace("2027-02-01T00", "2026-11-21T12")) == "policy.expired"


@pytest.mark.parametrize(
    "date", ["2027-02-01", "2027-02-01T00:00:00", '"2027-02-01T00:00:00Z"', "1"]
)
def test_the_end_is_a_date_with_a_time_zone(date):
    assert refused(TEXT.replace("2027-02-01T00:00:00Z", date)) == "policy.invalid"


@pytest.mark.parametrize("number", ["-1", "256", "true", '"10"', "1.5", "[]"])
def test_a_component_is_a_small_number(number):
    assert refused(TEXT.replace("= 10", f"= {number}")) == "policy.invalid"


@pytest.mark.parametrize("table", ["[gpu]\ncount = 0", "[gpu]\ncount = true", "[gpu]", "[key]"])
def test_an_inner_table_says_something_usable(table):
    assert refused(TEXT + table) == "policy.invalid"


@pytest.mark.parametrize("version", ["2", "true", '"1"', "1.0"])
def test_another_version_is_refused(version):
    assert refused(TEXT.replace("version = 1", f"version = {version}")) == "policy.invalid"


@pytest.mark.parametrize("text", ["", "[", "a = 1\na = 2", "x = " + "[" * 5000])
def test_what_is_no_policy_is_refused(text):
    assert refused(text) == "policy.invalid"


def test_a_huge_file_is_refused():
    assert refused("#" * (MAX_POLICY + 1)) == "policy.invalid"


def test_bytes_that_are_not_text_are_refused():
    with pytest.raises(ConfigError):
        load_policy(b"\xff\xfe", at=NOW)


def test_a_file_is_read_from_disk(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    assert read_policy(path, at=NOW).digest == load().digest


def test_a_missing_file_is_an_error_about_the_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_policy(tmp_path / "none.toml", at=NOW)
    assert "none.toml" in str(caught.value)


def test_the_example_in_the_documentation_string_is_toml():
    import confide.attest.policy_file as module

    example = module.__doc__.split("Debuggable enclaves")[0].split("\n", 2)[2]
    assert set(tomllib.loads(example.replace("\n    ", "\n"))) == {
        "version", "name", "not_after", "workload", "min_tcb", "gpu", "key",
    }  # fmt: skip


def test_the_policy_in_the_documentation_loads():
    page = Path(__file__).parents[3] / "docs" / "explanation" / "attestation.md"
    example = page.read_text().split("```toml\n")[1].split("```")[0]
    assert load(example).name == "production"
