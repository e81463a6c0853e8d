"""TDX quotes, platform certificates and collateral under a test root.

The cryptography is real and so are the formats; only the root is not Intel's, and the
shipped verifier refuses it (a test says so). `World` holds the keys; its methods take the
one thing to get wrong.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.tdx.chain import PinnedRoot
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, TdxVerifier
from confide.wire.strict_json import b64url

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FMSPC = bytes.fromhex("90c06f000000")
PPID = bytes(range(16))
INSTANCE = bytes(range(16, 32))
SVN = bytes([7, 1, 5]) + bytes(13)
COMPONENTS = (5,) * 16
PCE_SVN = 13
QE_SIGNER = hashlib.sha256(b"signer of the quoting enclave").digest()
REPORT_DATA = bytes(range(64))
VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
SGX_OID = "1.2.840.113741.1.13.1"
ATTRIBUTES = 1 << 28
RTMRS = tuple(hashlib.sha384(bytes([number])).digest() for number in range(4))


def der(tag, content):
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def entry(arcs, value):
    return der(0x30, der(6, bytes.fromhex("2a864886f84d010d01") + bytes(arcs)) + value)


def sgx_extension(*, fmspc=FMSPC, pce_id=bytes(2), components=COMPONENTS, pce_svn=PCE_SVN,
                  ppid=PPID, instance=INSTANCE, extra=b""):  # fmt: skip
    tcb = [entry([2, number + 1], integer(svn)) for number, svn in enumerate(components)]
    tcb += [entry([2, 17], integer(pce_svn)), entry([2, 18], der(4, bytes(components)))]
    flags = [entry([7, number], der(1, b"\xff")) for number in (1, 2, 3)]
    parts = [
        entry([1], der(4, ppid)),
        entry([2], der(0x30, b"".join(tcb))),
        entry([3], der(4, pce_id)),
        entry([4], der(4, fmspc)),
        entry([5], der(0x0A, b"\1")),
    ]
    if instance is not None:
        parts += [entry([6], der(4, instance)), entry([7], der(0x30, b"".join(flags)))]
    return der(0x30, b"".join(parts) + extra)


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def sign(key, content):
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def pem(*certificates):
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates).decode()


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def subject(common):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Corporation"),
        ]
    )


@dataclass(frozen=True)
class Authority:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def issue(self, common, *, ca=False, serial=None, start=NOW - DAY, end=NOW + 365 * DAY,
              key=None, extension=None, digest=None):  # fmt: skip
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = build(self, common, key, ca, serial, start, end, extension, digest)
        return Authority(certificate, key)

    def revoke(self, *serials, issued=NOW - DAY, until=NOW + 30 * DAY, number=7):
        """Return a revocation list, DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(issued)
            .next_update(until)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        for serial in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(issued)
                .build()
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def build(issuer, common, key, ca, serial, start, end, extension, digest):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(common))
        .issuer_name(subject(common) if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca, 1 if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                content_commitment=not ca,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if extension is not None:
        oid = x509.ObjectIdentifier(SGX_OID)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension), critical=False)
    return builder.sign(key if issuer is None else issuer.key, digest or hashes.SHA256())


def root_authority(common="Test SGX Root CA"):
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(
        build(None, common, key, True, None, NOW - DAY, NOW + 9999 * DAY, None, None), key
    )


def level(status="UpToDate", *, sgx=COMPONENTS, tdx=(7, 1, 5), pcesvn=PCE_SVN, advisories=(),
          date="2024-11-13T00:00:00Z"):  # fmt: skip
    tdx = (*tdx, *(0,) * (16 - len(tdx)))
    return {
        "tcb": {
            "sgxtcbcomponents": [{"svn": one} for one in sgx],
            "pcesvn": pcesvn,
            "tdxtcbcomponents": [{"svn": one} for one in tdx],
        },
        "tcbDate": date,
        "tcbStatus": status,
        **({"advisoryIDs": list(advisories)} if advisories else {}),
    }


def simple_level(isvsvn, status="UpToDate", advisories=()):
    return {
        "tcb": {"isvsvn": isvsvn},
        "tcbDate": "2024-11-13T00:00:00Z",
        "tcbStatus": status,
        **({"advisoryIDs": list(advisories)} if advisories else {}),
    }


def module(major=1, levels=None, *, signer=bytes(48), attributes=bytes(8)):
    return {
        "id": f"TDX_{major:02X}",
        "mrsigner": signer.hex().upper(),
        "attributes": attributes.hex().upper(),
        "attributesMask": "FF" * 8,
        "tcbLevels": [simple_level(7)] if levels is None else levels,
    }


def tcb_info(*, levels=None, modules=None, issued=NOW - DAY, until=NOW + 30 * DAY, **changes):
    return {
        "id": "TDX",
        "version": 3,
        "issueDate": stamp(issued),
        "nextUpdate": stamp(until),
        "fmspc": FMSPC.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 18,
        "tdxModule": {
            "mrsigner": "00" * 48,
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        },
        "tdxModuleIdentities": [module()] if modules is None else modules,
        "tcbLevels": [level()] if levels is None else levels,
        **changes,
    }


def qe_identity(*, levels=None, issued=NOW - DAY, until=NOW + 30 * DAY, **changes):
    return {
        "id": "TD_QE",
        "version": 2,
        "issueDate": stamp(issued),
        "nextUpdate": stamp(until),
        "tcbEvaluationDataNumber": 18,
        "miscselect": "01000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [simple_level(4)] if levels is None else levels,
        **changes,
    }


def td_report(*, svn=SVN, attributes=ATTRIBUTES, signer=bytes(48), seam=bytes(8),
              report_data=REPORT_DATA, rtmrs=RTMRS, body_type=2, service_td=bytes(48),
              extended=bytes(237), mr_td=b"\x22" * 48):  # fmt: skip
    fixed = [svn, b"\x11" * 48, signer, seam, attributes.to_bytes(8, "little"), bytes(8)]
    measured = [mr_td, b"\x33" * 48, b"\x44" * 48, b"\x55" * 48, *rtmrs, report_data]
    body = b"".join((*fixed, *measured))
    if body_type > 2:
        body += svn + service_td
    return body + (extended if body_type == 4 else b"")


def qe_report(report_data, *, signer=QE_SIGNER, product=2, version=4, miscselect=1,
              attributes=b"\x11" + bytes(15)):  # fmt: skip
    report = bytearray(384)
    report[16:20] = miscselect.to_bytes(4, "little")
    report[48:64] = attributes
    report[128:160] = signer
    report[256:258] = product.to_bytes(2, "little")
    report[258:260] = version.to_bytes(2, "little")
    report[320:384] = report_data
    return bytes(report)


class World:
    """A root, a platform's CA and certificate, and the key that signs TCB data."""

    def __init__(self, *, ca_name="Intel SGX PCK Platform CA", **platform):
        self.root = root_authority()
        self.ca = self.root.issue(ca_name, ca=True)
        self.pck = self.ca.issue("Intel SGX PCK Certificate", extension=sgx_extension(**platform))
        self.signing = self.root.issue("Intel SGX TCB Signing")
        self.attestation_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def roots(self):
        der_form = self.root.certificate.public_bytes(Encoding.DER)
        spki = self.root.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return (
            PinnedRoot(
                "test root", hashlib.sha256(der_form).hexdigest(), hashlib.sha256(spki).hexdigest()
            ),
        )

    @property
    def root_der(self):
        return self.root.certificate.public_bytes(Encoding.DER)

    @property
    def chain(self):
        return pem(self.pck.certificate, self.ca.certificate, self.root.certificate)

    def quote(self, *, version=4, body_type=2, report=None, chain=None, auth=bytes(range(32)),
              enclave=None, pck_key=None, signing_key=None, trailing=b"", **changes):  # fmt: skip
        """Return a quote; changes go to the TD report."""
        body = report or td_report(body_type=body_type, **changes)
        header = b"".join(
            (version.to_bytes(2, "little"), b"\2\0", b"\x81\0\0\0", bytes(4), VENDOR, bytes(20))
        )
        if version == 5:
            body = body_type.to_bytes(2, "little") + len(body).to_bytes(4, "little") + body
        key = point(self.attestation_key)
        named = hashlib.sha256(key + auth).digest() + bytes(32)
        report_of_qe = qe_report(named, **(enclave or {}))
        chain = (self.chain if chain is None else chain).encode()
        certification = b"".join(
            (
                report_of_qe, sign(pck_key or self.pck.key, report_of_qe),
                len(auth).to_bytes(2, "little"), auth,
                b"\5\0", len(chain).to_bytes(4, "little"), chain,
            )
        )  # fmt: skip
        signed = header + body
        data = b"".join(
            (
                sign(signing_key or self.attestation_key, signed), key,
                b"\6\0", len(certification).to_bytes(4, "little"), certification,
            )
        )  # fmt: skip
        return signed + len(data).to_bytes(4, "little") + data + trailing

    def collateral(self, *, info=None, identity=None, signer=None, **changes):
        """Return collateral as JSON; changes replace members."""
        signer = signer or self.signing
        texts = {
            "tcb_info": json.dumps(info or tcb_info(), separators=(",", ":")),
            "qe_identity": json.dumps(identity or qe_identity(), separators=(",", ":")),
        }
        chain = pem(signer.certificate, self.root.certificate)
        members = {
            "pck_crl_issuer_chain": pem(self.ca.certificate, self.root.certificate),
            "root_ca_crl": self.root.revoke().hex(),
            "pck_crl": self.ca.revoke().hex(),
            **texts,
            **{f"{name}_issuer_chain": chain for name in texts},
            **{f"{name}_signature": sign(signer.key, text.encode()).hex()
               for name, text in texts.items()},
            **changes,
        }  # fmt: skip
        return json.dumps(members).encode()

    def verifier(self):
        return TdxVerifier(roots=self.roots)

    def authenticate(self, quote=None, collateral=None, *, aux=None, at=NOW, sheet=None):
        """Run the product's verifier under this root."""
        return self.verifier().authenticate(
            quote or self.quote(),
            aux=aux or {},
            endorsements=stapled(collateral or self.collateral()),
            sheet=sheet or FactorSheet(TDX_FACTORS),
            at=at,
        )


def stapled(*candidates):
    return StapledEndorsements({"tdx": {"collateral": [b64url(one) for one in candidates]}})
