"""NVIDIA-shaped chains, reports, revocation data and manifests under test roots.

The cryptography is real and so are the formats; only the roots are not NVIDIA's, and the
shipped verifier refuses them (a test says so). Each maker takes the one thing to get wrong.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from confide.attest.platforms.nvidia.chain import PinnedRoot

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
START = datetime(2020, 10, 17, tzinfo=UTC)
END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
DAY = timedelta(days=1)
NONCE = bytes(range(32))
FIRMWARE = bytes(range(48))
SHA384_OID = bytes.fromhex("0609608648016503040202")


def name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Corporation"),
        ]
    )


def key_usage(*, sign=False, certificates=False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=certificates,
        crl_sign=certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Authority:
    """A certificate and its key; `issue` makes the next one down."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def issue(
        self, common, *, ca=True, serial=None, key=None, end=END, start=START, extensions=(),
        path_length=None, hash_algorithm=None, listed=False, usage=None, constraints=None,
    ) -> Authority:  # fmt: skip
        key = key or ec.generate_private_key(ec.SECP384R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(usage or key_usage(sign=not ca, certificates=ca), critical=True)
        )
        if ca:
            said = constraints or x509.BasicConstraints(ca=True, path_length=path_length)
            builder = builder.add_extension(said, critical=True)
        if listed:
            point = x509.DistributionPoint(
                [x509.UniformResourceIdentifier("http://crl.example/list.crl")], None, None, None
            )
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        for value, critical in extensions:
            builder = builder.add_extension(value, critical=critical)
        made = builder.sign(self.key, hash_algorithm or hashes.SHA384())
        return Authority(made, key)


def root(common: str) -> Authority:
    key = ec.generate_private_key(ec.SECP384R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name(common))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    return Authority(made, key)


def pinned(authority: Authority) -> PinnedRoot:
    der = authority.certificate.public_bytes(Encoding.DER)
    spki = authority.certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return PinnedRoot(
        "test root", hashlib.sha256(der).hexdigest(), hashlib.sha256(spki).hexdigest()
    )


def pem(*authorities: Authority) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in authorities)


def raw_signature(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def firmware_id(digest: bytes) -> bytes:
    return tlv(0x30, SHA384_OID + tlv(0x04, digest))


def composite(digest: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Hopper's form: version, key, one FWID."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return tlv(0x30, b"\x02\x01\x01" + spki + firmware_id(digest))


def tcb_info(*digests: bytes) -> bytes:
    """Blackwell's form: DICE TcbInfo with every member that recorded leaves have."""
    listed = b"".join(firmware_id(one) for one in digests)
    members = [(0x80, b"NVIDIA"), (0x81, b"GB100 A01 GSP"), (0x82, b"01"), (0x83, b"\1")]
    members += [(0x84, b"\0"), (0x85, b"\0"), (0xA6, listed), (0x87, bytes(5)), (0x88, b"\xc0")]
    return tlv(0x30, b"".join(tlv(*member) for member in [*members, (0x89, b"\0")]))


COMPOSITE_ID, TCB_INFO = "2.23.133.5.4.1", "2.23.133.5.4.1.1"


def fwid_extension(value: bytes, oid=COMPOSITE_ID) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


ROOT = root("Test Device Identity CA")
IDENTITY = ROOT.issue("Test GH100 Identity", listed=True)
PROVISIONER = IDENTITY.issue("Test GH100 Provisioner ICA 1", listed=True)
PINNED = (pinned(ROOT),)


@dataclass(frozen=True)
class Board:
    """One device: its chain and what it reports. `replace` one attribute to make it wrong."""

    chip: str = "GH100"
    serial: int = 0x41431D480FE5E87274
    driver: str = "550.90.07"
    vbios: bytes = bytes.fromhex("009f009601000000")
    flag: int | None = 0
    pdis: bytes = b""
    firmware: bytes | None = FIRMWARE
    certified: bytes = FIRMWARE
    blocks: int = 64
    nonce: bytes = NONCE
    header: bytes = b"\x11\xe0\x01\xff"
    provisioner: Authority = PROVISIONER
    above: tuple[Authority, ...] = (IDENTITY, ROOT)
    extra: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_switch(self) -> bool:
        return self.chip.startswith("LS")

    def chain(self) -> tuple[Authority, ...]:
        return (*_device(self), self.provisioner, *self.above)

    def pem(self) -> bytes:
        return pem(*self.chain())

    def opaque(self) -> list[tuple[int, bytes]]:
        fields = [(6, self.vbios)]
        if not self.is_switch:
            fields += [(3, self.driver.encode() + b"\0"), (17, b"1010\0"), (18, b"0200\0")]
            fields += [(15, b"882\0\0")]
        if self.firmware is not None:
            fields.append((20, self.firmware))
        if self.pdis:
            fields.append((22, self.pdis))
        if self.flag is not None and not self.is_switch:
            fields.append((36, self.flag.to_bytes(2, "little")))
        return [*fields, *self.extra]

    def report(self) -> bytes:
        return report(
            self.chain()[0].key,
            header=self.header,
            nonce=self.nonce,
            blocks=[(n + 1, measurement(n)) for n in range(self.blocks)],
            opaque=self.opaque(),
        )

    def measurements(self) -> dict[int, tuple[str, ...]]:
        return {n: (measurement(n).hex(),) for n in range(self.blocks)}


_DEVICES: dict[tuple, tuple[Authority, Authority]] = {}


def _device(board: Board) -> tuple[Authority, Authority]:
    """Leaf and identity certificate, made once for each kind of device."""
    known = (board.chip, board.serial, board.certified, id(board.provisioner))
    if known not in _DEVICES:
        identity = board.provisioner.issue(f"{board.chip} A01 GSP BROM", serial=board.serial)
        key = ec.generate_private_key(ec.SECP384R1())
        form = (composite(board.certified, key), COMPOSITE_ID)
        if board.chip.startswith("GB"):
            form = (tcb_info(board.certified, bytes(48)), TCB_INFO)
        leaf = identity.issue(
            f"{board.chip} A01 GSP FMC LF", ca=False, key=key,
            extensions=[(fwid_extension(*form), False)],
        )  # fmt: skip
        _DEVICES[known] = (leaf, identity)
    return _DEVICES[known]


def measurement(index: int) -> bytes:
    return hashlib.sha384(b"block %d" % index).digest()


def block(index: int, value: bytes, *, specification=1, size=None, value_size=None) -> bytes:
    body = b"\x01" + (len(value) if value_size is None else value_size).to_bytes(2, "little")
    body += value
    length = len(body) if size is None else size
    return bytes([index, specification]) + length.to_bytes(2, "little") + body


def report(
    key, *, header=b"\x11\xe0\x01\xff", nonce=NONCE, blocks=(), opaque=(), record=None, count=None,
    response=b"\x11\x60\0\0", trailing=b"",
) -> bytes:  # fmt: skip
    record = b"".join(block(*one) for one in blocks) if record is None else record
    fields = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for kind, value in opaque
    )
    signed = header + nonce + b"\0" + response
    signed += bytes([len(blocks) if count is None else count])
    signed += len(record).to_bytes(3, "little") + record + bytes(32)
    signed += len(fields).to_bytes(2, "little") + fields
    return signed + raw_signature(key, signed) + trailing


GPU = Board()
OTHER_GPU = replace(GPU, serial=0x41E23D711E1C4FBFAC)
SWITCH = Board(
    chip="LS_10", serial=0x50203EB31AD9ED0008, driver="", vbios=b"96.10.55.00.01", flag=None,
    firmware=None, blocks=31, pdis=bytes.fromhex("203eb31ad9ed0008"),
)  # fmt: skip


# Revocation.


def ocsp_answer(
    certificate: Authority,
    issuer: Authority,
    *,
    status=ocsp.OCSPCertStatus.GOOD,
    start=NOW - timedelta(hours=1),
    end=NOW + timedelta(hours=23),
    usage=(ExtendedKeyUsageOID.OCSP_SIGNING,),
    made_by: Authority | None = None,
    responder_end=END,
    algorithm=None,
    forged=False,
    direct=False,
    named: Authority | None = None,
) -> bytes:
    """One answer about one certificate, signed by a responder that its issuer made."""
    responder = (
        issuer
        if direct
        else (made_by or issuer).issue(
            "Test OCSP Responder",
            ca=False,
            end=responder_end,
            extensions=[(x509.ExtendedKeyUsage(list(usage)), True)] if usage else (),
        )
    )
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=certificate.certificate, issuer=(named or issuer).certificate,
            algorithm=algorithm or hashes.SHA384(), cert_status=status, this_update=start,
            next_update=end, revocation_time=start if revoked else None,
            revocation_reason=x509.ReasonFlags.certificate_hold if revoked else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    )  # fmt: skip
    if not direct:
        builder = builder.certificates([responder.certificate])
    response = builder.sign(responder.key, hashes.SHA384())
    der = response.public_bytes(Encoding.DER)
    changed = response.signature[:-1] + bytes([response.signature[-1] ^ 1])
    return der.replace(response.signature, changed) if forged else der


def ocsp_answers(board: Board, **changes) -> list[bytes]:
    """Answers for every certificate between leaf and root."""
    chain = board.chain()
    return [ocsp_answer(one, above, **changes) for one, above in itertools.pairwise(chain[1:])]


def revocation_list(
    issuer: Authority,
    *revoked: Authority,
    start=NOW - DAY,
    end=NOW + 30 * DAY,
    key=None,
    number=5,
    critical=False,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(start)
        .next_update(end)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if critical:
        builder = builder.add_extension(x509.DeltaCRLIndicator(number), critical=True)
    for one in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(one.certificate.serial_number)
            .revocation_date(start)
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key or issuer.key, hashes.SHA384()).public_bytes(Encoding.DER)


# Reference manifests.

RIM_ROOT = root("Test CoRIM Root CA")
RIM_CA = RIM_ROOT.issue("Test Reference Value CA")
RIM_SIGNER = RIM_CA.issue("Test RIM Signer", ca=False, start=NOW - DAY, end=NOW + 700 * DAY)
RIM_PINNED = (pinned(RIM_ROOT),)

SIGNED_INFO = (
    '<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>'
    "<ds:SignatureMethod"
    ' Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/><ds:Reference URI="">'
    "<ds:Transforms><ds:Transform"
    ' Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
    '<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/></ds:Transforms>'
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/>'
    "<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
)


def resource(index, *values, active="True", alternatives=None) -> str:
    listed = " ".join(f'ns2:Hash{n}="{value}"' for n, value in enumerate(values))
    count = len(values) if alternatives is None else alternatives
    return (
        f'<ns0:Resource type="Measurement" index="{index}" active="{active}" '
        f'alternatives="{count}" {listed} name="Measurement_{index}" size="48"/>'
    )


def manifest(
    resources,
    *,
    version="550.90.07",
    product="GH100",
    edition="GPU",
    info=SIGNED_INFO,
    signer=RIM_SIGNER,
    chain=(RIM_SIGNER, RIM_CA, RIM_ROOT),
    attributes="",
    prologue="",
    edit_signature=lambda text: text,
) -> bytes:
    """A signed manifest; `info` is the template of SignedInfo, signed as it then stands."""
    from lxml import etree

    swid = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
    head = (
        f'<SoftwareIdentity xmlns="{swid}" xmlns:ns0="{swid}"'
        f' xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" name="{product}" tagId="abc"'
        f"{attributes}>"
        f'<ns0:Meta colloquialVersion="{version}" edition="{edition}" product="{product}"/>'
        f"<ns0:Payload>{''.join(resources)}</ns0:Payload>\n"
    )
    plain = etree.fromstring(f"{head}</SoftwareIdentity>")
    digest = hashlib.sha384(etree.tostring(plain, method="c14n", with_comments=False)).digest()
    filled = info.format(digest=base64.b64encode(digest).decode())
    certificates = "".join(
        "<ds:X509Certificate>"
        f"{base64.b64encode(one.certificate.public_bytes(Encoding.DER)).decode()}"
        "</ds:X509Certificate>"
        for one in chain
    )

    def document(value: str) -> str:
        signature = (
            f'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{filled}'
            f"<ds:SignatureValue>{value}</ds:SignatureValue>"
            f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
        return f"{prologue}{head}{edit_signature(signature)}</SoftwareIdentity>"

    try:
        tree = etree.fromstring(document("").encode(), etree.XMLParser(resolve_entities=False))
        signed_info = next(tree.iter("{http://www.w3.org/2000/09/xmldsig#}SignedInfo"))
        signed = etree.tostring(signed_info, method="c14n", with_comments=False)
    except (etree.XMLSyntaxError, StopIteration):
        signed = b""
    value = base64.b64encode(raw_signature(signer.key, signed)).decode()
    return document(value).encode()


# Tokens of the attestation service.

TOKEN_KEY = ec.generate_private_key(ec.SECP384R1())


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwks(key=TOKEN_KEY, kid="k1") -> bytes:
    numbers = key.public_key().public_numbers()
    entry = {
        "kty": "EC", "crv": "P-384", "kid": kid,
        "x": b64(numbers.x.to_bytes(48, "big")), "y": b64(numbers.y.to_bytes(48, "big")),
    }  # fmt: skip
    return json.dumps({"keys": [entry]}).encode()


def token(claims: dict, *, key=TOKEN_KEY, header=None) -> str:
    header = {"alg": "ES384", "kid": "k1"} if header is None else header
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(raw_signature(key, signed.encode()))}"


def token_claims(**changes) -> dict:
    now = int(NOW.timestamp())
    return {"nbf": now - 60, "iat": now - 60, "exp": now + 3540, "eat_nonce": NONCE.hex()} | changes


def detached(*, device=None, overall=None, names=("GPU-0",), **signing) -> bytes:
    devices = {one: token(token_claims(**(device or {})), **signing) for one in names}
    digests = {
        one: ["DIGEST", ["SHA-256", hashlib.sha256(text.encode()).hexdigest()]]
        for one, text in devices.items()
    }
    claims = {"submods": digests, "x-nvidia-overall-att-result": True} | (overall or {})
    return json.dumps([["JWT", token(token_claims(**claims), **signing)], devices]).encode()
