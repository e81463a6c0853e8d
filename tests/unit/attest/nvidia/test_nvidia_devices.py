"""A report counts if NVIDIA's root vouches for the device that signed it, and for nothing else."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.nvidia import mint

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet, Outcome
from confide.attest.platforms.nvidia.firmware_id import certified_firmware
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.errors import AttestationError
from confide.wire.strict_json import b64url

VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "nvidia"
VERIFIER = NvidiaVerifier(mint.PINNED)
NOTHING = StapledEndorsements({})


def stapled(*, ocsp=(), crl=()):
    held = {"ocsp": [b64url(one) for one in ocsp], "crl": [b64url(one) for one in crl]}
    return StapledEndorsements({"nvidia": held})


def check(board=mint.GPU, *, verifier=VERIFIER, source=NOTHING, sheet=None, at=mint.NOW, pem=None):
    return verifier.authenticate(
        board.report() if isinstance(board, mint.Board) else board,
        aux={"chain": board.pem() if pem is None else pem},
        endorsements=source,
        sheet=sheet or FactorSheet(verifier.factors),
        at=at,
    )


def refused(*args, **changes) -> str:
    with pytest.raises(AttestationError) as caught:
        check(*args, **changes)
    return caught.value.code


def code_of(run) -> str | None:
    """The code of the refusal, or None; any other exception escapes."""
    try:
        run()
    except AttestationError as error:
        return error.code
    return None


def test_a_genuine_gpu_is_described_by_its_claims():
    genuine = check()
    assert genuine.report_data == mint.NONCE
    expected = {
        "device": "41431d480fe5e87274", "kind": "gpu", "arch": "HOPPER", "chip": "GH100",
        "driver": "550.90.07", "vbios": "96.00.9F.00.01", "mode": "SPT", "project": "1010",
        "project_sku": "0200", "chip_sku": "882", "fwid": "match", "revocation": "none",
    }  # fmt: skip
    assert expected.items() <= genuine.claims.items()
    assert genuine.claims["measurements"]["63"] == mint.measurement(63).hex()
    assert "confidential" not in genuine.claims
    assert "developer_tools" not in genuine.claims


def test_a_genuine_switch_is_described_by_its_claims():
    claims = check(mint.SWITCH).claims
    assert (claims["kind"], claims["arch"], claims["driver"]) == ("switch", "LS10", "")
    assert claims["vbios"] == "96.10.55.00.01"
    assert claims["pdis"] == ("203eb31ad9ed0008",)
    assert claims["fwid"] == "absent"


def test_a_blackwell_chain_with_its_list_of_firmware_ids_is_read():
    board = mint.Board(chip="GB100", vbios=bytes.fromhex("008800970f000000"))
    claims = check(board).claims
    assert (claims["arch"], claims["fwid"]) == ("BLACKWELL", "match")
    assert claims["vbios"] == "97.00.88.00.0F"
    assert certified_firmware(board.chain()[0].certificate) == (mint.FIRMWARE,)


@pytest.mark.parametrize(
    ("flag", "extra", "mode"),
    [
        (0, (), "SPT"),
        (1, (), "MPT"),
        (2, (), "PPCIE"),
        (9, (), "unknown"),
        (None, (), "unknown"),
        (None, ((21, b"\x55"),), "unknown"),
        (None, ((21, b"\xaa"),), "PPCIE"),
    ],
)
def test_the_mode_is_what_the_report_says_and_never_guessed(flag, extra, mode):
    assert check(replace(mint.GPU, flag=flag, extra=extra)).claims["mode"] == mode


def test_the_shipped_roots_refuse_every_minted_device():
    assert refused(verifier=NvidiaVerifier()) == "nv.root_not_pinned"


def test_a_root_is_pinned_by_certificate_and_by_key():
    (pin,) = mint.PINNED
    for wrong in (
        replace(pin, certificate_sha256="00" * 32),
        replace(pin, spki_sha256="00" * 32),
    ):
        assert refused(verifier=NvidiaVerifier((wrong,))) == "nv.root_not_pinned"


def test_a_root_of_the_same_name_is_another_root():
    impostor = mint.root("Test Device Identity CA")
    identity = impostor.issue("Test GH100 Identity")
    board = mint.Board(
        provisioner=identity.issue("Test GH100 Provisioner ICA 1"), above=(identity, impostor)
    )
    assert refused(board) == "nv.root_not_pinned"
    # With the genuine root on top the signature below it does not hold.
    assert refused(replace(board, above=(identity, mint.ROOT))) == "nv.chain_signature"


def chain_with(**changes) -> mint.Board:
    """A board whose provisioner is made in another way."""
    return mint.Board(provisioner=mint.IDENTITY.issue("Test GH100 Provisioner ICA 1", **changes))


@pytest.mark.parametrize(
    "board",
    [
        chain_with(ca=False),
        chain_with(constraints=x509.BasicConstraints(ca=False, path_length=None)),
        chain_with(usage=mint.key_usage(sign=True)),
        chain_with(path_length=0),
        chain_with(hash_algorithm=hashes.SHA256()),
        chain_with(key=ec.generate_private_key(ec.SECP256R1())),
        chain_with(
            extensions=[
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), True)
            ]
        ),
    ],
    ids=[
        "no constraints",
        "no authority",
        "may not sign certificates",
        "path too long",
        "sha-256",
        "p-256",
        "unknown critical extension",
    ],
)
def test_a_chain_that_was_not_made_as_nvidia_makes_them_is_refused(board):
    assert refused(board) == "nv.chain_signature"


def test_a_leaf_with_another_kind_of_key_is_refused():
    identity = mint.GPU.chain()[1]
    leaf = identity.issue(
        "GH100 A01 GSP FMC LF",
        ca=False,
        key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    pem = mint.pem(leaf, *mint.GPU.chain()[1:])
    assert refused(mint.GPU, pem=pem) == "nv.chain_signature"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 2,
        b"-----BEGIN CERTIFICATE-----\n" * 3,
        b"-----BEGIN CERTIFICATE-----\n" * 9,
        b"A" * (64 * 1024 + 1),
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 1_000_000,
        mint.pem(mint.ROOT),
        mint.pem(*mint.GPU.chain()[1:]) + mint.pem(mint.GPU.chain()[0]),
        mint.pem(*[mint.ROOT] * 9),
    ],
    ids=[
        "none", "garbage", "unended", "nine", "too large", "a megabyte", "root alone",
        "wrong order", "too deep",
    ],
)  # fmt: skip
def test_a_chain_that_is_no_chain_is_refused_quickly(pem):
    started = time.process_time()
    assert refused(mint.GPU, pem=pem) in {"nv.chain_signature", "nv.root_not_pinned"}
    assert time.process_time() - started < 0.1


def test_a_chain_cut_anywhere_is_refused():
    pem = mint.GPU.pem()
    raw = mint.GPU.report()
    started = time.process_time()
    lengths = range(0, len(pem) - 1, 5)
    codes = {code_of(lambda n=n: check(raw, pem=pem[:n])) for n in lengths}
    assert codes <= {"nv.chain_signature", "nv.root_not_pinned"}
    assert (time.process_time() - started) / len(lengths) < 0.1


@pytest.mark.parametrize("at", [mint.START - mint.DAY, mint.START])
def test_a_chain_is_valid_between_its_dates_only(at):
    if at < mint.START:
        assert refused(at=at) == "nv.cert_expired"
    else:
        assert check(at=at)


def test_an_ended_certificate_anywhere_in_the_chain_is_refused():
    assert refused(chain_with(end=mint.NOW - mint.DAY)) == "nv.cert_expired"


def test_collateral_ends_with_the_first_certificate_that_ends():
    end = mint.NOW + 3 * mint.DAY
    assert check(chain_with(end=end)).expires_at == end


def test_a_report_of_one_gpu_does_not_count_under_the_chain_of_another():
    assert refused(mint.GPU, pem=mint.OTHER_GPU.pem()) == "nv.report_signature"


@pytest.mark.parametrize("half", [-96, -48])
def test_a_changed_signature_does_not_hold(half):
    raw = bytearray(mint.GPU.report())
    raw[half] ^= 1
    assert refused(bytes(raw), pem=mint.GPU.pem()) == "nv.report_signature"


@pytest.mark.parametrize("signature", [bytes(96), b"\xff" * 96])
def test_a_signature_out_of_range_does_not_hold(signature):
    raw = mint.GPU.report()[:-96] + signature
    assert refused(raw, pem=mint.GPU.pem()) == "nv.report_signature"


@pytest.mark.parametrize("header", [b"\x11\xe0\x00\xff", b"\x11\xe0\x01\x01"])
def test_a_signed_answer_to_another_question_is_refused(header):
    assert refused(replace(mint.GPU, header=header)) == "nv.request_header"


def test_other_firmware_than_the_certificate_was_made_for_is_refused():
    assert refused(replace(mint.GPU, firmware=bytes(47) + b"\1")) == "nv.fwid"


def test_firmware_that_does_not_name_itself_is_a_claim_for_the_policy():
    assert check(replace(mint.GPU, firmware=None)).claims["fwid"] == "absent"


def test_a_certificate_that_does_not_name_firmware_is_a_claim_for_the_policy():
    identity = mint.GPU.chain()[1]
    leaf = identity.issue("GH100 A01 GSP FMC LF", ca=False)
    raw = mint.report(leaf.key, blocks=[(1, b"a")], opaque=[(3, b"550\0"), (20, mint.FIRMWARE)])
    assert check(raw, pem=mint.pem(leaf, *mint.GPU.chain()[1:])).claims["fwid"] == "absent"


@pytest.mark.parametrize("firmware", [bytes(48), bytes(47) + b"\1"])
def test_other_firmware_than_any_that_a_blackwell_leaf_lists_is_refused(firmware):
    board = mint.Board(chip="GB100", firmware=firmware)
    assert refused(board) == "nv.fwid"


@pytest.mark.parametrize("value", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x05\xa6\x03"])
def test_a_malformed_firmware_id_is_refused(value):
    identity = mint.GPU.chain()[1]
    leaf = identity.issue(
        "GH100 A01 GSP FMC LF", ca=False, extensions=[(mint.fwid_extension(value), False)]
    )
    raw = mint.report(leaf.key, blocks=[(1, b"a")], opaque=[(3, b"550\0"), (20, mint.FIRMWARE)])
    assert refused(raw, pem=mint.pem(leaf, *mint.GPU.chain()[1:])) == "nv.fwid"


@given(st.binary(max_size=200))
def test_no_bytes_make_the_firmware_id_fail_otherwise(value):
    identity = mint.GPU.chain()[1]
    leaf = identity.issue(
        "GH100 A01 GSP FMC LF", ca=False, key=mint.GPU.chain()[0].key,
        extensions=[(mint.fwid_extension(value), False)],
    )  # fmt: skip
    assert code_of(lambda: certified_firmware(leaf.certificate)) in (None, "nv.fwid")


@pytest.mark.parametrize(
    "board",
    [
        mint.Board(chip="XY100"),
        replace(mint.SWITCH, extra=((3, b"550.90.07\0"),)),
        replace(mint.GPU, extra=((35, b"GB100\0"),)),
    ],
    ids=["unknown chip", "switch with a driver", "chip info of another chip"],
)
def test_a_report_of_another_kind_of_chip_is_refused(board):
    assert refused(board) == "nv.arch"


def test_leaf_and_identity_certificate_must_name_one_chip():
    identity = mint.PROVISIONER.issue("GB100 A01 GSP BROM", serial=5)
    leaf = identity.issue("GH100 A01 GSP FMC LF", ca=False)
    raw = mint.report(leaf.key, blocks=[(1, b"a")], opaque=[(3, b"550\0")])
    pem = mint.pem(leaf, identity, mint.PROVISIONER, mint.IDENTITY, mint.ROOT)
    assert refused(raw, pem=pem) == "nv.arch"


def test_every_check_is_a_factor_and_nothing_is_left_unexamined():
    sheet = FactorSheet(VERIFIER.factors)
    check(sheet=sheet, source=stapled(ocsp=mint.ocsp_answers(mint.GPU)))
    assert {factor.outcome for factor in sheet.factors()} == {Outcome.PASS}


def test_a_refusal_shows_on_its_factor_and_later_ones_are_not_examined():
    sheet = FactorSheet(VERIFIER.factors)
    refused(replace(mint.GPU, firmware=bytes(48)), sheet=sheet)
    outcomes = {factor.name: factor.outcome for factor in sheet.factors()}
    assert outcomes["nvidia firmware id"] is Outcome.FAIL
    assert outcomes["nvidia report signature"] is Outcome.PASS
    assert outcomes["nvidia revocation"] is Outcome.SKIP


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_single_change_of_a_recorded_chain_goes_unnoticed(data):
    pem = bytearray((VECTORS / "hopper-550.90.07" / "chain.pem").read_bytes())
    raw = bytes.fromhex((VECTORS / "hopper-550.90.07" / "report.hex").read_text())
    at = data.draw(st.integers(0, len(pem) - 1))
    original = bytes(pem)
    pem[at] ^= data.draw(st.integers(1, 127))
    code = code_of(lambda: check(raw, verifier=NvidiaVerifier(), pem=bytes(pem)))
    if code is None:
        # White space and the text between certificates mean nothing.
        read = x509.load_pem_x509_certificates
        assert read(bytes(pem)) == read(original)
    else:
        assert code.startswith("nv.")
