"""An absent expectation is a refusal, in every object of the policy language."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.attest.enclave_double import (
    CPU,
    FLOOR,
    MANIFEST_SHA256,
    MEASUREMENT,
    NOW,
    REFERENCE,
    policy,
)

from confide.attest.claims import Claims
from confide.attest.machines import DeviceIn, MachineIn
from confide.attest.policy import (
    AllOf,
    AnyOf,
    AppraisalPolicy,
    ByPlatform,
    GpuConfidential,
    ManifestIn,
    MeasurementIn,
    MinimumTcb,
    NotDebuggable,
    PinnedKey,
    Profile,
    TcbFloor,
)
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.errors import ConfigError

GOOD = {
    "platform": CPU,
    "product": "Testa",
    "measurement": MEASUREMENT,
    "manifest_sha256": MANIFEST_SHA256,
    "document_sha256": bytes(32),
    "debuggable": False,
    "tcb": {"microcode": 5},
    "gpus": ({"device": 1, "confidential": True, "developer_tools": False},),
}
LEAVES = [
    MeasurementIn(REFERENCE),
    MinimumTcb((FLOOR,)),
    NotDebuggable(),
    PinnedKey(bytes(32)),
    GpuConfidential(1),
    ManifestIn("x", frozenset({MANIFEST_SHA256})),
    ByPlatform({CPU: NotDebuggable()}),
]


def objected(requirement, **changes):
    claims = {k: v for k, v in (GOOD | changes).items() if v is not ...}
    return [objection.claim for objection in requirement.objections(Claims(claims))]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_good_claims_meet_no_objection(leaf):
    assert objected(leaf) == []


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_no_claims_at_all_are_an_objection(leaf):
    assert leaf.objections(Claims({"platform": CPU}))


@pytest.mark.parametrize(
    ("leaf", "claim"),
    [
        (LEAVES[0], "measurement"),
        (LEAVES[0], "manifest_sha256"),
        (LEAVES[1], "product"),
        (LEAVES[1], "tcb"),
        (LEAVES[2], "debuggable"),
        (LEAVES[3], "document_sha256"),
        (LEAVES[4], "gpus"),
        (LEAVES[5], "manifest_sha256"),
        (LEAVES[6], "debuggable"),
    ],
)
def test_each_missing_claim_is_an_objection(leaf, claim):
    assert objected(leaf, **{claim: ...}) == [claim]


@pytest.mark.parametrize("combination", [AllOf, AnyOf])
def test_a_combination_of_nothing_cannot_be_built(combination):
    with pytest.raises(ConfigError):
        combination()


@pytest.mark.parametrize(
    "build",
    [
        lambda: MinimumTcb(()),
        lambda: TcbFloor(CPU, "Testa", {}),
        lambda: GpuConfidential(0),
        lambda: PinnedKey(b""),
        lambda: ReferenceValues("x", NOW, ()),
        lambda: ManifestIn("x", frozenset()),
        lambda: ByPlatform({}),
        lambda: ByPlatform({"software-dev": NotDebuggable()}),
        lambda: MachineIn("chip_id", frozenset()),
        lambda: DeviceIn(frozenset()),
        lambda: ReferenceValue("x", CPU, b"", MANIFEST_SHA256),
        lambda: ReferenceValue("x", "", MEASUREMENT, MANIFEST_SHA256),
        lambda: ReferenceValue("x", CPU, MEASUREMENT, b""),
    ],
)
def test_a_demand_for_nothing_cannot_be_built(build):
    with pytest.raises(ConfigError):
        build()


def test_all_of_collects_every_objection():
    both = AllOf(LEAVES[0], NotDebuggable())
    assert objected(both, measurement=bytes(48), debuggable=True) == ["measurement", "debuggable"]
    assert objected(both, debuggable=True) == ["debuggable"]


def test_any_of_accepts_what_one_part_accepts():
    either = AnyOf(PinnedKey(bytes([1]) * 32), PinnedKey(bytes(32)))
    assert objected(either) == []
    assert objected(either, document_sha256=bytes([2]) * 32) == ["document_sha256"] * 2


@pytest.mark.parametrize("value", [True, None, 0, "", "False"])
def test_only_a_false_debug_claim_is_accepted(value):
    assert objected(NotDebuggable(), debuggable=value) == ["debuggable"]


def test_a_measurement_of_another_platform_is_refused():
    assert objected(LEAVES[0], platform="other") == ["measurement"]


def test_a_measurement_with_the_manifest_of_another_release_is_refused():
    other = ReferenceValue("release-2", CPU, bytes([1]) * 48, bytes([1]) * 32)
    both = MeasurementIn(replace(REFERENCE, values=(*REFERENCE.values, other)))
    assert objected(both) == []
    assert objected(both, manifest_sha256=bytes([1]) * 32) == ["manifest_sha256"]


@pytest.mark.parametrize(
    ("tcb", "claims"),
    [
        ({"microcode": 6}, []),
        ({"microcode": 4}, ["tcb.microcode"]),
        ({"microcode": True}, ["tcb.microcode"]),
        ({"microcode": "9"}, ["tcb.microcode"]),
        ({}, ["tcb.microcode"]),
        ({"microcode": 5, "fmc": 9}, ["tcb.fmc"]),
        (7, ["tcb"]),
    ],
)
def test_each_component_is_at_its_floor(tcb, claims):
    assert objected(LEAVES[1], tcb=tcb) == claims


def test_a_product_without_a_floor_is_refused():
    assert objected(LEAVES[1], product="Turin") == ["product"]
    assert objected(LEAVES[1], platform="other") == ["product"]


@pytest.mark.parametrize(
    "change", [{"confidential": False}, {"developer_tools": True}, {"confidential": 1}]
)
def test_an_unprotected_gpu_is_refused(change):
    gpu = GOOD["gpus"][0] | change
    assert objected(GpuConfidential(1), gpus=(gpu,)) == [f"gpus.0.{next(iter(change))}"]


def test_the_number_of_gpus_is_exact():
    assert objected(GpuConfidential(2)) == ["gpus"]
    assert objected(GpuConfidential(1), gpus=GOOD["gpus"] * 2) == ["gpus"]


def test_the_same_gpu_twice_is_refused():
    claims = Claims(GOOD | {"gpus": GOOD["gpus"] * 2})
    assert [o.code for o in GpuConfidential(2).objections(claims)] == ["nv.duplicate_device"]


def test_gpus_that_name_no_device_are_refused():
    gpu = {"confidential": True, "developer_tools": False}
    claims = Claims(GOOD | {"gpus": (gpu,)})
    assert [o.code for o in GpuConfidential(1).objections(claims)] == ["nv.duplicate_device"]


def test_each_platform_is_asked_what_is_listed_for_it():
    pinned = PinnedKey(bytes([1]) * 32)
    either = ByPlatform({CPU: NotDebuggable(), "other": pinned})
    assert objected(either) == []
    assert objected(either, debuggable=True) == ["debuggable"]
    assert objected(either, platform="other", debuggable=True) == ["document_sha256"]
    assert objected(either, platform="third") == ["platform"]


def test_what_platforms_decide_is_what_each_of_them_decides():
    whole = AllOf(*LEAVES[:3])
    both = ByPlatform({CPU: whole, "other": AllOf(whole, PinnedKey(bytes(32)))})
    AppraisalPolicy(both, name="x", not_after=NOW)
    with pytest.raises(ConfigError):
        AppraisalPolicy(ByPlatform({CPU: whole, "other": NotDebuggable()}), name="x", not_after=NOW)


def test_a_platform_brings_its_factors_and_no_other_does():
    listed = ByPlatform({"sev-snp": MachineIn("chip_id", frozenset({"ab"})), CPU: NotDebuggable()})
    assert [spec.name for spec in listed.factors("sev-snp")] == ["snp machine listed"]
    assert listed.factors(CPU) == listed.factors("unlisted") == ()


# The whole policy.


@pytest.mark.parametrize("left_out", range(3))
def test_a_policy_that_leaves_an_essential_claim_undecided_cannot_be_built(left_out):
    parts = [part for n, part in enumerate(LEAVES[:3]) if n != left_out]
    with pytest.raises(ConfigError):
        AppraisalPolicy(AllOf(*parts), name="x", not_after=NOW)


def test_every_branch_of_any_of_must_decide_the_essentials():
    whole = AllOf(*LEAVES[:3])
    AppraisalPolicy(AnyOf(whole, AllOf(whole, PinnedKey(bytes(32)))), name="x", not_after=NOW)
    with pytest.raises(ConfigError):
        AppraisalPolicy(AnyOf(whole, PinnedKey(bytes(32))), name="x", not_after=NOW)


def test_a_policy_needs_an_end_with_a_time_zone():
    with pytest.raises(ValueError, match="zone"):
        policy(not_after=NOW.replace(tzinfo=None))


def test_a_policy_ends_with_its_reference_values():
    early = replace(REFERENCE, not_after=NOW + timedelta(days=1))
    assert policy(reference=early).expires_at == early.not_after


def test_the_digest_names_what_is_demanded():
    pinned = PinnedKey(bytes(32))
    digests = {
        policy().digest,
        policy(pinned).digest,
        policy(GpuConfidential(1)).digest,
        policy(AnyOf(pinned)).digest,
        policy(ByPlatform({CPU: pinned})).digest,
        replace(policy(), profile=Profile.LAB).digest,
        policy(not_after=NOW).digest,
        policy(reference=replace(REFERENCE, not_after=NOW)).digest,
    }
    assert len(digests) == 8
    assert policy().digest == policy().digest
    assert len(policy().digest) == 32


def test_an_expired_policy_objects_first():
    found = policy().objections(Claims(GOOD | {"debuggable": True}), policy().not_after)
    assert [objection.code for objection in found] == ["policy.expired", "appraisal.refused"]
