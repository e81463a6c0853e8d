"""A policy for guests of Azure names PCRs; the launch measurement is Microsoft's."""

import pytest
from tests.unit.attest.azure.mint import PARAVISOR, PCRS, VM, Guest
from tests.unit.attest.tdx.mint import NOW

from confide.attest.claims import Claims
from confide.attest.platforms.azure.policy import read
from confide.attest.platforms.azure.requirements import ParavisorIn, PcrsAre, VmSettings
from confide.attest.policy_file import load_policy
from confide.errors import ConfigError

SIGNER = bytes(range(1, 49))
TABLE = {
    "paravisor": [PARAVISOR.hex()],
    "pcrs": {"4": PCRS[4].hex(), "11": [PCRS[0].hex(), PCRS[11].hex()]},
}
CLAIMS = {
    "platform": "azure-tdx",
    "mr_td": PARAVISOR,
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


@pytest.mark.parametrize(
    ("platform", "claims"),
    [
        ("azure-tdx", {"mr_td": b"\7" * 48}),
        ("azure-tdx", {"mr_td": None, "measurement": PARAVISOR}),
        ("azure-tdx", {"mr_td": None, "id_key_digest": SIGNER}),
        ("azure-sev-snp", {"measurement": b"\7" * 48, "id_key_digest": bytes(48)}),
        ("azure-sev-snp", {"measurement": None, "id_key_digest": PARAVISOR}),
        ("azure-sev-snp", {"measurement": SIGNER}),
    ],
)
def test_another_paravisor_is_refused(platform, claims):
    both = read(TABLE | {"paravisor_id_keys": [SIGNER.hex()]})
    assert codes(both, platform=platform, **claims) == ["azure.paravisor"]


def test_a_paravisor_is_known_by_its_measurement_or_its_signer():
    both = read(TABLE | {"paravisor_id_keys": [SIGNER.hex()]})
    assert codes(both, platform="azure-sev-snp", mr_td=None, measurement=PARAVISOR) == []
    signed = {"measurement": b"\7" * 48, "id_key_digest": SIGNER}
    assert codes(both, platform="azure-sev-snp", mr_td=None, **signed) == []


def test_the_paravisor_decides_the_measurement_and_pcrs_do_not():
    assert "measurement" in read(TABLE).decides()
    assert "measurement" not in PcrsAre({4: frozenset({"ab" * 32})}).decides()
    names = [spec.name for spec in read(TABLE | {"vm": {"secure-boot": True}}).factors("azure-tdx")]
    assert names[1:] == ["azure pcrs accepted", "azure key bound", "azure vm settings"]


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"pcrs": TABLE["pcrs"]},
        TABLE | {"paravisor": []},
        TABLE | {"paravisor": ["00" * 48]},
        TABLE | {"paravisor_id_keys": ["00" * 48]},
        TABLE | {"pcrs": {}},
        TABLE | {"pcrs": {"4": []}},
        TABLE | {"pcrs": {"4": "*"}},
        TABLE | {"pcrs": {"4": "00"}},
        TABLE | {"pcrs": {"4": [PCRS[4].hex(), PCRS[4].hex()]}},
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
    "table", [TABLE | {"x": 1}, TABLE | {"pcrs": {"24": "00" * 32}}, TABLE | {"pcrs": {"04": ""}}]
)
def test_unknown_keys_are_refused(table):
    with pytest.raises(ConfigError) as refused:
        read(table)
    assert refused.value.code == "policy.unknown_key"


def test_demands_for_nothing_cannot_be_built():
    for build in (
        lambda: ParavisorIn(),
        lambda: PcrsAre({}),
        lambda: PcrsAre({4: frozenset()}),
        lambda: PcrsAre({24: frozenset({"00" * 32})}),
        lambda: VmSettings({}),
    ):
        with pytest.raises(ConfigError):
            build()


def test_a_policy_file_for_azure_needs_pcrs_and_the_hardwares_table():
    lines = [
        'version = 1\nname = "azure"\nnot_after = 2027-02-01T00:00:00Z',
        f'[[workload]]\nname = "w"\nmanifest_sha256 = "{PCRS[0].hex()}"',
        '[tdx]\nallow_status = ["UpToDate"]\nmin_tcb_evaluation_number = 18\nsept_ve = "paravisor"',
        f'[azure]\nparavisor = ["{PARAVISOR.hex()}"]\n[azure.pcrs]\n4 = "{PCRS[4].hex()}"',
    ]
    policy = load_policy("\n".join(lines).encode(), at=NOW)
    names = {spec.name for spec in policy.requirement.factors("azure-tdx")}
    assert {"azure pcrs accepted", "tdx tcb status", "tdx sept ve off"} <= names
    for missing in (2, 3):
        kept = [line for number, line in enumerate(lines) if number != missing]
        with pytest.raises(ConfigError):
            load_policy("\n".join(kept).encode(), at=NOW)


POLICY = f"""
version = 1
name = "azure"
not_after = 2027-02-01T00:00:00Z
[[workload]]
name = "w"
manifest_sha256 = "{PCRS[0].hex()}"
[tdx]
allow_status = ["UpToDate"]
min_tcb_evaluation_number = 1
sept_ve = "paravisor"
[azure]
paravisor = ["{PARAVISOR.hex()}"]
[azure.pcrs]
4 = "{PCRS[4].hex()}"
"""


def test_a_machine_that_plays_the_paravisor_itself_is_refused():
    """Whoever owns a genuine machine can make document, key, TPM quote and PCRs themselves.

    Only what the hardware measured tells Microsoft's paravisor from a program of theirs.
    """
    for mr_td, expected in ((PARAVISOR, []), (b"\7" * 48, ["azure.paravisor"])):
        genuine = Guest().authenticate(mr_td=mr_td)
        claims = Claims({**genuine.claims, "platform": "azure-tdx", "manifest_sha256": PCRS[0]})
        found = load_policy(POLICY.encode(), at=NOW).objections(claims, NOW)
        assert [one.code for one in found] == expected


def test_a_policy_that_names_no_paravisor_is_refused():
    line = f'[azure]\nparavisor = ["{PARAVISOR.hex()}"]\n'
    with pytest.raises(ConfigError) as refused:
        load_policy(POLICY.replace(line, "").encode(), at=NOW)
    assert refused.value.code == "policy.invalid"
