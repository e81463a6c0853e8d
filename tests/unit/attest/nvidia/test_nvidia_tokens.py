"""A token of the attestation service counts if a key the caller trusts signed every part."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attest.nvidia import mint

from confide.attest.platforms.nvidia.nras import (
    MAX_TOKENS,
    key_from_x5c,
    read_jwks,
    verify_tokens,
)
from confide.errors import AttestationError

EATS = Path(__file__).parents[3] / "vectors" / "attestation" / "nvidia" / "eat"
KEYS = read_jwks(mint.jwks())
STRANGER = ec.generate_private_key(ec.SECP384R1())


def verify(raw=None, *, keys=KEYS, nonce=mint.NONCE, at=mint.NOW):
    return verify_tokens(mint.detached() if raw is None else raw, keys=keys, nonce=nonce, at=at)


def refused(raw=None, **changes) -> str:
    with pytest.raises(AttestationError) as caught:
        verify(raw, **changes)
    return caught.value.code


def edited(edit) -> bytes:
    parsed = json.loads(mint.detached())
    edit(parsed)
    return json.dumps(parsed).encode()


def test_genuine_tokens_give_the_claims_of_each_device():
    found = verify(mint.detached(device={"hwmodel": "GH100"}, names=("GPU-0", "GPU-1")))
    assert set(found.devices) == {"GPU-0", "GPU-1"}
    assert found.devices["GPU-0"]["hwmodel"] == "GH100"
    assert found.expires_at == datetime.fromtimestamp(int(mint.NOW.timestamp()) + 3540, tz=UTC)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "k1"},
        {"alg": "HS384", "kid": "k1"},
        {"alg": "ES256", "kid": "k1"},
        {"alg": "es384", "kid": "k1"},
        {"kid": "k1"},
        {"alg": ["ES384"], "kid": "k1"},
        {"alg": "ES384", "kid": "k1", "crit": ["exp"]},
    ],
)
def test_every_algorithm_but_one_is_refused(header):
    assert refused(mint.detached(header=header)) == "nv.token_alg"


def test_the_unsigned_tokens_of_the_local_tool_are_refused():
    document = json.loads((EATS / "unsigned-local-nvat.json").read_text())
    raw = json.dumps(document["detached_eat"]).encode()
    assert refused(raw, nonce=bytes([0x11]) * 32) == "nv.token_alg"


@pytest.mark.parametrize("name", ["nras-hopper-v3.json", "nras-two-gpus-zero-nonce.json"])
def test_recorded_tokens_are_read_and_refused_without_their_retired_key(name):
    raw = (EATS / name).read_bytes()
    assert refused(raw) == "nv.token_signature"
    kid = json.loads(base64.urlsafe_b64decode(json.loads(raw)[0][1].split(".")[0] + "=="))["kid"]
    # Under another key of that name the signature does not hold.
    assert refused(raw, keys=read_jwks(mint.jwks(kid=kid))) == "nv.token_signature"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (mint.detached(key=STRANGER), "nv.token_signature"),
        (mint.detached(header={"alg": "ES384", "kid": "k2"}), "nv.token_signature"),
        (mint.detached(header={"alg": "ES384"}), "nv.token_signature"),
        (mint.detached(device={"exp": int(mint.NOW.timestamp())}), "nv.token_expired"),
        (mint.detached(overall={"exp": int(mint.NOW.timestamp())}), "nv.token_expired"),
        (mint.detached(overall={"nbf": int(mint.NOW.timestamp()) + 1}), "nv.token_expired"),
        (mint.detached(overall={"exp": True}), "nv.token_signature"),
        (mint.detached(overall={"exp": 10**30}), "nv.token_signature"),
        (mint.detached(overall={"eat_nonce": "00" * 32}), "nv.token_nonce"),
        (mint.detached(device={"eat_nonce": "00" * 32}), "nv.token_nonce"),
        (mint.detached(overall={"eat_nonce": None}), "nv.token_nonce"),
        (mint.detached(overall={"submods": {}}), "nv.token_signature"),
        (mint.detached(overall={"submods": {"GPU-0": ["DIGEST", ["SHA-1", "00"]]}}),
         "nv.token_signature"),
        (mint.detached(overall={"submods": {"GPU-0": ["DIGEST", ["SHA-256", "00" * 32]]}}),
         "nv.token_signature"),
        (mint.detached(overall={"x-nvidia-overall-att-result": False}), "nv.token_result"),
        (mint.detached(overall={"x-nvidia-overall-att-result": 1}), "nv.token_result"),
        (edited(lambda parsed: parsed[1].clear()), "nv.token_signature"),
        (edited(lambda parsed: parsed[1].update({"GPU-1": parsed[1]["GPU-0"]})),
         "nv.token_signature"),
        (edited(lambda parsed: parsed[1].update({"GPU-0": parsed[0][1]})), "nv.token_signature"),
        (edited(lambda parsed: parsed.append({})), "nv.token_signature"),
        (edited(lambda parsed: parsed[0].__setitem__(0, "CWT")), "nv.token_signature"),
        (b"[]", "nv.token_signature"),
        (b'[["JWT","a"],{}],"x":[1', "nv.token_signature"),
        (b"[" * 100_000, "nv.token_signature"),
        (b"[" + b" " * MAX_TOKENS + b"]", "nv.token_signature"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_hold_are_refused_quickly(raw, code):
    started = time.process_time()
    assert refused(raw) == code
    assert time.process_time() - started < 0.1


def test_a_nonce_of_another_length_matches_nothing():
    raw = mint.detached(overall={"eat_nonce": ""}, device={"eat_nonce": ""})
    assert refused(raw, nonce=b"") == "nv.token_nonce"


def test_tokens_count_between_their_dates():
    assert refused(at=mint.NOW + timedelta(hours=1)) == "nv.token_expired"
    assert refused(at=mint.NOW - timedelta(hours=1)) == "nv.token_expired"


@given(st.binary(max_size=200))
def test_no_bytes_make_the_check_fail_otherwise(raw):
    with pytest.raises(AttestationError):
        verify(raw)


@given(st.data())
def test_no_changed_character_of_a_token_goes_unnoticed(data):
    raw = mint.detached()
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 127))]) + raw[at + 1 :]
    if changed.split() != raw.split():
        with pytest.raises(AttestationError):
            verify(changed)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"keys":[]}',
        b'{"keys":[{"kty":"RSA","kid":"a"}]}',
        b'{"keys":[{"kty":"EC","crv":"P-384","kid":"a","x":"AA","y":"AA"}]}',
        b'{"keys":[{"kty":"EC","crv":"P-384","kid":"a","x":"!","y":"AA"}]}',
        b"not json",
    ],
)
def test_a_key_set_without_a_usable_key_is_refused(raw):
    with pytest.raises(AttestationError) as caught:
        read_jwks(raw)
    assert caught.value.code == "nv.token_signature"


# Keys given by certificates.

SERVICE_CA = mint.root("Test Attestation Service CA")
SERVICE = SERVICE_CA.issue("Test Attestation Service Intermediate")
SIGNER = SERVICE.issue("Test Attestation Service", ca=False, key=mint.TOKEN_KEY)
CHAIN = (SIGNER, SERVICE)


def x5c(*chain):
    return [
        base64.b64encode(one.certificate.public_bytes(mint.Encoding.DER)).decode() for one in chain
    ]


@pytest.mark.parametrize("anchor", [SERVICE_CA, SERVICE, SIGNER])
def test_a_chain_to_a_trusted_certificate_gives_the_key(anchor):
    key = key_from_x5c(x5c(*CHAIN), anchors=[anchor.certificate], at=mint.NOW)
    assert verify(keys={"k1": key}).devices


@pytest.mark.parametrize(
    ("chain", "anchors"),
    [
        (CHAIN, []),
        (CHAIN, [mint.ROOT]),
        (CHAIN, [mint.root("Test Attestation Service CA")]),
        ((SIGNER,), [SERVICE_CA]),
        ((SERVICE, SIGNER), [SERVICE_CA]),
        ((), [SERVICE_CA]),
    ],
    ids=["no anchor", "other anchor", "impostor", "gap", "not a P-384 leaf's order", "empty"],
)
def test_a_chain_to_nothing_trusted_is_refused(chain, anchors):
    if chain == (SERVICE, SIGNER):
        # The first certificate is the one whose key signs; here that is the intermediate's.
        key = key_from_x5c(x5c(*chain), anchors=[SERVICE_CA.certificate], at=mint.NOW)
        assert refused(keys={"k1": key}) == "nv.token_signature"
        return
    with pytest.raises(AttestationError) as caught:
        key_from_x5c(x5c(*chain), anchors=[one.certificate for one in anchors], at=mint.NOW)
    assert caught.value.code == "nv.token_signature"


def test_a_chain_through_a_certificate_that_is_no_authority_is_refused():
    no_authority = mint.x509.BasicConstraints(ca=False, path_length=None)
    middle = SERVICE_CA.issue("Test Attestation Service Intermediate", constraints=no_authority)
    signer = middle.issue("Test Attestation Service", ca=False)
    with pytest.raises(AttestationError) as caught:
        key_from_x5c(x5c(signer, middle), anchors=[SERVICE_CA.certificate], at=mint.NOW)
    assert caught.value.code == "nv.token_signature"


def test_the_recorded_chain_lives_two_days():
    listed = json.loads((EATS / "nras-x5c.json").read_text())["x5c"]
    anchor = x509.load_der_x509_certificate(base64.b64decode(listed[1]))
    inside = datetime(2026, 6, 9, tzinfo=UTC)
    assert key_from_x5c(listed, anchors=[anchor], at=inside).curve.name == "secp384r1"
    for outside in (inside - timedelta(days=2), inside + timedelta(days=2)):
        with pytest.raises(AttestationError) as caught:
            key_from_x5c(listed, anchors=[anchor], at=outside)
        assert caught.value.code == "nv.token_expired"
