"""AMD's key hierarchy and SEV-SNP reports, made here with valid signatures under test roots.

Production roots refuse all of it; `test_snp_synthetic.py` says so.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BASE = "1.3.6.1.4.1.3704.1"
SPL = {"bootloader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
OLD = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
TURIN = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
CPUID = {"Milan": (0x19, 0x01), "Genoa": (0x19, 0x11), "Turin": (0x1A, 0x02)}
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


@functools.cache
def rsa_key(_name):
    return rsa.generate_private_key(65537, 4096)


@functools.cache
def ec_key(_name):
    return ec.generate_private_key(ec.SECP384R1())


def name(common):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def certificate(
    subject, issuer, public_key, signing_key, *, serial, extensions=(), days=(-1, 3650)
):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    authority = isinstance(public_key, rsa.RSAPublicKey)
    builder = builder.add_extension(x509.BasicConstraints(authority, None), True)
    for oid, value in extensions:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{BASE}.{oid}"), value), False
        )
    return builder.sign(signing_key, hashes.SHA384(), rsa_padding=PSS)


def der(cert):
    return cert.public_bytes(serialization.Encoding.DER)


def pem(*certs):
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certs)


def length(size):
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def tlv(tag, content):
    return bytes([tag]) + length(len(content)) + content


def resigned(cert, signing_key, edit):
    """Edit the signed part of a certificate and sign it again, properly."""
    tbs = edit(cert.tbs_certificate_bytes)
    start = tbs.index(bytes.fromhex("304106092a864886f70d01010a"))
    algorithm = tbs[start : start + 0x43]
    signature = signing_key.sign(tbs, PSS, hashes.SHA384())
    return tlv(0x30, tbs + algorithm + tlv(0x03, b"\0" + signature))


def ia5(text):
    return tlv(0x16, text.encode())


def small(number):
    raw = number.to_bytes(2, "big").lstrip(b"\0") or b"\0"
    return tlv(0x02, (b"\0" if raw[0] >= 0x80 else b"") + raw)


@dataclass(frozen=True)
class World:
    """One product's hierarchy, and a guest on one chip. `replace` one attribute to bend it."""

    product: str = "Genoa"
    vlek: bool = False
    csp_id: str | None = "cc-test-1.example.com"
    tcb: dict = field(
        default_factory=lambda: {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84}
    )
    committed: dict | None = None
    launched: dict | None = None
    hardware_id: bytes = bytes(range(1, 65))
    chip_id: bytes | None = None
    leaf_product: str | None = None
    certified: dict | None = None
    leaf_serial: int = 77
    days: tuple = (-1, 2000)
    extra: tuple = ()
    version: int = 5
    cpuid: tuple | None = None
    policy: int = 0x20000
    platform_info: int = 0x25
    vmpl: int = 0
    flags: int | None = None
    guest_svn: int = 1
    measurement: bytes = bytes(range(48))
    report_data: bytes = bytes(64)
    host_data: bytes = bytes(32)
    id_key: bytes = bytes(48)
    author_key: bytes = bytes(48)
    migration_agent: bytes = b"\xff" * 32
    firmware: tuple = (40, 55, 1)

    # The hierarchy.

    @functools.cached_property
    def root(self):
        key = rsa_key(f"ARK-{self.product}")
        return certificate(
            f"ARK-{self.product}", f"ARK-{self.product}", key.public_key(), key, serial=1
        )

    @functools.cached_property
    def authority(self):
        common = f"SEV-VLEK-{self.product}" if self.vlek else f"SEV-{self.product}"
        return certificate(
            common, f"ARK-{self.product}", rsa_key(common).public_key(), self.root_key, serial=2
        )

    @property
    def root_key(self):
        return rsa_key(f"ARK-{self.product}")

    @property
    def authority_key(self):
        return rsa_key(f"SEV-VLEK-{self.product}" if self.vlek else f"SEV-{self.product}")

    @property
    def layout(self):
        return TURIN if self.product == "Turin" else OLD

    @functools.cached_property
    def leaf(self):
        certified = self.certified or self.tcb
        extensions = [
            ("1", small(1)),
            ("2", ia5(self.leaf_product or self.product)),
            *((SPL[part], small(certified[part])) for part in self.layout),
            *([("5", ia5(self.csp_id))] if self.vlek and self.csp_id else []),
            *([] if self.vlek else [("4", self.hardware_id)]),
            *self.extra,
        ]
        issuer = f"SEV-VLEK-{self.product}" if self.vlek else f"SEV-{self.product}"
        return certificate(
            "SEV-VLEK" if self.vlek else "SEV-VCEK",
            issuer,
            ec_key("leaf").public_key(),
            self.authority_key,
            serial=self.leaf_serial,
            extensions=extensions,
            days=self.days,
        )

    @property
    def roots(self):
        return {hashlib.sha256(der(self.root)).digest(): self.product}

    @property
    def chain(self):
        return pem(self.authority, self.root)

    @property
    def vek(self):
        return der(self.leaf)

    def crl(self, *serials, days=(-1, 30), signed_by=None, number=7):
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name(f"ARK-{self.product}"))
            .last_update(NOW + timedelta(days=days[0]))
            .next_update(NOW + timedelta(days=days[1]))
        )
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), False)
        for serial in serials:
            one = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(one.revocation_date(NOW).build())
        signed = builder.sign(signed_by or self.root_key, hashes.SHA384(), rsa_padding=PSS)
        return signed.public_bytes(serialization.Encoding.DER)

    # The report.

    def tcb_bytes(self, versions):
        raw = bytearray(8)
        for part, index in self.layout.items():
            raw[index] = versions[part]
        return bytes(raw)

    @functools.cached_property
    def report(self):
        raw = bytearray(1184)

        def put(offset, content):
            raw[offset : offset + len(content)] = content

        put(0x000, self.version.to_bytes(4, "little"))
        put(0x004, self.guest_svn.to_bytes(4, "little"))
        put(0x008, self.policy.to_bytes(8, "little"))
        put(0x030, self.vmpl.to_bytes(4, "little"))
        put(0x034, (1).to_bytes(4, "little"))
        put(0x038, self.tcb_bytes(self.tcb))
        put(0x040, self.platform_info.to_bytes(8, "little"))
        flags = self.flags if self.flags is not None else (1 << 2 if self.vlek else 0)
        put(0x048, flags.to_bytes(4, "little"))
        put(0x050, self.report_data)
        put(0x090, self.measurement)
        put(0x0C0, self.host_data)
        put(0x0E0, self.id_key)
        put(0x110, self.author_key)
        put(0x160, self.migration_agent)
        put(0x180, self.tcb_bytes(self.tcb))
        if self.version >= 3:
            put(0x188, bytes([*(self.cpuid or CPUID[self.product]), 1]))
        chip = bytes(64) if self.vlek else self.hardware_id.ljust(64, b"\0")
        put(0x1A0, chip if self.chip_id is None else self.chip_id)
        put(0x1E0, self.tcb_bytes(self.committed or self.tcb))
        put(0x1E8, bytes(self.firmware))
        put(0x1EC, bytes(self.firmware))
        put(0x1F0, self.tcb_bytes(self.launched or self.tcb))
        r, s = decode_dss_signature(
            ec_key("leaf").sign(bytes(raw[:0x2A0]), ec.ECDSA(hashes.SHA384()))
        )
        put(0x2A0, r.to_bytes(72, "little"))
        put(0x2E8, s.to_bytes(72, "little"))
        return bytes(raw)

    def but(self, **changes):
        return replace(self, **changes)


TURIN_WORLD = World(
    product="Turin",
    tcb={"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81},
    hardware_id=bytes(range(1, 9)),
)
