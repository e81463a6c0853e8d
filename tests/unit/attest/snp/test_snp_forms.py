"""Certificates and lists that are properly signed and yet not of AMD's form."""

import contextlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.snp import mint
from tests.unit.attest.snp.mint import NOW, PSS, World, tlv

from confide.attest.der import DerReader
from confide.attest.platforms.snp.certificates import PSS_ALGORITHMS, AmdCertificate
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.platforms.snp.revocation import RevocationList
from confide.errors import AttestationError

GENOA = World()
SHORT, LONG = sorted(PSS_ALGORITHMS, key=len)
LISTED = x509.load_der_x509_crl(GENOA.crl(5, 77))
ROOT = AmdCertificate.parse(mint.der(GENOA.root))
SALT_32 = padding.PSS(padding.MGF1(hashes.SHA384()), 32)


def content_of(element):
    reader = DerReader(element)
    content = reader.any().content
    reader.end()
    return content


def signed(content, key, algorithm=SHORT, scheme=PSS):
    """Sign the content of a TBS structure, whatever it holds."""
    tbs = tlv(0x30, content)
    signature = key.sign(tbs, scheme, hashes.SHA384())
    return tlv(0x30, tbs + algorithm + tlv(0x03, b"\0" + signature))


def leaf(edit=lambda content: content, **how):
    return signed(edit(content_of(GENOA.leaf.tbs_certificate_bytes)), GENOA.authority_key, **how)


def revocation(edit=lambda content: content, *serials, **how):
    listed = x509.load_der_x509_crl(GENOA.crl(*serials))
    return signed(edit(content_of(listed.tbs_certlist_bytes)), GENOA.root_key, **how)


def code(*, vek=None, chain=None, crl=None):
    try:
        authenticate_report(
            GENOA.report, vek=vek or GENOA.vek, chain=chain or GENOA.chain, crl=crl,
            at=NOW, roots=GENOA.roots,
        )  # fmt: skip
    except AttestationError as error:
        return error.code
    return None


def test_what_is_signed_again_without_an_edit_is_accepted():
    assert code(vek=leaf(), crl=revocation()) is None
    assert code(crl=revocation(lambda content: content, 77)) == "snp.revoked"


def test_both_encodings_of_the_signature_algorithm_are_accepted():
    assert (len(SHORT), len(LONG)) == (0x43, 0x48)
    long = leaf(lambda content: content.replace(SHORT, LONG), algorithm=LONG)
    assert code(vek=long) is None
    lists = revocation(lambda content: content.replace(SHORT, LONG), algorithm=LONG)
    assert code(crl=lists) is None


def test_the_encodings_inside_and_outside_are_the_same():
    assert code(vek=leaf(algorithm=LONG)) == "snp.chain_signature"


@pytest.mark.parametrize(
    ("algorithm", "scheme"),
    [
        (SHORT.replace(b"\x02\x01\x30", b"\x02\x01\x20"), SALT_32),
        (tlv(0x30, bytes.fromhex("06092a864886f70d01010c0500")), padding.PKCS1v15()),
        (SHORT, SALT_32),
        (SHORT, padding.PSS(padding.MGF1(hashes.SHA256()), 48)),
        (SHORT, padding.PKCS1v15()),
    ],
)  # fmt: skip
def test_another_signature_scheme_is_refused(algorithm, scheme):
    how = {"algorithm": algorithm, "scheme": scheme}
    edited = leaf(lambda content: content.replace(SHORT, algorithm), **how)
    assert code(vek=edited) == "snp.chain_signature"
    lists = revocation(lambda content: content.replace(SHORT, algorithm), **how)
    assert code(crl=lists) == "snp.crl_signature"


def with_extension(content, oid, *, critical, value=b"\x05\x00"):
    """Append an extension to those of a certificate or list, which are its last element."""
    reader, parts = DerReader(content), []
    while reader.more:
        parts.append(reader.any())
    one = tlv(0x06, oid) + (b"\x01\x01\xff" if critical else b"") + tlv(0x04, value)
    old = content_of(parts[-1].content)
    last = tlv(parts[-1].tag, tlv(0x30, old + tlv(0x30, one)))
    return b"".join(part.whole for part in parts[:-1]) + last


POLICY_MAPPINGS = bytes.fromhex("551d21")
ISSUING_POINT = bytes.fromhex("551d1c")
DELTA = bytes.fromhex("551d1b")
CRL_NUMBER = bytes.fromhex("551d14")


def test_a_critical_extension_that_is_unknown_is_refused():
    for critical, expected in ((True, "snp.chain_signature"), (False, None)):
        edited = leaf(lambda c, k=critical: with_extension(c, POLICY_MAPPINGS, critical=k))
        assert code(vek=edited) == expected


@pytest.mark.parametrize("oid", [ISSUING_POINT, DELTA])
def test_a_list_that_is_about_a_part_only_is_refused(oid):
    edited = revocation(lambda content: with_extension(content, oid, critical=True))
    assert code(crl=edited) == "snp.crl_signature"


def test_a_list_with_two_numbers_is_refused():
    edited = revocation(
        lambda content: with_extension(content, CRL_NUMBER, critical=False, value=b"\x02\x01\x09")
    )
    assert code(crl=edited) == "snp.crl_signature"


def elements(content):
    reader, parts = DerReader(content), []
    while reader.more:
        parts.append(reader.any().whole)
    return parts


def without(index):
    return lambda content: b"".join(p for n, p in enumerate(elements(content)) if n != index)


def put(index, element):
    return lambda content: b"".join(
        element if n == index else p for n, p in enumerate(elements(content))
    )


@pytest.mark.parametrize(
    "edit",
    [
        without(0),  # version 1
        put(0, b"\x02\x01\x02"),
        without(2),  # no issuer
        put(2, tlv(0x30, b"")),
        put(3, tlv(0x17, b"261121120000+0100")),
        put(3, tlv(0x17, b"261321120000Z")),
        put(3, tlv(0x17, b"2611211200Z")),
        lambda content: content + b"\x05\x00",
        put(5, tlv(0x30, tlv(0x30, b"\x02\x01\xff"))),  # a negative serial
        put(5, tlv(0x30, b"\x05\x00")),
    ],
)
def test_a_list_of_another_form_is_refused(edit):
    assert code(crl=revocation(edit, 5)) == "snp.crl_signature"


@settings(max_examples=200)
@given(st.data())
def test_bytes_written_over_a_signed_list_never_crash_the_reader(data):
    """Only AMD could sign such a list; the reader holds all the same."""
    content = content_of(LISTED.tbs_certlist_bytes)
    offset = data.draw(st.integers(0, len(content) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=6))
    with contextlib.suppress(AttestationError):
        RevocationList.read(
            signed(content[:offset] + patch + content[offset + len(patch) :], GENOA.root_key),
            ROOT, NOW,
        )  # fmt: skip


def test_a_list_without_an_end_is_never_current():
    assert code(crl=revocation(without(4))) == "snp.crl_expired"


def test_a_time_may_be_written_either_way():
    generalized = tlv(0x18, b"20261120120000Z")
    assert code(crl=revocation(put(3, generalized))) is None


@pytest.mark.parametrize(("text", "year"), [("49", 2049), ("50", 1950), ("00", 2000), ("99", 1999)])
def test_two_digits_of_a_year_are_read_as_rfc_5280_says(text, year):
    parts = elements(content_of(GENOA.leaf.tbs_certificate_bytes))
    times = tlv(0x17, f"{text}0101000000Z".encode()) + elements(content_of(parts[4]))[1]
    found = AmdCertificate.parse(leaf(put(4, tlv(0x30, times))))
    assert found.not_before.year == year


def spki(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def ec_info(point, curve="06052b81040022"):
    algorithm = tlv(0x30, bytes.fromhex("06072a8648ce3d0201" + curve))
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + point))


def rsa_info(modulus, exponent):
    numbers = tlv(0x30, tlv(0x02, modulus) + tlv(0x02, exponent))
    algorithm = tlv(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + numbers))


KEYS = {
    "Ed25519": lambda: spki(ed25519.Ed25519PrivateKey.generate()),
    "P-256": lambda: spki(ec.generate_private_key(ec.SECP256R1())),
    "RSA-2048": lambda: spki(rsa.generate_private_key(65537, 2048)),
    "DSA": lambda: spki(dsa.generate_private_key(1024)),
    "a binary curve": lambda: ec_info(b"\4" + bytes(42), "06052b81040001"),
    "no point of the curve": lambda: ec_info(b"\4" + bytes(range(96))),
    "the point at infinity": lambda: ec_info(b"\0"),
    "no point": lambda: ec_info(b""),
    "an exponent of 3": lambda: rsa_info(b"\0" + b"\xff" * 512, b"\3"),
    "an even modulus": lambda: rsa_info(b"\0" + b"\xff" * 511 + b"\xfe", b"\1\0\1"),
    "a negative modulus": lambda: rsa_info(b"\xff" * 512, b"\1\0\1"),
    "a modulus of 0": lambda: rsa_info(b"\0", b"\1\0\1"),
    "a huge modulus": lambda: rsa_info(b"\0" + b"\xff" * 4000, b"\1\0\1"),
}


@pytest.mark.parametrize("name", KEYS)
def test_another_kind_of_key_is_refused(name):
    assert code(vek=leaf(put(6, KEYS[name]()))) in ("snp.chain_signature", "snp.report_signature")


@pytest.mark.parametrize("key", ["SEV-Genoa", "somebody"])
def test_an_intermediate_that_the_root_did_not_sign_is_refused(key):
    """Neither around AMD's own key, nor around a key of whoever forged it."""
    public, signer = mint.rsa_key(key).public_key(), mint.rsa_key("somebody")
    forged = mint.certificate("SEV-Genoa", "ARK-Genoa", public, signer, serial=2)
    assert code(chain=mint.pem(forged, GENOA.root)) == "snp.chain_signature"
    mine = signed(content_of(GENOA.leaf.tbs_certificate_bytes), mint.rsa_key(key))
    assert code(chain=mint.pem(forged, GENOA.root), vek=mine) == "snp.chain_signature"


@pytest.mark.parametrize("offset", [40, 300, 700, 1000, -1])
def test_an_intermediate_with_a_flipped_bit_is_refused(offset):
    changed = bytearray(mint.der(GENOA.authority))
    changed[offset] ^= 1
    text = ssl.DER_cert_to_PEM_cert(bytes(changed)).encode()
    assert code(chain=text + mint.pem(GENOA.root)) == "snp.chain_signature"


def test_an_intermediate_that_is_no_authority_is_refused():
    key = mint.rsa_key("SEV-Genoa")
    made = mint.certificate("SEV-Genoa", "ARK-Genoa", key.public_key(), GENOA.root_key, serial=2)
    plain = x509.load_der_x509_certificate(mint.der(made)).tbs_certificate_bytes
    no_ca = content_of(plain).replace(
        b"\x04\x05\x30\x03\x01\x01\xff", b"\x04\x05\x30\x03\x01\x01\x00"
    )
    edited = x509.load_der_x509_certificate(signed(no_ca, GENOA.root_key))
    assert code(chain=mint.pem(edited, GENOA.root)) == "snp.chain_signature"


def test_a_leaf_cannot_sign_another():
    """A VCEK's key is of an elliptic curve, and only RSA keys sign certificates here."""
    fake = mint.certificate(
        "SEV-Genoa", "ARK-Genoa", mint.ec_key("leaf").public_key(), GENOA.root_key, serial=3
    )
    assert code(chain=mint.pem(fake, GENOA.root)) == "snp.chain_signature"
