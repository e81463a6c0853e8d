"""What a policy demands of a TDX guest, and how its table reads."""

from datetime import UTC, datetime

import pytest
from tests.unit.attest.tdx.mint import ATTRIBUTES, NOW, World, level, tcb_info

from confide.attest.claims import Claims
from confide.attest.platforms.tdx.policy import read
from confide.attest.platforms.tdx.requirements import (
    EventLogReplayed,
    ModuleIn,
    SeptVe,
    SeptVeDemand,
    ServiceTd,
    StatusRule,
    TdAttributes,
    TdxTcb,
)
from confide.attest.platforms.tdx.tcb import STATUSES
from confide.attest.policy import NotDebuggable
from confide.errors import ConfigError

WORLD = World()
TABLE = {"allow_status": ["UpToDate"], "min_tcb_evaluation_number": 18}
UNTIL = datetime(2027, 1, 31, tzinfo=UTC)
DIGEST = bytes(range(48))


def claims(*, platform="tdx", info=None, drop=(), **changes):
    """Return what the product's verifier makes of a minted quote."""
    genuine = WORLD.authenticate(
        WORLD.quote(version=5, body_type=3, **changes), WORLD.collateral(info=info)
    )
    kept = {name: value for name, value in genuine.claims.items() if name not in drop}
    return Claims({**kept, "platform": platform})


def codes(requirement, found):
    return [objection.code for objection in requirement.objections(found)]


def test_a_sound_guest_satisfies_the_strict_table():
    assert codes(read(TABLE), claims()) == []


@pytest.mark.parametrize("bit", range(1, 8))
def test_a_td_that_can_be_profiled_is_refused(bit):
    found = claims(attributes=ATTRIBUTES | 1 << bit)
    assert codes(read(TABLE), found) == ["tdx.tud_bits"]
    assert codes(NotDebuggable(), found) == ["tdx.debug"]


def test_a_debuggable_td_is_refused():
    assert codes(NotDebuggable(), claims(attributes=ATTRIBUTES | 1)) == ["tdx.debug"]


def test_a_td_that_can_be_moved_is_refused():
    assert codes(read(TABLE), claims(attributes=ATTRIBUTES | 1 << 29)) == ["tdx.migratable"]


def test_a_td_that_sees_virtualization_exceptions_is_refused_but_under_a_paravisor():
    found = claims(attributes=0)
    assert codes(read(TABLE), found) == ["tdx.sept_ve"]
    assert codes(read(TABLE | {"sept_ve": "paravisor"}), found) == []
    assert codes(read(TABLE | {"sept_ve": "paravisor"}), claims()) == []


def test_a_service_td_is_refused_unless_it_is_listed():
    found = claims(service_td=DIGEST)
    assert codes(read(TABLE), found) == ["tdx.service_td"]
    assert codes(read(TABLE | {"service_td": [DIGEST.hex()]}), found) == []
    assert codes(read(TABLE | {"service_td": [DIGEST[::-1].hex()]}), found) == ["tdx.service_td"]


def test_a_module_may_be_narrowed_to_listed_ones():
    assert codes(read(TABLE | {"mr_seam": [DIGEST.hex()]}), claims()) == ["tdx.mr_seam"]
    assert codes(ModuleIn(frozenset({b"\x11" * 48})), claims()) == []


def test_an_event_log_may_be_demanded():
    assert codes(read(TABLE | {"eventlog": "required"}), claims()) == ["tdx.eventlog_mismatch"]
    replayed = Claims({**claims(), "eventlog": "replayed"})
    assert codes(EventLogReplayed(), replayed) == []


@pytest.mark.parametrize("status", STATUSES[1:-1])
def test_a_status_other_than_up_to_date_needs_a_rule_with_an_end(status):
    found = claims(info=tcb_info(levels=[level(status, advisories=["INTEL-SA-01099"])]))
    assert codes(read(TABLE), found) == ["tdx.tcb_status"]
    rule = {"status": status, "until": UNTIL, "advisories": ["INTEL-SA-01099"]}
    relaxed = read(TABLE | {"allow_status": ["UpToDate", rule]})
    assert codes(relaxed, found) == []
    assert relaxed.not_after() == UNTIL


def test_an_advisory_that_is_not_listed_is_refused():
    listed = ["INTEL-SA-01099", "INTEL-SA-01103"]
    found = claims(info=tcb_info(levels=[level("OutOfDate", advisories=listed)]))
    rule = {"status": "OutOfDate", "until": UNTIL, "advisories": listed[:1]}
    (objection,) = read(TABLE | {"allow_status": [rule]}).objections(found)
    assert (objection.code, objection.actual) == ("tdx.tcb_status", "INTEL-SA-01103")
    without = {"status": "OutOfDate", "until": UNTIL}
    assert codes(read(TABLE | {"allow_status": [without]}), found) == ["tdx.tcb_status"]


def test_older_data_of_intel_is_refused_by_its_number():
    assert codes(read(TABLE | {"min_tcb_evaluation_number": 19}), claims()) == [
        "tdx.tcb_evaluation_number"
    ]


@pytest.mark.parametrize(
    ("leaf", "claim", "code"),
    [
        (TdxTcb((StatusRule("UpToDate"),), 18), "tcb_status", "tdx.tcb_status"),
        (TdxTcb((StatusRule("UpToDate"),), 18), "advisories", "tdx.tcb_status"),
        (TdxTcb((StatusRule("UpToDate"),), 18), "tcb", "tdx.tcb_evaluation_number"),
        (TdAttributes(), "td_attributes", "tdx.tud_bits"),
        (SeptVe(), "sept_ve_disable", "tdx.sept_ve"),
        (SeptVe(SeptVeDemand.PARAVISOR), "sept_ve_disable", "tdx.sept_ve"),
        (ServiceTd(), "mr_service_td", "tdx.service_td"),
        (ModuleIn(frozenset({b"\x11" * 48})), "mr_seam", "tdx.mr_seam"),
        (EventLogReplayed(), "eventlog", "tdx.eventlog_mismatch"),
    ],
)
def test_a_claim_that_is_not_there_is_an_objection(leaf, claim, code):
    assert code in codes(leaf, claims(drop=(claim,)))
    assert claim in leaf.looks_at()


def test_every_demand_is_a_factor_of_its_own_and_enters_the_digest():
    whole = TABLE | {
        "service_td": [DIGEST.hex()],
        "mr_seam": [DIGEST.hex()],
        "eventlog": "required",
        "sept_ve": "paravisor",
    }
    names = [spec.name for spec in read(whole).factors("tdx")]
    assert len(names) == len(set(names)) == 9
    assert all(name.startswith("tdx ") for name in names)
    described = {str(read(TABLE | {key: value}).describe()) for key, value in whole.items()}
    assert len(described) == 5


def test_the_table_decides_what_every_policy_must_decide():
    assert "tcb" in read(TABLE).decides()


@pytest.mark.parametrize(
    "change",
    [
        {"allow_status": []},
        {"allow_status": None},
        {"allow_status": ["Revoked"]},
        {"allow_status": ["OutOfDate"]},
        {"allow_status": ["*"]},
        {"allow_status": ["UpToDate", "UpToDate"]},
        {"allow_status": [{"status": "OutOfDate"}]},
        {"allow_status": [{"status": "Revoked", "until": UNTIL}]},
        {"allow_status": [{"status": "OutOfDate", "until": UNTIL, "advisories": []}]},
        {"allow_status": [{"status": "OutOfDate", "until": UNTIL, "advisories": ["*"]}]},
        {"allow_status": [{"status": "OutOfDate", "until": "soon"}]},
        {
            "allow_status": [
                {"status": "OutOfDate", "until": UNTIL},
                {"status": "OutOfDate", "until": NOW},
            ]
        },
        {"min_tcb_evaluation_number": None},
        {"min_tcb_evaluation_number": 0},
        {"min_tcb_evaluation_number": True},
        {"sept_ve": "any"},
        {"service_td": []},
        {"service_td": ["00" * 48]},
        {"mr_seam": []},
        {"mr_seam": ["00" * 47]},
        {"eventlog": "optional"},
        {"eventlog": True},
    ],
)
def test_a_table_that_would_leave_something_open_is_refused(change):
    table = {key: value for key, value in (TABLE | change).items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        read(table)
    assert refused.value.code == "policy.invalid"


@pytest.mark.parametrize(
    "change", [{"allow_revoked": True}, {"allow_status": [{"status": "UpToDate", "x": 1}]}]
)
def test_unknown_keys_are_refused(change):
    with pytest.raises(ConfigError) as refused:
        read(TABLE | change)
    assert refused.value.code == "policy.unknown_key"


def test_demands_for_nothing_cannot_be_built():
    for build in (
        lambda: TdxTcb((), 18),
        lambda: TdxTcb((StatusRule("UpToDate"),), 0),
        lambda: ModuleIn(frozenset()),
        lambda: StatusRule("Revoked", UNTIL),
        lambda: StatusRule("OutOfDate"),
        lambda: StatusRule("Anything"),
    ):
        with pytest.raises(ConfigError):
            build()
