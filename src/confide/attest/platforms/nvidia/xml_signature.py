"""Check an enveloped XML signature of exactly one form, and no other.

Accepted is what NVIDIA's manifests use: one signature as the last child of the root, one
reference to the whole document (URI ""), the transforms enveloped-signature and C14N 1.1,
SHA-384 and ECDSA with SHA-384. Everything else that XML signatures can say is refused
rather than interpreted: other references, transforms, algorithms, object elements, keys by
name. Document types, entities and processing instructions are refused before parsing.

C14N 1.1 differs from 1.0 only in how attributes of the `xml:` namespace are inherited by a
part of a document; a document that has any is refused, so libxml2's C14N 1.0 serves.

Source: W3C XML Signature 1.1; W3C Canonical XML 1.1 section 2.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from confide.errors import ConfigError, EndorsementError

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

__all__ = ["RIM_ENDORSEMENT_CODES", "SignedXml", "read_signed_xml", "refusal"]

_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
_ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_XML_NAMESPACE: Final = "{http://www.w3.org/XML/1998/namespace}"
_FORBIDDEN: Final = re.compile(rb"<!(?!--)|<\?(?!xml[ \t\r\n])|\x00")
_ENCODING: Final = re.compile(rb"""\A(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding=["']([^"']+)["']""")
_MAX_DEPTH: Final = 16
_MAX_NODES: Final = 4096
_SIGNATURE_LENGTH: Final = 96

RIM_ENDORSEMENT_CODES: Final = {
    "root_element": "rim.root_element",
    "signature_count": "rim.signature_count",
    "reference": "rim.reference",
    "algorithm": "rim.algorithm",
    "transform": "rim.transform",
    "chain_signature": "rim.chain_signature",
    "digest": "rim.digest",
    "signature": "rim.signature",
    "duplicate_index": "rim.duplicate_index",
    "version": "rim.version",
    "product": "rim.product",
}
"""Codes of what can be wrong with a manifest, beside its chain."""


@dataclass(frozen=True)
class SignedXml:
    """A document whose signature has the accepted form; nothing is verified yet.

    Attributes:
        root: The document without its signature.
        certificates: DER certificates of the signature, in the order given.
    """

    root: Element
    certificates: tuple[bytes, ...]
    _signed_info: bytes
    _digest: bytes
    _value: bytes

    def check_digest(self) -> None:
        """Compare the digest of the document with the one in the signature.

        Raises:
            EndorsementError: rim.digest.
        """
        actual = hashlib.sha384(_canonical(self.root)).digest()
        if not hmac.compare_digest(actual, self._digest):
            raise EndorsementError("the manifest was changed after signing", code="rim.digest")

    def check_signature(self, key: EllipticCurvePublicKey) -> None:
        """Check that `key`, of P-384, made the signature.

        Raises:
            EndorsementError: rim.signature.
        """
        half = _SIGNATURE_LENGTH // 2
        r, s = self._value[:half], self._value[half:]
        try:
            if len(self._value) != _SIGNATURE_LENGTH:
                raise InvalidSignature
            der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            key.verify(der, self._signed_info, ECDSA(hashes.SHA384()))
        except InvalidSignature:
            raise EndorsementError(
                "the signature of the manifest does not hold", code="rim.signature"
            ) from None


def read_signed_xml(raw: bytes, *, limit: int, root: str) -> SignedXml:
    """Parse a document and take its signature apart.

    Args:
        raw: UTF-8, untrusted.
        limit: Most bytes accepted, checked first.
        root: Name of the root element, "{namespace}name".

    Raises:
        EndorsementError: rim.root_element, .signature_count, .reference, .transform or
            .algorithm.
        ConfigError: lxml is not installed.
    """
    document = _parse(raw, limit)
    if document.tag != root:
        raise refusal("root_element", "the manifest is not of the expected kind")
    signatures = list(document.iter(f"{_DSIG}Signature"))
    if len(signatures) != 1 or signatures[0] is not document[-1]:
        raise refusal("signature_count", f"{len(signatures)} signatures, not one at the end")
    signature = signatures[0]
    info, value, key_info = _children(
        signature, ("SignedInfo", "SignatureValue", "KeyInfo"), "signature_count"
    )
    method, signed_by, reference = _children(
        info, ("CanonicalizationMethod", "SignatureMethod", "Reference"), "reference"
    )
    _only_algorithm(method, _C14N, "algorithm")
    _only_algorithm(signed_by, _ECDSA_SHA384, "algorithm")
    digest = _reference(reference)
    parts = SignedXml(
        root=_without_signature(document),
        certificates=_certificates(key_info),
        _signed_info=_canonical(info),
        _digest=digest,
        _value=_base64(value, "signature"),
    )
    if len(digest) != hashlib.sha384().digest_size:
        raise refusal("digest", "the digest in the signature is not of SHA-384")
    return parts


def _etree() -> ModuleType:
    try:
        from lxml import etree
    except ImportError as error:
        raise ConfigError(
            "importing NVIDIA's manifests needs an extra", hint="pip install 'confide[rim]'"
        ) from error
    return etree


def refusal(code: str, message: str) -> EndorsementError:
    """Make the refusal of a manifest; `code` is a key of `RIM_ENDORSEMENT_CODES`."""
    return EndorsementError(message, code=RIM_ENDORSEMENT_CODES[code])


def _parse(raw: bytes, limit: int) -> Element:
    etree = _etree()
    if len(raw) > limit:
        raise refusal("root_element", f"a manifest of {len(raw)} bytes; at most {limit}")
    declared = _ENCODING.match(raw)
    if declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        raise refusal("root_element", "the manifest is not UTF-8")
    if _FORBIDDEN.search(raw):
        raise refusal("root_element", "a document type, an entity or a processing instruction")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False,
        huge_tree=False, recover=False, remove_blank_text=False, encoding="utf-8",
    )  # fmt: skip
    try:
        root: Element = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError):
        # libxml2's message may quote the input, so it is not chained.
        raise refusal("root_element", "the manifest is not XML") from None
    _check_shape(root)
    return root


def _check_shape(root: Element) -> None:
    """Refuse deep or huge trees, and attributes that C14N 1.0 and 1.1 treat differently."""
    open_elements = [(root, 1)]
    nodes = 0
    while open_elements:
        element, depth = open_elements.pop()
        nodes += 1
        if nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise refusal("root_element", "the manifest is nested too deeply or too long")
        if any(str(name).startswith(_XML_NAMESPACE) for name in element.attrib):
            raise refusal("transform", "an attribute that canonicalization may inherit")
        open_elements += [(child, depth + 1) for child in element]


def _children(parent: Element, names: tuple[str, ...], code: str) -> tuple[Element, ...]:
    """Return the children of an element, which must be exactly these, in this order."""
    found = tuple(parent)
    if tuple(child.tag for child in found) != tuple(f"{_DSIG}{name}" for name in names):
        raise refusal(code, f"the signature does not hold exactly: {', '.join(names)}")
    return found


def _only_algorithm(element: Element, wanted: str, code: str) -> None:
    if dict(element.attrib) != {"Algorithm": wanted} or len(element):
        raise refusal(code, f"an algorithm other than {wanted.rpartition('/')[2]}")


def _reference(reference: Element) -> bytes:
    """Check the reference and return the digest in it."""
    if dict(reference.attrib) != {"URI": ""}:
        raise refusal("reference", "the signature is not about the whole document")
    transforms, method, value = _children(
        reference, ("Transforms", "DigestMethod", "DigestValue"), "reference"
    )
    listed = _children(transforms, ("Transform", "Transform"), "transform")
    for transform, wanted in zip(listed, (_ENVELOPED, _C14N), strict=True):
        _only_algorithm(transform, wanted, "transform")
    _only_algorithm(method, _SHA384, "algorithm")
    return _base64(value, "digest")


def _certificates(key_info: Element) -> tuple[bytes, ...]:
    """Return the certificates, however many X509Data elements hold them."""
    found = []
    for data in key_info:
        if data.tag != f"{_DSIG}X509Data":
            raise refusal("chain_signature", "a key that is not given by certificates")
        for certificate in data:
            if certificate.tag != f"{_DSIG}X509Certificate":
                raise refusal("chain_signature", "a key that is not given by certificates")
            found.append(_base64(certificate, "chain_signature"))
    return tuple(found)


def _base64(element: Element, code: str) -> bytes:
    text = "".join((element.text or "").split())
    if len(element):
        raise refusal(code, "base64 with elements in it")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refusal(code, "not base64") from None


def _without_signature(document: Element) -> Element:
    """Return a copy without its last child; the text after that child stays."""
    copy = deepcopy(document)
    signature = copy[-1]
    if signature.tail:
        before = signature.getprevious()
        if before is None:
            copy.text = (copy.text or "") + signature.tail
        else:
            before.tail = (before.tail or "") + signature.tail
    copy.remove(signature)
    return copy


def _canonical(element: Element) -> bytes:
    """Write an element as C14N does.

    Raises:
        EndorsementError: rim.transform: it has no canonical form, as with a namespace that
            is named by a relative address.
    """
    etree = _etree()
    try:
        canonical: bytes = etree.tostring(element, method="c14n", with_comments=False)
    except (etree.LxmlError, ValueError):
        raise refusal("transform", "a document without a canonical form") from None
    return canonical
