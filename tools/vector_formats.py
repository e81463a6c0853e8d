"""The vector formats `check_vectors` knows, one class each.

A format recognises a parsed JSON document and lists its cases. To add one (for
example attestation manifests), write such a class and append it to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from confide.crypto import xwing
from confide.crypto.hpke import RecipientContext, SenderContext, schedule
from confide.errors import KeyConfigError
from confide.sealing.bhttp import (
    InnerRequest,
    InnerResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from confide.wire.suites import AEAD_EXPORT_ONLY, suite_for
from evidence_manifest import check_case, check_mutation
from exchange_vectors import check_example, check_exchange, private_key_of
from vector_values import Mismatch, NotImplementedHere, equal, hex_bytes, integer

__all__ = ["FORMATS", "Case", "Format", "Mismatch", "NotImplementedHere"]


@dataclass(frozen=True)
class Case:
    """One case: a name and a check that raises, or returns a remark or None."""

    name: str
    check: Callable[[], str | None]


class Format(Protocol):
    """A kind of vector file."""

    name: str

    def recognises(self, document: Any) -> bool:
        """Say whether the document is of this kind."""

    def cases(self, document: Any, folder: Path, /) -> list[Case]:
        """List the cases; `folder` holds files that the document names."""


def entries(document: Any, member: str) -> list[Any]:
    """Return the list of cases: the document itself, or one of its members."""
    if isinstance(document, dict):
        document = document.get(member)
    return document if isinstance(document, list) else []


def any_has(found: list[Any], *names: str) -> bool:
    """Say whether some entry is an object with all these members."""
    return any(isinstance(one, dict) and all(name in one for name in names) for one in found)


def title(entry: Any, number: int) -> str:
    """Name a case by its own name, or by its place."""
    return str(entry.get("name", number)) if isinstance(entry, dict) else str(number)


class Transcripts:
    """Recorded OHTTP exchanges with other implementations."""

    name = "interop transcripts"

    def recognises(self, document: Any) -> bool:
        """Accept {"transcripts": [...]} or a list of exchanges."""
        if isinstance(document, dict):
            return isinstance(document.get("transcripts"), list)
        return any_has(entries(document, ""), "enc_request", "enc_response", "key_config")

    def cases(self, document: Any, _folder: Path, /) -> list[Case]:
        """One case per exchange."""
        found = entries(document, "transcripts")
        return [
            Case(self._title(n, one), partial(check_exchange, one)) for n, one in enumerate(found)
        ]

    @staticmethod
    def _title(number: int, entry: Any) -> str:
        if not isinstance(entry, dict):
            return f"{number}"
        form = "chunked" if entry.get("chunked") else "whole"
        ids = "/".join(str(entry.get(name)) for name in ("kem_id", "kdf_id", "aead_id"))
        return f"{number} {entry.get('direction')} | {entry.get('peer')} | {ids} {form}"


class OhttpExamples:
    """The examples in RFC 9458 and the chunked draft."""

    name = "OHTTP examples"

    def recognises(self, document: Any) -> bool:
        """Accept {"vectors": [...]} with skR, skE and enc_request."""
        return any_has(entries(document, "vectors"), "skR", "skE", "enc_request")

    def cases(self, document: Any, _folder: Path, /) -> list[Case]:
        """One case per example."""
        return [
            Case(title(one, n), partial(check_example, one))
            for n, one in enumerate(entries(document, "vectors"))
        ]


class BinaryHttp:
    """Binary HTTP messages and what they mean."""

    name = "Binary HTTP"

    def recognises(self, document: Any) -> bool:
        """Accept {"vectors": [...]} with hex and message."""
        return any_has(entries(document, "vectors"), "hex", "message")

    def cases(self, document: Any, _folder: Path, /) -> list[Case]:
        """One case per message."""
        return [
            Case(title(one, n), partial(check_message, one))
            for n, one in enumerate(entries(document, "vectors"))
        ]


class Xwing:
    """X-Wing key generation and decapsulation."""

    name = "X-Wing"

    def recognises(self, document: Any) -> bool:
        """Accept a list with seed, pk, ct, ss."""
        return any_has(entries(document, "vectors"), "seed", "pk", "ct", "ss")

    def cases(self, document: Any, _folder: Path, /) -> list[Case]:
        """One case per key."""
        found = entries(document, "vectors")
        return [Case(f"X-Wing {n}", partial(check_xwing, one)) for n, one in enumerate(found)]


class Hpke:
    """HPKE contexts, base and psk mode."""

    name = "HPKE"

    def recognises(self, document: Any) -> bool:
        """Accept a list with kem_id, exporter_secret and exports."""
        return any_has(entries(document, "vectors"), "kem_id", "exporter_secret", "exports")

    def cases(self, document: Any, _folder: Path, /) -> list[Case]:
        """One case per suite and mode."""
        return [
            Case(self._title(one, n), partial(check_hpke, one))
            for n, one in enumerate(entries(document, "vectors"))
        ]

    @staticmethod
    def _title(entry: Any, number: int) -> str:
        if not isinstance(entry, dict):
            return f"HPKE {number}"
        names = {"mode": "mode", "KEM": "kem_id", "KDF": "kdf_id", "AEAD": "aead_id"}
        return "HPKE " + " ".join(f"{word} {entry.get(name)}" for word, name in names.items())


class EvidenceManifest:
    """Recorded attestation evidence with its mutations."""

    name = "attestation manifest"

    def recognises(self, document: Any) -> bool:
        """Accept {"cases": [{"platform": ..., "verdict": ...}], ...}."""
        return any_has(entries(document, "cases"), "platform", "verdict", "files")

    def cases(self, document: Any, folder: Path) -> list[Case]:
        """One case per case and per mutation."""
        return [
            *(
                Case(f"case {one.get('id')}", partial(check_case, document, folder, one))
                for one in entries(document, "cases")
            ),
            *(
                Case(f"mutation {one.get('id')}", partial(check_mutation, document, folder, one))
                for one in entries(document, "mutations")
            ),
        ]


FORMATS: list[Format] = [
    Transcripts(),
    OhttpExamples(),
    BinaryHttp(),
    Xwing(),
    Hpke(),
    EvidenceManifest(),
]


def check_xwing(entry: Any) -> None:
    """Expand the seed, compare the public key, decapsulate."""
    private_key = xwing.PrivateKey.from_seed(hex_bytes(entry, "seed"))
    equal("public key", private_key.public_key, hex_bytes(entry, "pk"))
    secret = private_key.decapsulate(hex_bytes(entry, "ct"))
    equal("shared secret", secret.reveal(), hex_bytes(entry, "ss"))
    xwing.check_public_key(private_key.public_key)


def check_hpke(entry: Any) -> None:
    """Decapsulate, run the key schedule, then every seal, open and export."""
    kem_id, mode = integer(entry, "kem_id"), integer(entry, "mode")
    try:
        suite = suite_for(kem_id, integer(entry, "kdf_id"), integer(entry, "aead_id"))
    except KeyConfigError as error:
        raise NotImplementedHere(f"not part of the product: {error}") from None
    if mode not in (0, 1):
        raise NotImplementedHere(f"mode {mode} is not part of the product")
    private_key = private_key_of(suite, hex_bytes(entry, "skRm"))
    equal("public key", private_key.public_key, hex_bytes(entry, "pkRm"))
    secret = private_key.decapsulate(hex_bytes(entry, "enc"))
    equal("shared secret", secret.reveal(), hex_bytes(entry, "shared_secret"))
    info = hex_bytes(entry, "info")
    psk = hex_bytes(entry, "psk") if mode else b""
    psk_id = hex_bytes(entry, "psk_id") if mode else b""
    keys = schedule(suite, secret, info, psk=psk, psk_id=psk_id)
    equal("exporter secret", keys.exporter_secret, hex_bytes(entry, "exporter_secret"))
    if suite.aead_id != AEAD_EXPORT_ONLY:
        equal("key", keys.key, hex_bytes(entry, "key"))
        equal("base nonce", keys.base_nonce, hex_bytes(entry, "base_nonce"))
    sender = SenderContext.of(suite, secret, info, psk=psk, psk_id=psk_id)
    recipient = RecipientContext.of(suite, secret, info, psk=psk, psk_id=psk_id)
    check_messages(entry, sender, recipient, keys.base_nonce)
    for one in entry["exports"]:
        exported = hex_bytes(one, "exported_value")
        context, length = hex_bytes(one, "exporter_context"), integer(one, "L")
        equal("export", sender.export(context, length), exported)
        equal("export", recipient.export(context, length), exported)


def check_messages(
    entry: Any, sender: SenderContext, recipient: RecipientContext, base_nonce: bytes
) -> None:
    """Seal and open each listed message at the position its nonce names."""
    position = 0
    for one in entry["encryptions"]:
        nonce = int.from_bytes(hex_bytes(one, "nonce")) ^ int.from_bytes(base_nonce)
        if not position <= nonce <= position + 1024:
            raise Mismatch("the nonces are not in order")
        for _ in range(nonce - position):  # trimmed files leave messages out
            recipient.open(sender.seal(b""))
        position = nonce + 1
        aad, plaintext = hex_bytes(one, "aad"), hex_bytes(one, "pt")
        equal("ciphertext", sender.seal(plaintext, aad), hex_bytes(one, "ct"))
        equal("plaintext", recipient.open(hex_bytes(one, "ct"), aad), plaintext)


def check_message(entry: Any) -> None:
    """Decode a message, compare every part named, encode it again, cut what may be cut."""
    encoded, expected = hex_bytes(entry, "hex"), entry["message"]
    decode = decode_request if encoded[:1] in (b"\x00", b"\x02") else decode_response
    decoded = decode(encoded)
    equal("message", shown(decoded, expected), expected)
    for indeterminate in (False, True):
        equal("message encoded again", decode(encode(decoded, indeterminate)), decoded)
    for cut in range(1, entry.get("truncatable_bytes", 0) + 1):
        equal(f"message less {cut} bytes", decode(encoded[:-cut]), decoded)


def encode(message: InnerRequest | InnerResponse, indeterminate: bool) -> bytes:
    """Encode a message of either kind."""
    if isinstance(message, InnerRequest):
        return encode_request(message, indeterminate=indeterminate)
    return encode_response(message, indeterminate=indeterminate)


def text(value: bytes) -> str:
    """Write bytes the way a vector file does: UTF-8, else one character per byte."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def shown(message: InnerRequest | InnerResponse, expected: dict[str, Any]) -> dict[str, Any]:
    """Write the parts of a message that the vector names, the way it names them."""

    def lines(fields: tuple[tuple[bytes, bytes], ...]) -> list[list[str]]:
        return [[text(name), text(value)] for name, value in fields]

    parts: dict[str, Any] = {
        "headers": lines(message.headers),
        "trailers": lines(message.trailers),
        "content": text(message.body),
    }
    if isinstance(message, InnerRequest):
        parts |= {n: getattr(message, n) for n in ("method", "scheme", "authority", "path")}
    else:
        early = [[status, lines(fields)] for status, fields in message.informational]
        parts |= {"status": message.status, "informational": early}
    return {name: parts[name] for name in expected}
