"""The table [snp]: what it demands, what it refuses to read, which code each refusal has."""

import pytest
from tests.unit.attest.snp.mint import NOW, TURIN_WORLD, World

from confide.attest.claims import Claims
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.platforms.snp.policy import KEYS, read
from confide.attest.platforms.snp.requirements import SnpDigests, SnpSigner, SnpTcb
from confide.errors import ConfigError

GENOA_FLOOR = {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84}
TURIN_FLOOR = {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81}
TABLE = {"min_tcb": {"Genoa": GENOA_FLOOR, "Turin": TURIN_FLOOR}}
GOOD = World()


def claims_of(world):
    genuine = authenticate_report(
        world.report, vek=world.vek, chain=world.chain, crl=world.crl(), at=NOW, roots=world.roots
    )
    return Claims({"platform": "sev-snp", **genuine.claims()})


def codes(world, **changes):
    return [found.code for found in read(TABLE | changes).objections(claims_of(world))]


@pytest.mark.parametrize("world", [GOOD, TURIN_WORLD])
def test_a_good_guest_is_accepted(world):
    assert codes(world) == []


def test_a_guest_without_any_claim_is_objected_to_in_every_respect():
    bare = Claims({"platform": "sev-snp"})
    found = {one.claim for one in read(TABLE).objections(bare)}
    assert {"signer", "product", "migration", "smt", "vmpl", "guest_svn", "crl"} <= found
    assert {"firmware", "alias_check", "platform_info_unknown", "policy_reserved"} <= found


@pytest.mark.parametrize("part", [part for part, lowest in GENOA_FLOOR.items() if lowest])
@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("reported", "snp.tcb_reported"),
        ("committed", "snp.tcb_committed"),
        ("launched", "snp.tcb_launch"),
    ],
)
def test_one_below_the_floor_is_refused_in_each_of_the_three(part, which, code):
    low = GENOA_FLOOR | {part: GENOA_FLOOR[part] - 1}
    world = GOOD.but(committed=GENOA_FLOOR, launched=GENOA_FLOOR)
    bent = world.but(tcb=low) if which == "reported" else world.but(**{which: low})
    assert codes(bent) == [code]


def test_milan_is_refused_unless_the_policy_names_it():
    milan = World(product="Milan")
    assert codes(milan) == ["snp.tcb_reported"]
    named = {"min_tcb": TABLE["min_tcb"] | {"Milan": GENOA_FLOOR}}
    assert codes(milan, **named) == []


def test_a_model_may_have_a_floor_of_its_own():
    siena = GOOD.but(cpuid=(0x19, 0xA0), tcb=GENOA_FLOOR | {"microcode": 27})
    assert "snp.tcb_reported" in codes(siena)
    own = {"min_tcb": TABLE["min_tcb"] | {"Genoa/0xa0": GENOA_FLOOR | {"microcode": 27}}}
    assert codes(siena, **own) == []


@pytest.mark.parametrize(
    ("bent", "key", "value", "code"),
    [
        ({"vmpl": 1}, "max_vmpl", 1, "snp.vmpl"),
        ({"vmpl": 3}, "max_vmpl", 3, "snp.vmpl"),
        ({"policy": 0x20000 | 1 << 18}, "allow_migration_agent", True, "snp.migration"),
        ({"migration_agent": bytes(32)}, "allow_migration_agent", True, "snp.migration"),
        ({"policy": 0x20000 | 1 << 21}, "allow_cxl", True, "snp.platform_info"),
        ({"platform_info": 0x05}, "require_alias_check", False, "snp.platform_info"),
        ({"platform_info": 0x65}, "platform_info_unknown", "allow", "snp.platform_info"),
        ({"firmware": (40, 54, 1)}, "min_abi", "1.54", "snp.abi"),
    ],
)  # fmt: skip
def test_what_is_refused_by_default_can_be_asked_for(bent, key, value, code):
    world = GOOD.but(**({"policy": 0x20000} | bent))
    assert codes(world) == [code]
    assert codes(world, **{key: value}) == []


def test_threads_of_one_core_are_refused_unless_allowed():
    assert codes(GOOD.but(policy=0x30000)) == ["snp.smt"]
    assert codes(GOOD.but(policy=0x30000), allow_smt=True) == []


def test_a_guest_svn_below_the_minimum_is_refused():
    assert codes(GOOD, min_guest_svn=2) == ["snp.guest_svn"]


@pytest.mark.parametrize("policy", [0x10000, 0x20000 | 1 << 26, 0x20000 | 1 << 63])
def test_policy_bits_of_no_meaning_are_refused(policy):
    assert "snp.policy_bits" in codes(GOOD.but(policy=policy), allow_smt=True)


def test_a_report_without_a_revocation_list_is_refused_unless_it_is_optional():
    genuine = authenticate_report(
        GOOD.report, vek=GOOD.vek, chain=GOOD.chain, crl=None, at=NOW, roots=GOOD.roots
    )
    claims = Claims({"platform": "sev-snp", **genuine.claims()})
    assert [one.code for one in read(TABLE).objections(claims)] == ["snp.crl_missing"]
    assert read(TABLE | {"crl": "optional"}).objections(claims) == []


def test_a_vlek_is_accepted_of_a_named_cloud_only():
    vlek = World(vlek=True, policy=0x20000)
    assert codes(vlek) == ["snp.signing_key"]
    both = {"signers": ["vcek", "vlek"]}
    assert codes(vlek, **both, csp_id=["cc-test-1.example.com"]) == []
    assert codes(vlek, **both, csp_id=["cc-other.example.com"]) == ["snp.signing_key"]


@pytest.mark.parametrize(
    ("key", "bent", "length", "code"),
    [
        ("id_key_digests", "id_key", 48, "snp.id_key"),
        ("author_key_digests", "author_key", 48, "snp.author_key"),
        ("host_data", "host_data", 32, "snp.host_data"),
    ],
)
def test_digests_are_compared_with_the_list(key, bent, length, code):
    value = bytes(range(length))
    assert codes(GOOD.but(**{bent: value}), **{key: [value.hex()]}) == []
    assert codes(GOOD, **{key: [value.hex()]}) == [code]


@pytest.mark.parametrize(
    "change",
    [
        {"min_tcb": {}},
        {"min_tcb": {"Rome": GENOA_FLOOR}},
        {"min_tcb": {"Genoa": {**GENOA_FLOOR, "fmc": 1}}},
        {"min_tcb": {"Genoa": {"microcode": 84}}},
        {"min_tcb": {"Turin": GENOA_FLOOR}},
        {"min_tcb": {"Genoa": GENOA_FLOOR | {"snp": -1}}},
        {"min_tcb": {"Genoa": GENOA_FLOOR | {"snp": 256}}},
        {"min_tcb": {"Genoa": GENOA_FLOOR | {"snp": True}}},
        {"min_tcb": {"Genoa/160": GENOA_FLOOR}},
        {"min_tcb": {"Genoa/0xA0": GENOA_FLOOR}},
        {"signers": []},
        {"signers": ["any"]},
        {"signers": ["vlek"]},
        {"csp_id": ["cc"]},
        {"signers": ["vlek"], "csp_id": ["*"]},
        {"max_vmpl": 4},
        {"allow_smt": "yes"},
        {"min_abi": 1.55},
        {"crl": "no"},
        {"platform_info_unknown": "warn"},
        {"id_key_digests": ["00" * 48]},
        {"host_data": ["*"]},
        {"host_data": []},
        {"allow_anything": True},
    ],
)
def test_a_table_that_says_nothing_definite_is_refused(change):
    with pytest.raises(ConfigError):
        read(TABLE | change)


def test_no_floor_at_all_is_refused():
    with pytest.raises(ConfigError):
        read({})


def test_leaves_of_nothing_cannot_be_built():
    for make in (
        lambda: SnpTcb({}),
        lambda: SnpSigner(frozenset()),
        lambda: SnpSigner(frozenset({"vlek"})),
        lambda: SnpDigests({}),
        lambda: SnpDigests({"host_data": frozenset()}),
        lambda: SnpTcb({"Genoa": {"snp": 1}}),
    ):
        with pytest.raises(ConfigError):
            make()


def test_every_key_changes_what_the_policy_says():
    values = {
        "signers": ["vcek", "vlek"], "csp_id": ["cc-x"], "max_vmpl": 2,
        "allow_migration_agent": True, "allow_smt": True, "allow_cxl": True,
        "min_guest_svn": 4, "min_abi": "1.58",
        "require_alias_check": False, "platform_info_unknown": "allow", "crl": "optional",
        "id_key_digests": [bytes(range(48)).hex()], "author_key_digests": [bytes(range(48)).hex()],
        "host_data": ["11" * 31 + "22"], "min_tcb": {"Turin": TURIN_FLOOR},
    }  # fmt: skip
    assert set(values) == set(KEYS)
    plain = str(read(TABLE).describe())
    for key, value in values.items():
        change = {key: value}
        if key in ("signers", "csp_id"):
            change = {"signers": values["signers"], "csp_id": values["csp_id"]}
        assert str(read(TABLE | change).describe()) != plain, key


def test_every_claim_that_is_looked_at_has_a_factor():
    whole = read(TABLE | {"host_data": ["11" * 31 + "22"]})
    named = {spec.claim for spec in whole.factors("sev-snp")}
    assert whole.looks_at() - named <= {"model"}
