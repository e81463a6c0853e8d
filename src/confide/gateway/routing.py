"""Pick the enclave a request was sealed to: by its document, and by byte 0.

An enclave is picked only while it answers and a verdict about its evidence lasts; that is looked
at here again, for every request.

A request can be opened only by the enclave that holds the key, so there is nothing to
balance here: the client chose when it sealed. A request whose enclave is unknown is answered
with a key problem, which tells the client to fetch the directory, verify and seal again.
"""

from __future__ import annotations

from collections.abc import Sequence

from confide.errors import KeyConfigError, NoEnclaveAvailable
from confide.gateway.registry import Enclave

__all__ = ["pick"]


def pick(
    enclaves: Sequence[Enclave], *, document: bytes | None, key_id: int, now: float
) -> Enclave:
    """Find the enclave.

    Args:
        enclaves: All enclaves of this gateway, healthy or not.
        document: Value of the `confide-document` header, 64 hexadecimal digits, or None.
        key_id: First byte of the sealed request.
        now: Unix seconds.

    Raises:
        KeyConfigError: No enclave served this document, it does not list this key id, or
            without a document the key id is not unambiguous.
        NoEnclaveAvailable: The enclave is known but does not answer, or its evidence is not
            accepted (any more); or no enclave is left.
    """
    if document is not None:
        return _by_document(enclaves, document.decode("latin-1").lower(), key_id, now)
    if not any(enclave.healthy for enclave in enclaves):
        raise NoEnclaveAvailable(
            "no enclave answers right now; try again, or ask the operator for: "
            "confide admin enclaves list"
        )
    found = [
        enclave
        for enclave in enclaves
        if enclave.healthy
        and enclave.document is not None
        and enclave.has_key(key_id)
        and enclave.vouched(enclave.document.sha256_hex, now)
    ]
    if len(found) != 1:
        raise KeyConfigError("the key id names no enclave, or more than one")
    return found[0]


def _by_document(enclaves: Sequence[Enclave], document: str, key_id: int, now: float) -> Enclave:
    for enclave in enclaves:
        if enclave.holds(document, key_id, now):
            if not enclave.healthy or not enclave.vouched(document, now):
                raise NoEnclaveAvailable(
                    "the enclave this was sealed to does not answer, or not with good evidence;"
                    " fetch the directory and seal to another one"
                )
            return enclave
    raise KeyConfigError("no enclave of this gateway has this key document")
