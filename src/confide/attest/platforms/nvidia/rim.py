"""Import NVIDIA's reference integrity manifests (RIM): verify once, keep the hashes.

A manifest is a SWID tag in XML that says what a driver or a VBIOS measures. It is verified
when a policy is written; the policy carries the hashes and is what clients trust, so no
client reads XML. Needs the extra `rim` (lxml).

Checked in this order: form of the document and of its one signature, chain to the pinned
CoRIM root, dates, digest, signature, and only then the content.

Source: ISO/IEC 19770-2; TCG Reference Integrity Manifest information model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509

from confide.attest.platforms.nvidia.chain import (
    RIM_ROOT,
    PinnedRoot,
    check_chain,
    key_of,
    read_der_chain,
    rim_chain,
)
from confide.attest.platforms.nvidia.golden import HASH_LENGTH, MAX_INDEX, GoldenSet
from confide.attest.platforms.nvidia.xml_signature import SignedXml, read_signed_xml, refusal
from confide.errors import EndorsementError

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

__all__ = ["MAX_RIM", "Rim", "check_fits", "golden_from", "import_rim", "signer_chain"]

MAX_RIM: Final = 1024 * 1024
"""Largest manifest, in bytes; NVIDIA's have about 25 KiB."""

_SWID: Final = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_ROOT: Final = f"{_SWID}SoftwareIdentity"
_HASH: Final = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
_MAX_ALTERNATIVES: Final = 64
_VBIOS: Final = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_VERSION: Final = re.compile(r"[0-9A-Za-z.\-]{1,64}")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_HEX: Final = re.compile(rf"[0-9a-f]{{{2 * HASH_LENGTH}}}")
_EDITIONS: Final = ("GPU", "SWITCH")


@dataclass(frozen=True)
class Rim:
    """One manifest whose signature and chain hold.

    Attributes:
        product: Chip, such as "GH100" or "LS10".
        edition: "GPU" or "SWITCH".
        version: Of the driver ("550.90.07") or of the VBIOS ("96.00.9F.00.01", upper case).
        tag_id: The manifest's own identifier.
        sha256: SHA-256 of the XML as given, lower-case hex.
        valid_until: Earliest end of the certificates that signed it.
        measurements: Active resources only: accepted values (lower-case hex) by golden index.
    """

    product: str
    edition: str
    version: str
    tag_id: str
    sha256: str
    valid_until: datetime
    measurements: Mapping[int, tuple[str, ...]] = field(repr=False)

    @property
    def is_driver(self) -> bool:
        """Whether the version is a driver's; five groups of two hex digits are a VBIOS's."""
        return _VBIOS.fullmatch(self.version) is None


def import_rim(xml: bytes, at: datetime, *, roots: tuple[PinnedRoot, ...] = (RIM_ROOT,)) -> Rim:
    """Verify one manifest.

    Args:
        xml: SWID tag with an enveloped XML signature, at most 1 MiB, untrusted.
        at: When to verify: now, for a policy that is being written.
        roots: Accepted roots; tests of this module bring their own.

    Raises:
        EndorsementError: rim.root_element, .signature_count, .reference, .algorithm,
            .transform, .root_not_pinned, .chain_signature, .cert_expired, .digest,
            .signature, .duplicate_index, .product or .version. No other
            `AttestationError`.
        ConfigError: The extra is not installed (`pip install 'confide[rim]'`).
    """
    signed = read_signed_xml(xml, limit=MAX_RIM, root=_ROOT)
    chain, ends = _check_signer(signed, at, roots)
    signed.check_digest()
    signed.check_signature(key_of(chain[0], rim_chain(roots)))
    meta = _one(signed.root, "Meta")
    version = meta.get("colloquialVersion") or ""
    product, edition = meta.get("product") or "", meta.get("edition") or ""
    if not _VERSION.fullmatch(version):
        raise refusal("version", "the manifest names no version")
    if not _VERSION.fullmatch(product) or edition not in _EDITIONS:
        raise refusal("product", "the manifest names no product")
    return Rim(
        product=product,
        edition=edition,
        version=version.upper() if _VBIOS.fullmatch(version.upper()) else version,
        tag_id=signed.root.get("tagId") or "",
        sha256=hashlib.sha256(xml).hexdigest(),
        valid_until=ends,
        measurements=_measurements(_one(signed.root, "Payload")),
    )


def signer_chain(
    xml: bytes, at: datetime, *, roots: tuple[PinnedRoot, ...] = (RIM_ROOT,)
) -> tuple[x509.Certificate, ...]:
    """Return the checked chain of a manifest, leaf first, such as to ask about revocation.

    Raises:
        EndorsementError: As `import_rim`, up to rim.cert_expired.
    """
    return _check_signer(read_signed_xml(xml, limit=MAX_RIM, root=_ROOT), at, roots)[0]


def golden_from(driver_rim: Rim | None, vbios_rim: Rim) -> GoldenSet:
    """Join the manifests of a driver and of a VBIOS into the values of one pair.

    Args:
        driver_rim: The driver's; None for an NVSwitch, which has no driver of its own.
        vbios_rim: The VBIOS's, or the switch's BIOS.

    Raises:
        EndorsementError: nv.rim_index_conflict: both claim an index. rim.product: they are
            of different chips, or one stands in the other's place.
    """
    if vbios_rim.is_driver or (driver_rim is not None and not driver_rim.is_driver):
        raise refusal("product", "a driver's manifest stands in the place of a VBIOS's")
    if (vbios_rim.edition == "SWITCH") != (driver_rim is None):
        raise refusal("product", "a GPU needs the manifests of its driver and VBIOS")
    rims = (vbios_rim,) if driver_rim is None else (driver_rim, vbios_rim)
    if len({(rim.product, rim.edition) for rim in rims}) != 1:
        raise refusal("product", "the two manifests are of different chips")
    measurements: dict[int, tuple[str, ...]] = {}
    for rim in rims:
        both = measurements.keys() & rim.measurements.keys()
        if both:
            raise EndorsementError(
                f"driver and VBIOS both claim index {min(both)}", code="nv.rim_index_conflict"
            )
        measurements |= rim.measurements
    return GoldenSet(
        driver="" if driver_rim is None else driver_rim.version,
        vbios=vbios_rim.version,
        measurements=measurements,
        rim_sha256=tuple(rim.sha256 for rim in rims),
    )


def check_fits(rim: Rim, claims: Mapping[str, object]) -> None:
    """Refuse a manifest that is not about this device.

    A validly signed manifest of another version or chip is what a careless look-up returns.

    Args:
        rim: The manifest.
        claims: Claims of one device: "chip", "driver" and "vbios".

    Raises:
        EndorsementError: rim.product or rim.version.
    """
    chip = str(claims.get("chip")).replace("_", "")
    if rim.product != chip:
        raise refusal("product", f"the manifest is of {rim.product}, the device is {chip}")
    claim = "driver" if rim.is_driver else "vbios"
    if rim.version != claims.get(claim):
        raise refusal(
            "version",
            f"the manifest is of {claim} {rim.version}, the device has {claims.get(claim)}",
        )


def _check_signer(
    signed: SignedXml, at: datetime, roots: tuple[PinnedRoot, ...]
) -> tuple[tuple[x509.Certificate, ...], datetime]:
    kind = rim_chain(roots)
    chain = read_der_chain(signed.certificates, kind)
    _, ends = check_chain(chain, kind, at=at)
    return chain, ends


def _one(root: Element, name: str) -> Element:
    found = root.findall(f"{_SWID}{name}")
    if len(found) != 1:
        raise refusal("root_element", f"{len(found)} elements {name}, not one")
    return found[0]


def _measurements(payload: Element) -> Mapping[int, tuple[str, ...]]:
    """Read the active resources; an index may occur once, active or not."""
    found: dict[int, tuple[str, ...]] = {}
    seen: set[int] = set()
    for resource in payload:
        if resource.tag != f"{_SWID}Resource" or resource.get("type") != "Measurement":
            raise refusal("root_element", "the payload holds something else than measurements")
        index = _number(resource, "index", MAX_INDEX)
        if index in seen:
            raise refusal("duplicate_index", f"index {index} occurs twice")
        seen.add(index)
        accepted = _hashes(resource)
        if _is_active(resource):
            found[index] = accepted
    if not found:
        raise refusal("root_element", "the manifest lists no active measurement")
    return found


def _hashes(resource: Element) -> tuple[str, ...]:
    """Read Hash0 to Hash<n-1>; there must be exactly `alternatives` of them."""
    count = _number(resource, "alternatives", _MAX_ALTERNATIVES)
    listed = {name: value for name, value in resource.attrib.items() if name.startswith(_HASH)}
    values = tuple(str(listed.get(f"{_HASH}{n}", "")).lower() for n in range(count))
    whole = all(_HEX.fullmatch(value) for value in values)
    if not values or not whole or len(listed) != count:
        raise refusal("root_element", "a measurement without its SHA-384 values")
    return values


def _is_active(resource: Element) -> bool:
    text = (resource.get("active") or "").lower()
    if text not in ("true", "false"):
        raise refusal("root_element", "a measurement that is neither active nor inactive")
    return text == "true"


def _number(resource: Element, name: str, highest: int) -> int:
    text = resource.get(name) or ""
    if not _NUMBER.fullmatch(text) or int(text) > highest:
        raise refusal("root_element", f"{name} is no number up to {highest}")
    return int(text)
