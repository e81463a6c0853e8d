"""What a policy may demand of GPUs: each demand alone refuses what it is there to refuse."""

from dataclasses import replace

import pytest
from tests.unit.attest.nvidia import mint

from confide.attest.claims import Claims
from confide.attest.gpu_statement import read_gpu_statement
from confide.attest.platforms.nvidia import policy
from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.requirements import (
    Architectures,
    ConfidentialMode,
    DeviceCount,
    FirmwareNamed,
    GoldenMeasurements,
    IfAnyDevice,
    Modes,
    NotRevoked,
)
from confide.enclave.manifest import GpuState, Manifest
from confide.errors import BindingError, ConfigError

VALUE = "ab" * 48
GOLDEN = GoldenSet("550.90.07", "96.00.9F.00.01", {0: (VALUE, "cd" * 48), 4: (VALUE,)})
DEVICE = {
    "device": "41431d480fe5e87274", "kind": "gpu", "arch": "HOPPER", "driver": "550.90.07",
    "vbios": "96.00.9F.00.01", "mode": "SPT", "revocation": "ocsp", "revocation_problem": "",
    "measurements": {"0": VALUE, "4": VALUE, "9": "ff"}, "pdis": (), "confidential": True,
    "developer_tools": False, "environment": "production", "stated_count": 1,
    "stated_mode": "SPT", "fwid": "match",
}  # fmt: skip
SWITCH = {
    "device": "50203eb31ad9ed0008", "kind": "switch", "arch": "LS10", "driver": "",
    "vbios": "96.10.55.00.01", "mode": "unknown", "revocation": "ocsp", "pdis": ("aa",),
    "measurements": {},
}  # fmt: skip


def claims(*devices) -> Claims:
    return Claims({"platform": "sev-snp", "gpus": devices})


def codes(leaf, *devices) -> list[str]:
    return [objection.code for objection in leaf.objections(claims(*devices))]


def without(name) -> dict:
    return {key: value for key, value in DEVICE.items() if key != name}


LEAVES = [
    DeviceCount(1),
    ConfidentialMode(),
    Modes(frozenset({"SPT"})),
    Architectures(frozenset({"HOPPER"})),
    FirmwareNamed(),
    NotRevoked("ocsp"),
    GoldenMeasurements((GOLDEN,)),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_a_device_that_meets_every_demand_is_accepted(leaf):
    assert codes(leaf, DEVICE) == []


@pytest.mark.parametrize(
    ("leaf", "device", "code"),
    [
        (ConfidentialMode(), DEVICE | {"confidential": False}, "nv.mode"),
        (ConfidentialMode(), DEVICE | {"confidential": 1}, "nv.mode"),
        (ConfidentialMode(), without("confidential"), "nv.mode"),
        (ConfidentialMode(), DEVICE | {"developer_tools": True}, "nv.mode"),
        (ConfidentialMode(), DEVICE | {"developer_tools": 0}, "nv.mode"),
        (ConfidentialMode(), without("developer_tools"), "nv.mode"),
        (ConfidentialMode(), DEVICE | {"environment": "simulation"}, "nv.mode"),
        (ConfidentialMode(), without("environment"), "nv.mode"),
        (Modes(frozenset({"SPT"})), DEVICE | {"mode": "MPT"}, "nv.mode"),
        (Modes(frozenset({"SPT"})), DEVICE | {"stated_mode": "MPT"}, "nv.mode"),
        (Modes(frozenset({"SPT", "MPT"})), DEVICE | {"stated_mode": "MPT"}, "nv.mode"),
        (Modes(frozenset({"SPT"})), DEVICE | {"mode": "unknown", "stated_mode": "unknown"},
         "nv.mode"),
        (Modes(frozenset({"SPT"})), {"kind": "gpu"}, "nv.mode"),
        (Architectures(frozenset({"HOPPER"})), DEVICE | {"arch": "BLACKWELL"}, "nv.arch"),
        (Architectures(frozenset({"HOPPER"})), without("arch"), "nv.arch"),
        (NotRevoked("ocsp"), DEVICE | {"revocation": "none"}, "nv.ocsp_missing"),
        (NotRevoked("ocsp"), DEVICE | {"revocation": "crl"}, "nv.ocsp_missing"),
        (NotRevoked("ocsp"), without("revocation"), "nv.ocsp_missing"),
        (NotRevoked("ocsp"),
         DEVICE | {"revocation": "none", "revocation_problem": "nv.ocsp_expired"},
         "nv.ocsp_expired"),
        (NotRevoked("crl"), DEVICE | {"revocation": "none"}, "nv.crl_missing"),
        (NotRevoked("none"), without("revocation"), "nv.crl_missing"),
        (GoldenMeasurements((GOLDEN,)), DEVICE | {"driver": "550.90.08"}, "nv.golden_missing"),
        (GoldenMeasurements((GOLDEN,)), DEVICE | {"vbios": "96.00.9F.00.02"},
         "nv.golden_missing"),
        (GoldenMeasurements((GOLDEN,)), without("vbios"), "nv.golden_missing"),
        (GoldenMeasurements((GOLDEN,)), DEVICE | {"measurements": {"0": VALUE}},
         "nv.measurement_mismatch"),
        (GoldenMeasurements((GOLDEN,)), DEVICE | {"measurements": {"0": VALUE, "4": "00"}},
         "nv.measurement_mismatch"),
        (GoldenMeasurements((GOLDEN,)), without("measurements"), "nv.measurement_mismatch"),
    ],
)  # fmt: skip
def test_each_demand_objects_to_one_device_among_good_ones(leaf, device, code):
    assert codes(leaf, DEVICE, device) == [code]


def test_less_is_enough_where_the_policy_says_so():
    assert codes(NotRevoked("crl"), DEVICE | {"revocation": "crl"}) == []
    assert codes(NotRevoked("none"), DEVICE | {"revocation": "none"}) == []


def test_firmware_that_does_not_say_its_mode_leaves_it_to_the_statement():
    assert codes(Modes(frozenset({"SPT"})), DEVICE | {"mode": "unknown"}) == []


def test_an_alternative_value_is_accepted():
    device = DEVICE | {"measurements": {"0": "cd" * 48, "4": VALUE}}
    assert codes(GoldenMeasurements((GOLDEN,)), device) == []


def test_any_set_of_the_same_versions_may_match_but_only_as_a_whole():
    other = replace(GOLDEN, measurements={0: ("11" * 48,), 4: ("22" * 48,)})
    leaf = GoldenMeasurements((other, GOLDEN))
    assert codes(leaf, DEVICE) == []
    mixed = DEVICE | {"measurements": {"0": "11" * 48, "4": VALUE}}
    assert codes(leaf, mixed) == ["nv.measurement_mismatch"]


# How many devices, and which.


@pytest.mark.parametrize(
    ("leaf", "devices", "code"),
    [
        (DeviceCount(1), (), "nv.count"),
        (DeviceCount(2), (DEVICE,), "nv.count"),
        (DeviceCount(1), (DEVICE, DEVICE | {"device": "02"}), "nv.count"),
        (DeviceCount(1), (DEVICE, SWITCH), "nv.count"),
        (DeviceCount(1), (DEVICE, {"device": "02"}), "nv.count"),
        (DeviceCount(1), (DEVICE | {"stated_count": 2},), "nv.count"),
        (DeviceCount(2), (DEVICE | {"stated_count": 2}, DEVICE | {"stated_count": 2}),
         "nv.duplicate_device"),
        (DeviceCount(1), (without("device"),), "nv.duplicate_device"),
        (DeviceCount(1, 1), (DEVICE | {"pdis": ("bb",)}, SWITCH), "nv.topology"),
        (DeviceCount(1, 1), (DEVICE | {"pdis": ("aa", "bb")}, SWITCH), "nv.topology"),
        (DeviceCount(1, 1), (DEVICE, SWITCH), "nv.topology"),
        (DeviceCount(1, 2), (DEVICE | {"pdis": ("aa",)}, SWITCH), "nv.count"),
        (DeviceCount(1, 2), (DEVICE | {"pdis": ("aa",)}, SWITCH, SWITCH), "nv.duplicate_device"),
    ],
)  # fmt: skip
def test_another_set_of_devices_is_refused(leaf, devices, code):
    assert code in codes(leaf, *devices)


def test_gpus_behind_the_switches_that_reported_are_accepted():
    second = SWITCH | {"device": "02", "pdis": ("bb",)}
    gpus = [DEVICE | {"device": one, "pdis": ("aa", "bb"), "stated_count": 2} for one in "cd"]
    assert codes(DeviceCount(2, 2), *gpus, SWITCH, second) == []


def test_the_order_of_devices_does_not_matter():
    gpus = [DEVICE | {"device": one, "stated_count": 2} for one in "cd"]
    assert codes(DeviceCount(2), *gpus) == codes(DeviceCount(2), *reversed(gpus)) == []


def test_optional_gpus_are_still_judged():
    leaf = IfAnyDevice(DeviceCount(1))
    assert codes(leaf) == []
    assert codes(leaf, DEVICE, SWITCH) == ["nv.count"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DeviceCount(0),
        lambda: DeviceCount(1, -1),
        lambda: Modes(frozenset()),
        lambda: Architectures(frozenset()),
        lambda: NotRevoked("perhaps"),
        lambda: GoldenMeasurements(()),
    ],
)
def test_a_demand_for_nothing_cannot_be_built(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_every_demand_says_what_it_examines(leaf):
    specs = leaf.factors("sev-snp")
    assert specs
    for spec in specs:
        assert spec.name.startswith("nvidia ")
        assert spec.claim.startswith("gpus.")
        assert spec.next_command
    assert leaf.looks_at() == {"gpus"}
    assert leaf.not_after() is None
    assert leaf.describe()


# The table of the policy file.

TABLE = {
    "count": 1,
    "modes": ["SPT"],
    "arch": ["HOPPER", "BLACKWELL"],
    "revocation": "stapled-ocsp",
    "golden": [GOLDEN.to_table() | {"rim_sha256": ["ab" * 32]}],
}


def test_the_table_is_read_into_every_demand():
    read = policy.read(TABLE)
    assert codes(read, DEVICE) == []
    assert {type(part) for part in read.parts} == {type(leaf) for leaf in LEAVES}
    assert read.decides() == {"gpus"}


def test_a_gpu_names_its_firmware_unless_the_table_says_otherwise():
    unnamed = DEVICE | {"fwid": "absent"}
    missing = {name: value for name, value in DEVICE.items() if name != "fwid"}
    optional = policy.read(TABLE | {"firmware_id": "optional"})
    for device in (unnamed, missing):
        assert codes(policy.read(TABLE), device) == ["nv.fwid"]
        assert codes(optional, device) == []
    assert codes(FirmwareNamed(), DEVICE, SWITCH | {"fwid": "absent"}) == []


def test_what_is_written_by_the_import_is_read_back():
    (golden,) = next(
        part for part in policy.read(TABLE).parts if isinstance(part, GoldenMeasurements)
    ).sets
    assert golden.measurements == GOLDEN.measurements
    assert golden.rim_sha256 == ("ab" * 32,)


def test_gpus_are_required_unless_the_table_says_otherwise():
    assert codes(policy.read(TABLE)) == ["nv.count"]
    assert codes(policy.read(TABLE | {"required": True})) == ["nv.count"]
    assert codes(policy.read(TABLE | {"required": False})) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"firmware_id": "no"}, {"firmware_id": None},
        {"count": 0}, {"count": 17}, {"count": True}, {"count": "1"}, {"count": None},
        {"switches": -1}, {"switches": 1.0}, {"modes": []}, {"modes": ["ALL"]}, {"modes": "SPT"},
        {"modes": ["PPCIE"]}, {"modes": ["unknown"]}, {"modes": None}, {"arch": ["*"]},
        {"arch": []}, {"arch": None}, {"revocation": "maybe"}, {"revocation": ["none"]},
        {"revocation": None}, {"golden": []}, {"golden": None}, {"golden": {}},
        {"golden": [{}]}, {"golden": ["x"]}, {"required": "no"},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_accepts_anything_or_nothing_is_refused(changes):
    with pytest.raises(ConfigError) as caught:
        policy.read(TABLE | changes)
    assert caught.value.code == "policy.invalid"


@pytest.mark.parametrize("missing", ["count", "modes", "arch", "revocation", "golden"])
def test_nothing_has_a_default(missing):
    with pytest.raises(ConfigError) as caught:
        policy.read({key: value for key, value in TABLE.items() if key != missing})
    assert caught.value.code == "policy.invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"driver": "*"}, {"driver": 550}, {"vbios": ""}, {"vbios": "96.00.9f.00.01"},
        {"vbios": "*"}, {"measurements": {}}, {"measurements": {"x": [VALUE]}},
        {"measurements": {"254": [VALUE]}}, {"measurements": {"01": [VALUE]}},
        {"measurements": {"0": []}}, {"measurements": {"0": [VALUE[:-2]]}},
        {"measurements": {"0": ["*"]}}, {"measurements": {"0": VALUE}},
        {"rim_sha256": ["zz"]}, {"rim_sha256": "ab" * 32},
    ],
    ids=str,
)  # fmt: skip
def test_a_golden_table_without_exact_values_is_refused(changes):
    with pytest.raises(ConfigError) as caught:
        policy.read(TABLE | {"golden": [GOLDEN.to_table() | changes]})
    assert caught.value.code == "policy.invalid"


def test_unknown_keys_are_refused():
    for table in (
        TABLE | {"allow_devtools": True},
        TABLE | {"golden": [GOLDEN.to_table() | {"optional": True}]},
    ):
        with pytest.raises(ConfigError) as caught:
            policy.read(table)
        assert caught.value.code == "policy.unknown_key"


# The statement in the manifest.

STATE = GpuState(True, False, "production", 1, "SPT")


def manifest(state=STATE) -> bytes:
    return Manifest("confide 1", [], bytes(32), state).encode()


def test_the_enclaves_statement_is_read_as_claims():
    assert read_gpu_statement(manifest()) == {
        "confidential": True,
        "developer_tools": False,
        "environment": "production",
        "stated_count": 1,
        "stated_mode": "SPT",
    }


@pytest.mark.parametrize("raw", [manifest(None), b"{}", b"[]", b"not json", b"\xff", b"[" * 99999])
def test_a_manifest_without_a_statement_states_nothing(raw):
    assert read_gpu_statement(raw) == {}


def test_without_gpus_the_manifest_is_what_it_was():
    assert b"gpus" not in manifest(None)


@pytest.mark.parametrize(
    "edit",
    [
        (b'"confidential":true', b'"confidential":1'),
        (b'"developer_tools":false', b'"developer_tools":null'),
        (b'"count":1', b'"count":0'),
        (b'"count":1', b'"count":true'),
        (b'"mode":"SPT"', b'"mode":"any"'),
        (b'"mode":"SPT"', b'"mode":"SPT","extra":1'),
        (b'"production"', b'"lab"'),
        (b'"count":1,', b""),
        (b'"gpus":{', b'"gpus":null,"x":{'),
        (b'"v":1', b'"v":1,"v":1'),
    ],
    ids=str,
)
def test_a_malformed_statement_is_refused_and_not_ignored(edit):
    raw = manifest()
    assert edit[0] in raw
    with pytest.raises(BindingError) as caught:
        read_gpu_statement(raw.replace(*edit))
    assert caught.value.code == "binding.manifest"


def test_the_minted_board_and_the_leaves_speak_of_the_same_measurements():
    golden = GoldenSet("550.90.07", "96.00.9F.00.01", mint.GPU.measurements())
    device = {
        "driver": "550.90.07",
        "vbios": "96.00.9F.00.01",
        "measurements": {str(n): mint.measurement(n).hex() for n in range(64)},
    }
    assert GoldenMeasurements((golden,)).compare(0, device) == []
