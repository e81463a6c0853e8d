"""Which level of Intel's applies to platform, module and quoting enclave, and how they join."""

import itertools

import pytest
from tests.unit.attest.tdx.mint import (
    COMPONENTS,
    SVN,
    World,
    level,
    module,
    qe_identity,
    simple_level,
    tcb_info,
)

from confide.attest.platforms.tdx.tcb import STATUSES, worst
from confide.errors import EndorsementError

WORLD = World()


def claims(*, quote=None, **documents):
    return WORLD.authenticate(quote, WORLD.collateral(**documents)).claims


def code_of(*, quote=None, **documents):
    with pytest.raises(EndorsementError) as refused:
        claims(quote=quote, **documents)
    return refused.value.code


def one_more(values, index):
    return tuple(value + (number == index) for number, value in enumerate(values))


@pytest.mark.parametrize("index", range(16))
def test_one_sgx_component_below_a_level_leaves_the_next_one(index):
    levels = [level(sgx=one_more(COMPONENTS, index)), level("OutOfDate", advisories=["A"])]
    found = claims(info=tcb_info(levels=levels))
    assert (found["tcb_status"], found["advisories"]) == ("OutOfDate", ("A",))


@pytest.mark.parametrize("index", range(2, 16))
def test_one_tdx_component_below_a_level_leaves_the_next_one(index):
    levels = [level(tdx=one_more(tuple(SVN), index)), level("OutOfDate")]
    assert claims(info=tcb_info(levels=levels))["tcb_status"] == "OutOfDate"


def test_the_provisioning_enclave_below_a_level_leaves_the_next_one():
    levels = [level(pcesvn=14), level("OutOfDate")]
    assert claims(info=tcb_info(levels=levels))["tcb_status"] == "OutOfDate"


def test_the_two_components_of_the_module_are_compared_only_before_version_1_5():
    levels = [level(tdx=(9, 0, 5)), level("OutOfDate", tdx=(3, 0, 5))]
    assert claims(info=tcb_info(levels=levels))["tcb_status"] == "UpToDate"
    old = WORLD.quote(svn=bytes([7, 0, 5]) + bytes(13))
    assert claims(quote=old, info=tcb_info(levels=levels))["tcb_status"] == "OutOfDate"


def test_a_platform_below_every_level_is_not_out_of_date_but_unknown():
    levels = [level(pcesvn=14), level("OutOfDate", sgx=(6,) * 16)]
    assert code_of(info=tcb_info(levels=levels)) == "tdx.tcb_no_match"
    assert code_of(info=tcb_info(levels=[])) == "tdx.tcb_no_match"


@pytest.mark.parametrize("count", [15, 17])
def test_a_level_with_another_number_of_components_is_refused(count):
    assert code_of(info=tcb_info(levels=[level(sgx=(0,) * count)])) == "tdx.collateral_kind"


def test_the_module_has_levels_of_its_own():
    modules = [module(3), module(1, [simple_level(8), simple_level(6, "OutOfDate", ["B"])])]
    found = claims(info=tcb_info(modules=modules))
    assert found["tcb_parts"] == ("UpToDate", "OutOfDate", "UpToDate")
    assert (found["tcb_status"], found["advisories"]) == ("OutOfDate", ("B",))


@pytest.mark.parametrize(
    ("modules", "code"),
    [
        ([], "tdx.module_identity_missing"),
        ([module(3)], "tdx.module_identity_missing"),
        ([module(1, [simple_level(8)])], "tdx.module_tcb_no_match"),
        ([module(1, [])], "tdx.module_tcb_no_match"),
        ([module(signer=b"\1" * 48)], "tdx.module_signer"),
        ([module(attributes=b"\1" * 8)], "tdx.module_signer"),
    ],
)
def test_a_module_that_intel_does_not_know_is_refused(modules, code):
    assert code_of(info=tcb_info(modules=modules)) == code


@pytest.mark.parametrize("changes", [{"signer": b"\1" * 48}, {"seam": b"\1" + bytes(7)}])
@pytest.mark.parametrize("major", [0, 1])
def test_a_module_with_another_signer_or_attributes_is_refused(changes, major):
    quote = WORLD.quote(svn=bytes([7, major, 5]) + bytes(13), **changes)
    levels = [level(tdx=(7, 0, 5))]
    assert code_of(quote=quote, info=tcb_info(levels=levels)) == "tdx.module_signer"


@pytest.mark.parametrize(
    ("enclave", "code"),
    [
        ({"signer": bytes(32)}, "tdx.qe_identity_mismatch"),
        ({"product": 1}, "tdx.qe_identity_mismatch"),
        ({"miscselect": 0}, "tdx.qe_miscselect"),
        ({"attributes": bytes(16)}, "tdx.qe_attributes"),
        ({"attributes": b"\x13" + bytes(15)}, "tdx.qe_attributes"),
        ({"version": 3}, "tdx.tcb_no_match"),
    ],
)
def test_another_quoting_enclave_is_refused(enclave, code):
    assert code_of(quote=WORLD.quote(enclave=enclave)) == code


def test_attributes_outside_the_mask_do_not_matter():
    enclave = {"attributes": b"\x15" + bytes(7) + b"\xe7" * 8}
    assert claims(quote=WORLD.quote(enclave=enclave))["tcb_status"] == "UpToDate"


def test_an_old_quoting_enclave_makes_the_whole_out_of_date():
    identity = qe_identity(levels=[simple_level(5), simple_level(4, "OutOfDate", ["C"])])
    found = claims(identity=identity)
    assert found["tcb_parts"] == ("UpToDate", "UpToDate", "OutOfDate")
    assert (found["tcb_status"], found["advisories"]) == ("OutOfDate", ("C",))


def test_advisories_of_all_three_are_joined_and_sorted():
    found = claims(
        info=tcb_info(
            levels=[level("SWHardeningNeeded", advisories=["C", "A"])],
            modules=[module(1, [simple_level(7, advisories=["B", "A"])])],
        ),
        identity=qe_identity(levels=[simple_level(4, advisories=["D"])]),
    )
    assert found["advisories"] == ("A", "B", "C", "D")
    assert found["tcb_date"] == "2024-11-13T00:00:00Z"


@pytest.mark.parametrize(
    "documents",
    [
        {"info": tcb_info(levels=[level("Revoked")])},
        {"info": tcb_info(modules=[module(1, [simple_level(7, "Revoked")])])},
        {"identity": qe_identity(levels=[simple_level(4, "Revoked")])},
    ],
    ids=["platform", "module", "quoting enclave"],
)
def test_what_intel_calls_revoked_is_refused_whatever_a_policy_says(documents):
    assert code_of(**documents) == "tdx.tcb_revoked"


@pytest.mark.parametrize("status", ["Fine", "uptodate", None, 1])
def test_a_status_that_intel_does_not_have_is_refused(status):
    assert code_of(info=tcb_info(levels=[level(status)])) == "tdx.collateral_kind"


def test_two_statuses_join_to_the_worse_one():
    for first, second in itertools.product(STATUSES, STATUSES):
        joined = worst(first, second)
        assert STATUSES.index(joined) >= max(map(STATUSES.index, (first, second)))
        assert joined == worst(second, first)
    assert worst("ConfigurationNeeded", "OutOfDate") == "OutOfDateConfigurationNeeded"
    assert worst("SWHardeningNeeded", "OutOfDate") == "OutOfDate"
    assert worst("UpToDate", "UpToDate") == "UpToDate"
