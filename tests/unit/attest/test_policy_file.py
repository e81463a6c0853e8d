"""A policy file says everything it means; whatever else it says is refused."""

import hashlib
import tomllib
from pathlib import Path

import pytest
from tests.unit.attest.enclave_double import NOW
from tests.unit.attest.platform_readers import platform_readers

from confide.attest.claims import Claims
from confide.attest.measurements import REGISTERS
from confide.attest.policy import Profile
from confide.attest.policy_file import MAX_POLICY, TOP_LEVEL, load_policy, read_policy
from confide.errors import ConfigError

assert platform_readers
MEASUREMENT = bytes(range(48))
MANIFEST = bytes(range(32))
TEXT = f"""
version = 1
name = "production"
not_after = 2027-02-01T00:00:00Z

[[workload]]
name = "confide-0.1.0"
manifest_sha256 = "{MANIFEST.hex()}"
snp = [{{ product = "Genoa", vcpus = 4, measurement = "{MEASUREMENT.hex()}" }}]

[snp.min_tcb.Genoa]
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
TDX = {name: bytes(range(start, start + 48)) for start, name in enumerate(REGISTERS, start=1)}
TDX_TEXT = f"""
version = 1
name = "production"
not_after = 2027-02-01T00:00:00Z

[[workload]]
name = "confide-0.1.0"
manifest_sha256 = "{MANIFEST.hex()}"
[[workload.tdx]]
mr_td = "{TDX["mr_td"].hex()}"
rtmr0 = ["{bytes(range(9, 57)).hex()}", "{TDX["rtmr0"].hex()}"]
rtmr1 = "{TDX["rtmr1"].hex()}"
rtmr2 = "{TDX["rtmr2"].hex()}"
rtmr3 = "zero"

[tdx]
min_tcb_evaluation_number = 18
"""
TDX_GOOD = {
    "platform": "tdx",
    "product": "TDX",
    "measurement": b"".join([*TDX.values()][:4]) + bytes(48),
    "manifest_sha256": MANIFEST,
    "debuggable": False,
    "tcb": {"tcb_evaluation_number": 18},
}

pytestmark = pytest.mark.usefixtures("platform_readers")


def objected(text, claims, **changes):
    found = load(text).objections(Claims(claims | changes), NOW)
    return [objection.code for objection in found]


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
    policy = load(TEXT + f'[nvidia]\ncount = 1\n[key]\ndocument_sha256 = "{MANIFEST.hex()}"\n')
    objections = policy.objections(Claims(GOOD), NOW)
    assert [o.claim for o in objections] == ["gpus", "document_sha256"]


@pytest.mark.parametrize("line", ["version", "name", "not_after", "manifest"])
def test_a_missing_key_is_refused(line):
    assert refused(without(line)) == "policy.invalid"


def test_no_workload_is_refused():
    assert refused(TEXT.replace("[[workload]]", "[other]")) == "policy.unknown_key"
    assert refused(without("[[workload]]")) in ("policy.unknown_key", "policy.invalid")
    empty = 'version = 1\nname = "x"\nnot_after = 2027-02-01T00:00:00Z\nworkload = []\n'
    assert refused(empty) == "policy.no_workload"
    assert refused(empty.replace("workload = []", "")) == "policy.no_workload"


def test_an_empty_list_of_measurements_is_refused():
    inner = TEXT[TEXT.index("[{") : TEXT.index("}]") + 2]
    assert refused(TEXT.replace(inner, "[]")) == "policy.no_workload"
    assert refused(without("snp = [")) == "policy.no_workload"


def test_no_tcb_floor_is_refused():
    assert refused(TEXT[: TEXT.index("[snp.min_tcb")]) == "policy.invalid"
    assert refused(TEXT[: TEXT.index("[snp.min_tcb")] + "[snp]") == "policy.invalid"


@pytest.mark.parametrize(
    "wildcard", ["*", "any", "", "0" * 96, "f" * 96, "**" * 48, MEASUREMENT.hex()[:-2], "zz" * 48]
)
def test_a_wildcard_is_no_measurement(wildcard):
    assert refused(TEXT.replace(MEASUREMENT.hex(), wildcard)) == "policy.invalid"


@pytest.mark.parametrize(
    "line",
    [
        "allow_debug = true",
        'max_cached_age = "24h"',
        "attest = false",
        "allow_simulated = true",
        'kind = "software-dev"',
    ],
)
@pytest.mark.parametrize("place", ["version = 1", "[[workload]]"])
def test_an_unknown_key_is_refused(line, place):
    assert refused(TEXT.replace(place, f"{place}\n{line}", 1)) == "policy.unknown_key"


@pytest.mark.parametrize(
    "table",
    [
        "[snp.x]\ny = 1",
        "[nvidia]\ncount = 1\nx = 1",
        f'[key]\nx = "{MANIFEST.hex()}"',
        '[platforms]\nx = ["00"]',
        "[min_tcb.sev-snp.Genoa]\nsnp = 1",
        "[gpu]\ncount = 1",
    ],
)
def test_an_unknown_key_of_an_inner_table_is_refused(table):
    assert refused(TEXT + table) == "policy.unknown_key"


@pytest.mark.parametrize("kind", ["software-dev", "simulated", "software", "sgx", "test-cpu"])
def test_only_hardware_platforms_can_be_named(kind):
    assert refused(TEXT.replace("snp = [", f"{kind} = [")) == "policy.unknown_key"
    assert refused(TEXT + f"[{kind}]\nx = 1") == "policy.unknown_key"


def test_an_expired_file_is_refused():
    assert refused(TEXT.replace("2027-02-01T00", "2026-11-21T12")) == "policy.expired"


@pytest.mark.parametrize(
    "date", ["2027-02-01", "2027-02-01T00:00:00", '"2027-02-01T00:00:00Z"', "1"]
)
def test_the_end_is_a_date_with_a_time_zone(date):
    assert refused(TEXT.replace("2027-02-01T00:00:00Z", date)) == "policy.invalid"


@pytest.mark.parametrize("table", ["[nvidia]", "[key]", "[platforms]", "[azure]", "[tdx]"])
def test_an_inner_table_says_something_usable(table):
    assert refused(TEXT + table) == "policy.invalid"


@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_a_table_that_no_workload_uses_is_refused(kind):
    other = TDX_TEXT if kind == "snp" else TEXT
    table = {
        "snp": "[snp.min_tcb.Genoa]\nsnp = 1",
        "tdx": "[tdx]\nmin_tcb_evaluation_number = 18",
    }
    assert refused(other + table[kind]) == "policy.invalid"


def test_a_measurement_without_the_table_of_its_platform_is_refused():
    assert refused(TEXT[: TEXT.index("[snp.min_tcb")]) == "policy.invalid"
    assert refused(TDX_TEXT[: TDX_TEXT.index("[tdx]")]) == "policy.invalid"


def test_a_name_that_two_workloads_share_is_refused():
    workload = TEXT[TEXT.index("[[workload]]") : TEXT.index("[snp.min_tcb")]
    assert refused(TEXT.replace(workload, workload * 2)) == "policy.invalid"


@pytest.mark.parametrize("product", ["", "Rome", "genoa", "*", "SEV"])
def test_a_product_is_one_that_has_certificates(product):
    assert refused(TEXT.replace('"Genoa"', f'"{product}"')) == "policy.invalid"


@pytest.mark.parametrize("number", ["0", "-1", "true", '"4"', "4097"])
def test_the_number_of_processors_is_a_small_number(number):
    assert refused(TEXT.replace("vcpus = 4", f"vcpus = {number}")) == "policy.invalid"


# Which platform answered.


def test_a_platform_that_no_workload_lists_is_refused():
    assert objected(TEXT, TDX_GOOD) == ["policy.platform"]
    assert objected(TDX_TEXT, GOOD) == ["policy.platform"]
    assert objected(TEXT, GOOD, platform="azure-sev-snp") == ["policy.platform"]


def test_each_refusal_carries_the_code_of_its_platform():
    assert objected(TEXT, GOOD, measurement=bytes(48)) == ["snp.measurement"]
    assert objected(TEXT, GOOD, debuggable=True) == ["snp.debug_allowed"]
    assert objected(TDX_TEXT, TDX_GOOD, debuggable=True) == ["tdx.debug"]
    assert objected(TEXT, GOOD, tcb={"bootloader": 10, "microcode": 83}) == ["snp.tcb_reported"]


def test_a_measurement_on_another_product_than_listed_is_refused():
    both = TEXT + "[snp.min_tcb.Turin]\nbootloader = 1\nmicrocode = 1\n"
    assert objected(both, GOOD) == []
    assert objected(both, GOOD, product="Turin") == ["snp.measurement"]


@pytest.mark.parametrize("number", range(5))
def test_the_register_that_differs_is_named(number):
    assert objected(TDX_TEXT, TDX_GOOD) == []
    measurement = bytearray(TDX_GOOD["measurement"])
    measurement[48 * number] ^= 1
    expected = [f"tdx.{REGISTERS[number]}"]
    assert objected(TDX_TEXT, TDX_GOOD, measurement=bytes(measurement)) == expected


def test_every_register_that_differs_is_named():
    assert objected(TDX_TEXT, TDX_GOOD, measurement=b"\x77" * 240) == [
        f"tdx.{name}" for name in REGISTERS
    ]
    assert objected(TDX_TEXT, TDX_GOOD, measurement=b"\x77" * 48) == ["tdx.mr_td"]


def test_each_listed_alternative_of_the_machine_shape_is_accepted():
    other = TDX_GOOD["measurement"][:48] + bytes(range(9, 57)) + TDX_GOOD["measurement"][96:]
    assert objected(TDX_TEXT, TDX_GOOD, measurement=other) == []


@pytest.mark.parametrize("name", ["mr_td", "rtmr1", "rtmr2"])
def test_only_the_register_of_the_application_may_be_zero(name):
    text = TDX_TEXT.replace(f'"{TDX[name].hex()}"', '"zero"', 1)
    assert text != TDX_TEXT
    assert refused(text) == "policy.invalid"
    assert refused(TDX_TEXT.replace('["' + bytes(range(9, 57)).hex(), '["zero')) == "policy.invalid"


@pytest.mark.parametrize("line", ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"])
def test_a_register_that_is_not_listed_is_refused(line):
    text = "\n".join(one for one in TDX_TEXT.splitlines() if not one.startswith(line))
    assert refused(text) == "policy.invalid"


AZURE = f"""
version = 1
name = "production"
not_after = 2027-02-01T00:00:00Z
[[workload]]
name = "confide-0.1.0"
manifest_sha256 = "{MANIFEST.hex()}"
[snp.min_tcb.Genoa]
bootloader = 10
microcode = 84
[azure]
measurement = ["{MEASUREMENT.hex()}"]
manifest = "{MANIFEST.hex()}"
"""


def test_on_azure_the_workload_is_measured_by_the_table_azure():
    azure = GOOD | {"platform": "azure-sev-snp"}
    assert objected(AZURE, azure) == []
    assert objected(AZURE, azure, tcb={"bootloader": 9, "microcode": 84}) == ["snp.tcb_reported"]
    assert len(objected(AZURE, azure, measurement=bytes(48))) == 1
    assert objected(AZURE, azure, debuggable=True) == ["snp.debug_allowed"]
    # Its manifest is one of the workloads', and the machine is Azure's.
    assert objected(AZURE, azure, manifest_sha256=bytes(32))
    assert objected(AZURE, GOOD) == ["policy.platform"]
    assert objected(AZURE, azure, platform="azure-tdx") == ["policy.platform"]


def test_azure_without_the_processor_inside_is_refused():
    assert refused(AZURE.replace(AZURE[AZURE.index("[snp") : AZURE.index("[azure]")], "")) == (
        "policy.invalid"
    )


# Machines.


CHIP = bytes(range(64))
PLATFORMS = f'[platforms]\nsnp_chip_ids = ["{CHIP.hex()}"]\n'


def test_a_machine_that_is_not_listed_is_refused():
    text = TEXT + PLATFORMS
    assert objected(text, GOOD, chip_id=CHIP) == []
    assert objected(text, GOOD, chip_id=bytes(64)) == ["snp.chip_not_listed"]
    assert objected(text, GOOD) == ["snp.chip_not_listed"]


def test_a_masked_chip_id_is_no_machine():
    text = TEXT + PLATFORMS.replace(CHIP.hex(), "00" * 64)
    assert objected(text, GOOD, chip_id=bytes(64)) == ["snp.chip_not_listed"]


def test_a_platform_instance_that_is_not_listed_is_refused():
    text = TDX_TEXT + f'[platforms]\ntdx_platform_ids = ["{"Ab" * 16}"]\n'
    assert objected(text, TDX_GOOD, platform_id="ab" * 16) == []
    assert objected(text, TDX_GOOD, platform_id="ac" * 16) == ["tdx.platform_not_listed"]
    assert objected(text, TDX_GOOD) == ["tdx.platform_not_listed"]


def test_a_gpu_that_is_not_listed_is_refused():
    text = TEXT + '[nvidia]\ncount = 1\n[platforms]\ngpu_serials = ["4a01"]\n'
    gpu = {"device": "4A01", "confidential": True, "developer_tools": False}
    assert objected(text, GOOD, gpus=(gpu,)) == []
    assert objected(text, GOOD, gpus=(gpu | {"device": "4a02"},)) == ["nv.device_not_listed"]
    assert "nv.device_not_listed" in objected(text, GOOD, gpus=())
    assert refused(TEXT + '[platforms]\ngpu_serials = ["4a01"]\n') == "policy.invalid"


@pytest.mark.parametrize("value", ["[]", '["*"]', '"00"', '["00"]', "[1]", "{}"])
def test_a_list_of_machines_lists_machines(value):
    assert refused(TEXT + f"[platforms]\nsnp_chip_ids = {value}") == "policy.invalid"


def test_a_machine_listed_twice_is_refused():
    twice = f'[platforms]\nsnp_chip_ids = ["{CHIP.hex()}", "{CHIP.hex()}"]'
    assert refused(TEXT + twice) == "policy.invalid"


# Profile, nonce, debug.


def top(line):
    return TEXT.replace("version = 1", f"version = 1\n{line}")


def test_a_policy_is_for_production_unless_it_says_otherwise():
    assert load().profile is Profile.PRODUCTION
    assert load(top('profile = "production"')).profile is Profile.PRODUCTION
    assert load(top('profile = "lab"')).profile is Profile.LAB


@pytest.mark.parametrize("value", ['"prod"', '"Lab"', "true", "1", '""'])
def test_another_profile_is_refused(value):
    assert refused(top(f"profile = {value}")) == "policy.invalid"


@pytest.mark.parametrize("value", ["false", "1", '"true"', "[]"])
def test_evidence_that_answers_no_challenge_cannot_be_allowed(value):
    assert load(top("require_nonce = true")).name == "production"
    assert refused(top(f"require_nonce = {value}")) == "policy.invalid"


@pytest.mark.parametrize("profile", ["production", "lab"])
@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_no_profile_lets_a_debuggable_enclave_be_allowed(profile, kind):
    text = (TEXT if kind == "snp" else TDX_TEXT).replace(
        "version = 1", f'version = 1\nprofile = "{profile}"'
    )
    table = f"[{kind}]\nallow_debug = "
    with_key = text.replace("[tdx]\n", table + "true\n") if kind == "tdx" else text + table + "true"
    assert refused(with_key) == "policy.profile"
    assert load(with_key.replace("true", "false")).name == "production"
    assert refused(with_key.replace("allow_debug = true", 'allow_debug = "no"')) == "policy.invalid"


def test_the_lab_accepts_nothing_that_production_refuses():
    lab = load(top('profile = "lab"'))
    for changes in (
        {"debuggable": True},
        {"measurement": bytes(48)},
        {"tcb": {}},
        {"product": "x"},
    ):
        claims = Claims(GOOD | changes)
        codes = [o.code for o in lab.objections(claims, NOW)]
        assert codes
        assert codes == [o.code for o in load().objections(claims, NOW)]


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

    example = module.__doc__.split("The tables")[0].split("\n", 2)[2]
    assert set(tomllib.loads(example.replace("\n    ", "\n"))) == {
        "version", "name", "not_after", "profile", "require_nonce", "workload", "snp",
        "platforms", "key",
    }  # fmt: skip
    assert set(tomllib.loads(example.replace("\n    ", "\n"))) < set(TOP_LEVEL)


def test_the_policy_in_the_documentation_loads():
    page = Path(__file__).parents[3] / "docs" / "explanation" / "attestation.md"
    example = page.read_text().split("```toml\n")[1].split("```")[0]
    assert load(example).name == "production"
