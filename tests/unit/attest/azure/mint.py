"""Azure's paravisor under a test root: runtime documents, HCL reports and TPM quotes.

The hardware underneath is minted TDX or a recorded SNP report; the virtual TPM is a key.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from tests.unit.attest.tdx.mint import NOW, World, stapled

from confide.attest.factors import FactorSheet
from confide.attest.platforms.azure.verifier import AzureTdxVerifier
from confide.wire.strict_json import b64url

REPORT_DATA = bytes(range(64, 128))
PARAVISOR = bytes(range(48))
PCRS = tuple(hashlib.sha256(bytes([number])).digest() for number in range(24))
VM = {"console-enabled": False, "secure-boot": True, "tpm-enabled": True, "vmUniqueId": "0-1"}


@cache
def rsa_key(number=0, size=2048):
    """Return a key; the same one for the same number."""
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def jwk(key, kid="HCLAkPub"):
    numbers = key.public_key().public_numbers()
    return {
        "kid": kid,
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": b64url(numbers.e.to_bytes(3, "big")),
        "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
    }


def runtime(*, key=None, user_data=REPORT_DATA, **changes):
    members = {
        "keys": [jwk(key or rsa_key()), jwk(rsa_key(), "HCLEkPub")],
        "vm-configuration": VM,
        "user-data": user_data.hex().upper(),
        **changes,
    }
    return json.dumps(members, separators=(",", ":")).encode()


def attest(nonce, pcrs=PCRS, *, magic=b"\xffTCG", kind=b"\x80\x18", bank=0x000B,
           bits=b"\xff\xff\xff", count=1, digest=None, trailing=b""):  # fmt: skip
    selection = count.to_bytes(4, "big") + bank.to_bytes(2, "big") + b"\3" + bits
    digest = hashlib.sha256(b"".join(pcrs)).digest() if digest is None else digest
    return b"".join(
        (
            magic, kind, sized(b"\0\x0b" + bytes(32)), sized(nonce), bytes(17), bytes(8),
            selection, sized(digest), trailing,
        )
    )  # fmt: skip


def sized(content):
    return len(content).to_bytes(2, "big") + content


def hcl(document, *, hardware=bytes(1184), kind=2, version=2, hash_type=1, runtime_version=1,
        magic=b"HCLA", length=None, size=None):  # fmt: skip
    length = len(document) if length is None else length
    fields = (20 + length if size is None else size, runtime_version, kind, hash_type, length)
    return b"".join(
        (
            magic, version.to_bytes(4, "little"), bytes(24), hardware,
            *(one.to_bytes(4, "little") for one in fields), document, bytes(64),
        )
    )  # fmt: skip


def parts(*, document=None, nonce=None, message=None, key=None, pcrs=PCRS, **changes):
    """Return what the envelope carries beside the hardware's report; None leaves a part out."""
    nonce = hashlib.sha256(REPORT_DATA).digest() if nonce is None else nonce
    message = attest(nonce) if message is None else message
    found = {
        "hcl_runtime": runtime() if document is None else document,
        "tpm_message": message,
        "tpm_signature": (key or rsa_key()).sign(message, PKCS1v15(), SHA256()),
        "tpm_pcrs": b"".join(pcrs),
        **changes,
    }
    return {name: part for name, part in found.items() if part is not None}


class Guest:
    """A TDX guest of Azure; the changes are the one thing to get wrong."""

    def __init__(self):
        self.world = World()

    def evidence(self, *, document=None, hardware_data=None, mr_td=PARAVISOR, **changes):
        document = runtime() if document is None else document
        if hardware_data is None:
            hardware_data = hashlib.sha256(document).digest() + bytes(32)
        quote = self.world.quote(report_data=hardware_data, attributes=0, mr_td=mr_td)
        return quote, parts(document=document, **changes)

    def authenticate(self, *, sheet=None, **changes):
        quote, aux = self.evidence(**changes)
        verifier = AzureTdxVerifier(self.world.verifier())
        return verifier.authenticate(
            quote,
            aux=aux,
            endorsements=stapled(self.world.collateral()),
            sheet=sheet or FactorSheet(verifier.factors),
            at=NOW,
        )
