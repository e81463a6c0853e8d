"""A policy for guests of Azure names PCRs; the launch measurement is Microsoft's."""

import pytest
from tests.unit.attest.azure.mint import PCRS, VM

from confide.attest.claims import Claims
from confide.attest.platforms.azure.policy import read
from confide.attest.platforms.azure.requirements import PcrsAre, VmSettings
from confide.attest.policy_file import load_policy
from confide.errors import ConfigError

TABLE = {"pcrs": {"4": PCRS[4].hex(), "11": [PCRS[0].hex(), PCRS[11].hex()]}}
CLAIMS = {
    "platform": "azure-tdx",
    "pcrs": {str(number): value.hex() for number, value in enumerate(PCRS)},
    "vm": VM,
    "ak_bound": True,
}


def codes(requirement, **changes):
    found = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return [objection.code for objection in requirement.objections(Claims(found))]


def test_listed_values_of_listed_pcrs_are_accepted():
    assert codes(read(TABLE)) == []
    assert codes(read(TABLE | {"vm": {"secure-boot": True, "vmUniqueId": "0-1"}})) == []


@pytest.mark.parametrize("number", ["4", "11"])
def test_another_value_of_a_listed_pcr_is_refused(number):
    assert codes(read(TABLE), pcrs=CLAIMS["pcrs"] | {number: "00" * 32}) == ["azure.pcr"]


@pytest.mark.parametrize("pcrs", [None, {}, "all", {4: PCRS[4].hex()}])
def test_pcrs_that_are_not_there_are_refused(pcrs):
    assert codes(read(TABLE), pcrs=pcrs) == ["azure.pcr"] * 2


@pytest.mark.parametrize("bound", [None, False, 1])
def test_a_key_that_the_paravisor_does_not_name_is_refused(bound):
    assert codes(read(TABLE), ak_bound=bound) == ["azure.ak_missing"]


@pytest.mark.parametrize("vm", [None, {}, VM | {"secure-boot": False}, VM | {"secure-boot": 1}])
def test_another_setting_of_the_machine_is_refused(vm):
    assert codes(read(TABLE | {"vm": {"secure-boot": True}}), vm=vm) == ["azure.vm"]


def test_pcrs_decide_the_measurement():
    assert "measurement" in read(TABLE).decides()
    names = [spec.name for spec in read(TABLE | {"vm": {"secure-boot": True}}).factors("azure-tdx")]
    assert names == ["azure pcrs accepted", "azure key bound", "azure vm settings"]


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"pcrs": {}},
        {"pcrs": {"4": []}},
        {"pcrs": {"4": "*"}},
        {"pcrs": {"4": "00"}},
        {"pcrs": {"4": [PCRS[4].hex(), PCRS[4].hex()]}},
        TABLE | {"vm": {}},
        TABLE | {"vm": {"secure-boot": 1}},
        TABLE | {"vm": {"secure-boot": "*"}},
    ],
)
def test_a_table_that_would_leave_something_open_is_refused(table):
    with pytest.raises(ConfigError) as refused:
        read(table)
    assert refused.value.code == "policy.invalid"


@pytest.mark.parametrize(
    "table", [TABLE | {"x": 1}, {"pcrs": {"24": "00" * 32}}, {"pcrs": {"04": ""}}]
)
def test_unknown_keys_are_refused(table):
    with pytest.raises(ConfigError) as refused:
        read(table)
    assert refused.value.code == "policy.unknown_key"


def test_demands_for_nothing_cannot_be_built():
    for build in (
        lambda: PcrsAre({}),
        lambda: PcrsAre({4: frozenset()}),
        lambda: PcrsAre({24: frozenset({"00" * 32})}),
        lambda: VmSettings({}),
    ):
        with pytest.raises(ConfigError):
            build()


def test_a_policy_file_for_azure_needs_pcrs_and_the_hardwares_table():
    from tests.unit.attest.tdx.mint import NOW

    lines = [
        'version = 1\nname = "azure"\nnot_after = 2027-02-01T00:00:00Z',
        f'[[workload]]\nname = "w"\nmanifest_sha256 = "{PCRS[0].hex()}"',
        '[tdx]\nallow_status = ["UpToDate"]\nmin_tcb_evaluation_number = 18\nsept_ve = "paravisor"',
        f'[azure.pcrs]\n4 = "{PCRS[4].hex()}"',
    ]
    policy = load_policy("\n".join(lines).encode(), at=NOW)
    names = {spec.name for spec in policy.requirement.factors("azure-tdx")}
    assert {"azure pcrs accepted", "tdx tcb status", "tdx sept ve off"} <= names
    for missing in (2, 3):
        kept = [line for number, line in enumerate(lines) if number != missing]
        with pytest.raises(ConfigError):
            load_policy("\n".join(kept).encode(), at=NOW)
