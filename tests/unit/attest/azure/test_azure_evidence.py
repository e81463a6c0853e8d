"""Hardware, paravisor, virtual TPM: each link of an Azure guest is checked."""

import base64
import contextlib
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.azure.mint import (
    PCRS,
    REPORT_DATA,
    VM,
    Guest,
    attest,
    hcl,
    jwk,
    rsa_key,
    runtime,
)

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet, Outcome
from confide.attest.platform import BUILT_IN
from confide.attest.platforms.azure.hcl import MAX_RUNTIME, HclReport, Runtime
from confide.attest.platforms.azure.tpm_quote import TpmQuote, check_pcrs, check_tpm_signature
from confide.attest.platforms.azure.verifier import (
    AzureSnpVerifier,
    AzureTdxVerifier,
    check_runtime_digest,
)
from confide.errors import AttestationError, EvidenceError
from confide.wire.strict_json import b64url

VECTORS = Path(__file__).parents[3] / "vectors" / "attestation"
GUEST = Guest()
FRESH = hashlib.sha256(REPORT_DATA).digest()


def code_of(**changes):
    with pytest.raises(AttestationError) as refused:
        GUEST.authenticate(**changes)
    return refused.value.code


def test_our_64_bytes_are_in_the_document_and_in_the_tpm_quote():
    sheet = FactorSheet(AzureTdxVerifier(GUEST.world.verifier()).factors)
    genuine = GUEST.authenticate(sheet=sheet)
    assert genuine.report_data == REPORT_DATA
    assert genuine.claims["pcrs"] == {str(n): value.hex() for n, value in enumerate(PCRS)}
    assert (genuine.claims["vm"], genuine.claims["ak_bound"]) == (VM, True)
    assert genuine.claims["tcb_status"] == "UpToDate"
    outcomes = {factor.name: factor.outcome for factor in sheet.factors()}
    assert outcomes.pop("tdx event log") is Outcome.NOT_APPLICABLE
    assert set(outcomes.values()) == {Outcome.PASS}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hardware_data": bytes(64)}, "azure.runtime_hash"),
        ({"hcl_runtime": runtime(user_data=bytes(64))}, "azure.runtime_hash"),
        ({"document": runtime(keys=[])}, "azure.ak_missing"),
        ({"key": rsa_key(1)}, "azure.tpm_signature"),
        ({"tpm_signature": b""}, "azure.tpm_signature"),
        ({"tpm_signature": bytes(256)}, "azure.tpm_signature"),
        ({"nonce": bytes(32)}, "azure.tpm_nonce"),
        ({"nonce": b""}, "azure.tpm_nonce"),
        ({"nonce": REPORT_DATA[:32]}, "azure.tpm_nonce"),
        ({"pcrs": PCRS[::-1]}, "azure.pcr_digest"),
        ({"pcrs": PCRS[:23]}, "azure.pcr_digest"),
        ({"tpm_pcrs": None}, "azure.incomplete"),
        ({"tpm_message": None, "message": attest(FRESH)}, "azure.incomplete"),
        ({"hcl_runtime": None}, "azure.incomplete"),
    ],
)
def test_each_link_is_refused_by_name(changes, code):
    assert code_of(**changes) == code


def test_the_second_half_of_the_hardware_data_must_be_zero():
    document = runtime()
    data = hashlib.sha256(document).digest() + b"\1" * 32
    assert code_of(document=document, hardware_data=data) == "azure.runtime_hash"


def test_the_document_of_another_machine_does_not_fit():
    document = runtime(key=rsa_key(1))
    data = hashlib.sha256(runtime()).digest() + bytes(32)
    assert code_of(document=document, hardware_data=data, key=rsa_key(1)) == "azure.runtime_hash"


def test_an_older_quote_of_the_same_key_does_not_answer():
    """After a restart with something else, the PCRs of the boot before would look better."""
    other = bytes(64)
    assert code_of(document=runtime(user_data=other), nonce=FRESH) == "azure.tpm_nonce"


@pytest.mark.parametrize(
    "message",
    [
        attest(FRESH, magic=b"\xffTCH"),
        attest(FRESH, kind=b"\x80\x17"),
        attest(FRESH, bank=0x0004),
        attest(FRESH, bits=b"\xff\xff\x7f"),
        attest(FRESH, bits=b"\0\0\0"),
        attest(FRESH, count=2),
        attest(FRESH, count=0),
        attest(FRESH, trailing=b"\0"),
        attest(FRESH)[:-1],
        attest(bytes(2000)),
        b"",
    ],
)
def test_a_tpm_quote_of_another_form_is_refused(message):
    assert code_of(message=message) == "azure.tpm_quote"


def test_a_tpm_quote_cut_anywhere_is_refused():
    message = attest(FRESH)
    for length in range(len(message)):
        with pytest.raises(EvidenceError):
            TpmQuote.parse(message[:length])


def test_a_quote_whose_digest_has_another_length_covers_no_pcrs():
    assert code_of(message=attest(FRESH, digest=b"")) == "azure.pcr_digest"


@pytest.mark.parametrize(
    "keys",
    [
        None,
        {},
        [],
        [jwk(rsa_key(), "HCLEkPub")],
        [jwk(rsa_key()), jwk(rsa_key(1))],
        [jwk(rsa_key()) | {"kty": "EC"}],
        [jwk(rsa_key()) | {"n": "AQAB"}],
        [jwk(rsa_key()) | {"n": b64url(bytes(256))}],
        [jwk(rsa_key()) | {"n": b64url(b"\xff" * 513)}],
        [jwk(rsa_key()) | {"n": "x="}],
        [jwk(rsa_key()) | {"n": 7}],
        [jwk(rsa_key()) | {"e": ""}],
        [jwk(rsa_key()) | {"e": "AQ"}],
        [jwk(rsa_key()) | {"e": b64url(b"\xff" * 5)}],
        [jwk(rsa_key()) for _ in range(9)],
        ["HCLAkPub"],
    ],
)
def test_an_attestation_key_that_is_not_usable_is_missing(keys):
    with pytest.raises(EvidenceError) as refused:
        Runtime.parse(runtime(keys=keys))
    assert refused.value.code == "azure.ak_missing"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"[" * 10_000,
        b'{"keys":[],"keys":[]}',
        runtime(**{"vm-configuration": []}),
        runtime(**{"user-data": "00"}),
        runtime(**{"user-data": "zz" * 64}),
        runtime(**{"user-data": None}),
        runtime().ljust(MAX_RUNTIME + 1),
    ],
)
def test_a_runtime_document_of_another_form_is_refused(document):
    with pytest.raises(EvidenceError) as refused:
        Runtime.parse(document)
    assert refused.value.code == "azure.runtime"


@pytest.mark.parametrize(("kind", "length"), [(2, 1184), (4, 1024)])
def test_a_report_of_the_paravisor_gives_hardware_and_document(kind, length):
    found = HclReport.parse(hcl(b"{}", kind=kind, hardware=bytes(range(74)) * 16))
    assert (found.kind, len(found.hardware), found.runtime) == (kind, length, b"{}")


@pytest.mark.parametrize(
    "change",
    [
        {"magic": b"HCLB"},
        {"version": 0},
        {"version": 3},
        {"kind": 3},
        {"hash_type": 2},
        {"runtime_version": 2},
        {"length": 0},
        {"length": 0xFFFF_FFFF, "size": 0},
        {"length": 67},
        {"size": 0},
    ],
)
def test_a_report_of_another_form_is_refused(change):
    with pytest.raises(EvidenceError) as refused:
        HclReport.parse(hcl(b"{}", **change))
    assert refused.value.code == "azure.hcl_header"


def test_a_report_cut_anywhere_is_refused():
    raw = hcl(runtime())
    for length in range(len(raw) - 64):
        with pytest.raises(EvidenceError):
            HclReport.parse(raw[:length])
    with pytest.raises(EvidenceError):
        HclReport.parse(raw.ljust(33 * 1024, b"\0"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1500))
def test_any_bytes_give_a_value_or_an_error_of_this_package(raw):
    for parse in (HclReport.parse, Runtime.parse, TpmQuote.parse):
        for candidate in (raw, b"HCLA" + raw, b"\xffTCG\x80\x18" + raw):
            with contextlib.suppress(EvidenceError):
                parse(candidate)


def recorded():
    evidence = json.loads((VECTORS / "azure/milan-v3/evidence.json").read_text())["evidence"]
    text = evidence["hcl_report"]
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return evidence, HclReport.parse(raw)


def test_a_recorded_machine_holds_together():
    evidence, report = recorded()
    check_runtime_digest(report.runtime, report.hardware[0x50:0x90])
    found = Runtime.parse(report.runtime)
    message = bytes.fromhex(evidence["tpm_quote"]["message"])
    check_tpm_signature(
        found.attestation_key, bytes.fromhex(evidence["tpm_quote"]["signature"]), message
    )
    quote = TpmQuote.parse(message)
    pcrs = check_pcrs(bytes.fromhex("".join(evidence["tpm_quote"]["pcrs"])), quote)
    assert (quote.nonce, len(pcrs)) == (b"attestation-test-fixture", 24)


def test_a_recorded_machine_that_never_took_our_bytes_is_refused_by_the_product():
    evidence, report = recorded()
    stapled = {
        "vek": b64url(base64.b64decode(evidence["vcek"] + "==", altchars=b"-_")),
        "chain": b64url((VECTORS / "snp/roots/milan.pem").read_bytes()),
    }
    verifier = AzureSnpVerifier()
    with pytest.raises(EvidenceError) as refused:
        verifier.authenticate(
            report.hardware,
            aux={
                "hcl_runtime": report.runtime,
                "tpm_message": bytes.fromhex(evidence["tpm_quote"]["message"]),
                "tpm_signature": bytes.fromhex(evidence["tpm_quote"]["signature"]),
                "tpm_pcrs": bytes.fromhex("".join(evidence["tpm_quote"]["pcrs"])),
            },
            endorsements=StapledEndorsements({"snp": stapled}),
            sheet=FactorSheet(verifier.factors),
            at=datetime(2026, 11, 20, tzinfo=UTC),
        )
    assert refused.value.code == "azure.tpm_nonce"


def test_both_platforms_are_built_in():
    assert BUILT_IN["azure-sev-snp"].type == "azure-sev-snp"
    assert BUILT_IN["azure-tdx"].type == "azure-tdx"
