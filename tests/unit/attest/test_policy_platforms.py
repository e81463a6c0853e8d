"""The default policy, and every key of a file, against the readers of the real platforms."""

import importlib
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.attest.snp.mint import NOW, TURIN_WORLD, World

from confide.attest.claims import Claims
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.policy import Profile
from confide.attest.policy_defaults import NVIDIA_TABLE, SNP_TABLE, default_policy, policy_text
from confide.attest.policy_file import READERS, TOP_LEVEL, load_policy, read_policy, read_tables
from confide.attest.policy_keys import KEYS, Direction
from confide.errors import ConfigError

ROOT = Path(__file__).parents[3]
MEASUREMENT, MANIFEST = bytes(range(48)), bytes(range(32))
END = NOW + timedelta(days=30)
REGISTERS = [bytes(range(start, start + 48)).hex() for start in range(1, 5)]
WORKLOAD = {
    "name": "release",
    "manifest_sha256": MANIFEST.hex(),
    "snp": [
        {"product": product, "vcpus": 4, "measurement": MEASUREMENT.hex()}
        for product in ("Genoa", "Milan", "Turin")
    ],
    "tdx": [
        dict(zip(("mr_td", "rtmr1", "rtmr2"), REGISTERS, strict=False))
        | {"rtmr0": [REGISTERS[3]], "rtmr3": "zero"}
    ],
}
GENOA = World()


def default(*workloads):
    return default_policy(workloads or (WORKLOAD,), name="default", not_after=END, at=NOW)


def codes(world, policy=None):
    genuine = authenticate_report(
        world.report, vek=world.vek, chain=world.chain, crl=world.crl(), at=NOW, roots=world.roots
    )
    claims = Claims(
        genuine.claims()
        | {"platform": "sev-snp", "manifest_sha256": MANIFEST, "gpus": (), "document_sha256": b""}
    )
    return [one.code for one in (policy or default()).objections(claims, NOW)]


@pytest.mark.parametrize("world", [GENOA, TURIN_WORLD], ids=["Genoa", "Turin"])
def test_the_default_policy_accepts_an_up_to_date_guest(world):
    assert codes(world.but(measurement=MEASUREMENT)) == []


def test_the_default_policy_refuses_milan():
    floor = {"bootloader": 255, "tee": 255, "snp": 255, "microcode": 255}
    assert codes(World(product="Milan", tcb=floor)) != []
    assert all(code.startswith("snp.tcb") for code in codes(World(product="Milan", tcb=floor)))


@pytest.mark.parametrize("name", ["bootloader", "snp", "microcode"])
def test_the_default_policy_refuses_firmware_one_below_its_floor(name):
    lower = GENOA.tcb | {name: GENOA.tcb[name] - 1}
    assert "snp.tcb_reported" in codes(GENOA.but(tcb=lower))


def test_the_default_policy_refuses_a_debuggable_guest():
    assert "snp.debug_allowed" in codes(GENOA.but(policy=0x20000 | 1 << 19))


def test_the_default_policy_refuses_another_program():
    assert codes(GENOA.but(measurement=b"\x01" * 48)) == ["snp.measurement"]


def test_the_default_policy_is_for_production():
    assert default().profile is Profile.PRODUCTION
    assert default().expires_at == END


def test_the_default_policy_needs_a_workload():
    with pytest.raises(ConfigError) as caught:
        default_policy((), name="x", not_after=END, at=NOW)
    assert caught.value.code == "policy.no_workload"


@pytest.mark.parametrize("kinds", [("snp",), ("tdx",), ("snp", "tdx")])
def test_what_is_written_is_what_the_code_demands(kinds):
    kept = {k: v for k, v in WORKLOAD.items() if k in kinds or k not in ("snp", "tdx")}
    text = policy_text((kept,), name='a "name" \u00fc', not_after=END, remarks=("one", ""))
    written = load_policy(text.encode(), at=NOW)
    assert written.name == 'a "name" \u00fc'
    built = default_policy((kept,), name='a "name" \u00fc', not_after=END, at=NOW)
    assert written.requirement.describe() == built.requirement.describe()


def test_the_policy_in_the_documentation_loads(tmp_path):
    page = (ROOT / "docs/explanation/attestation.md").read_text()
    path = tmp_path / "policy.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0])
    assert read_policy(path, at=NOW).name == "production"


# Every key.


def keys_of(kind):
    module = importlib.import_module(READERS[kind].partition(":")[0])
    return set(getattr(module, "KEYS", None) or module._KEYS)


@pytest.mark.parametrize("kind", ["snp", "tdx", "nvidia", "azure"])
def test_every_key_of_a_platform_is_described_and_no_other(kind):
    described = {path.partition(".")[2] for path in KEYS if path.startswith(f"{kind}.")}
    # Read before the platform sees its table; the same for each.
    ours = {"snp": {"allow_debug"}, "tdx": {"allow_debug"}}.get(kind, set())
    if kind == "tdx":
        ours |= {"require_sept_ve_disable", "allow_service_td"}
    assert described == keys_of(kind) | ours


def test_every_key_at_the_top_is_described_and_no_other():
    described = {path.partition(".")[0] for path in KEYS}
    assert described == set(TOP_LEVEL)


def snp_file(**changes):
    tables = tomllib.loads(policy_text((WORKLOAD,), name="x", not_after=END))
    del tables["tdx"]
    tables["workload"] = [{k: v for k, v in WORKLOAD.items() if k != "tdx"}]
    tables["snp"] |= changes
    return tables


@pytest.mark.parametrize(
    "path",
    [p for p, key in KEYS.items() if p.startswith("snp.") and key.default is not None],
)
def test_a_default_written_out_changes_nothing(path):
    name = path.partition(".")[2]
    without = snp_file()
    without["snp"].pop(name, None)
    written = snp_file(**{name: KEYS[path].default})
    first, second = (read_tables(one, at=NOW) for one in (without, written))
    assert first.requirement.describe() == second.requirement.describe()


@pytest.mark.parametrize(
    "path", [p for p, key in KEYS.items() if key.direction is Direction.ORDERED]
)
def test_the_words_of_a_key_are_in_order_and_complete(path):
    key = KEYS[path]
    assert len(set(key.values)) == len(key.values) > 1
    assert all(value in key.form for value in key.values)


def test_the_table_of_gpus_that_init_writes_needs_only_reference_values():
    tables = tomllib.loads(NVIDIA_TABLE)
    golden = {"driver": "550.90.07", "vbios": "96.00.9F.00.01", "measurements": {"0": ["ab" * 48]}}
    tables["nvidia"]["golden"] = [golden]
    assert read_tables(snp_file() | tables, at=NOW).name == "x"


@pytest.mark.parametrize(
    ("key", "wrong"), [("require_sept_ve_disable", False), ("allow_service_td", True)]
)
def test_a_key_with_one_value_has_no_other(key, wrong):
    tables = tomllib.loads(policy_text((WORKLOAD,), name="x", not_after=END))
    tables["tdx"][key] = not wrong
    assert read_tables(tables, at=NOW).name == "x"
    for value in (wrong, int(not wrong), "yes"):
        tables["tdx"][key] = value
        with pytest.raises(ConfigError) as caught:
            read_tables(tables, at=NOW)
        assert caught.value.code == "policy.invalid"
        assert caught.value.hint


def test_a_policy_for_azure_is_whole():
    tables = snp_file()
    tables["workload"] = [{k: WORKLOAD[k] for k in ("name", "manifest_sha256")}]
    tables["azure"] = {
        "paravisor": [bytes(range(48)).hex()],
        "pcrs": {"11": "ab" * 32},
        "vm": {"secure-boot": True},
    }
    assert read_tables(tables, at=NOW).name == "x"
    del tables["azure"]["pcrs"]
    with pytest.raises(ConfigError):
        read_tables(tables, at=NOW)


def test_the_floors_that_are_written_leave_milan_out():
    assert "Milan" not in tomllib.loads(SNP_TABLE)["snp"]["min_tcb"]
