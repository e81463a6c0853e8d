"""Write the vectors of `confide/1` with code of its own.

    python tests/vectors/generate.py            write
    python tests/vectors/generate.py --check    exit 1 if a file differs

Nothing of `confide` is imported: HKDF is spelled out over `hmac`, layouts are joined by
hand from spec/protocol.md, and only ciphers, curves, ML-KEM and Ed25519 come from the
`cryptography` package. The library cannot repeat an encapsulation, so one encapsulated
key is recorded in `exchange/encapsulated_key.hex`; everything else follows from seeds.
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent
SUITE = b"HPKE" + bytes.fromhex("647a00010002")
HEADER = bytes.fromhex("2a647a00010002")
SEED = bytes(range(32))
RESPONSE_NONCE = bytes(range(100, 132))
EVENTS = ["data: one\n\n", "data: two\n\n" * 9, "data: " + "x" * 600 + "\n\n"]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    block, output, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.digest(prk, block + info + bytes((counter,)), "sha256")
        output, counter = output + block, counter + 1
    return output[:length]


def labeled_extract(salt, label, ikm):
    return extract(salt, b"HPKE-v1" + SUITE + label + ikm)


def labeled_expand(prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info, length)


def varint(value, size=None):
    for power, prefix in enumerate((0x00, 0x40, 0x80, 0xC0)):
        length = 1 << power
        if (size in (None, length)) and value < 1 << (8 * length - 2):
            encoded = bytearray(value.to_bytes(length, "big"))
            encoded[0] |= prefix
            return bytes(encoded)
    raise ValueError(value)


def field(name, value):
    return varint(len(name)) + name + varint(len(value)) + value


class Recipient:
    """An X-Wing key expanded from its seed."""

    def __init__(self, seed):
        expanded = hashlib.shake_256(seed).digest(96)
        self.mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.pk_x = self.x25519.public_key().public_bytes_raw()
        self.public_key = self.mlkem.public_key().public_bytes_raw() + self.pk_x

    def shared_secret(self, enc):
        ct_x = enc[1088:]
        ss_x = self.x25519.exchange(X25519PublicKey.from_public_bytes(ct_x))
        parts = self.mlkem.decapsulate(enc[:1088]), ss_x, ct_x, self.pk_x, b"\\.//^\\"
        return hashlib.sha3_256(b"".join(parts)).digest()


def seal_chunks(key, base_nonce, plaintexts):
    sealed = b""
    for number, plaintext in enumerate(plaintexts):
        final = number == len(plaintexts) - 1
        nonce = (int.from_bytes(base_nonce) ^ number).to_bytes(12)
        ciphertext = AESGCM(key).encrypt(nonce, plaintext, b"final" if final else b"")
        sealed += (b"\x00" if final else varint(len(ciphertext))) + ciphertext
    return sealed


def request_message(body, fields):
    lines = b"".join(field(*one) for one in fields)
    message = b"\x00"
    for part in (b"POST", b"https", b"confide.invalid", b"/v1/chat/completions"):
        message += varint(len(part)) + part
    message += varint(len(lines)) + lines + varint(len(body)) + body + b"\x00"
    return message + bytes(4096 - len(message))


def padded(plaintext, multiple):
    """Add the comment chunk of profile bucket."""
    gap = -len(plaintext) % multiple
    if not gap:
        return plaintext
    if gap < 15:
        gap += multiple
    size = 1 if gap <= 64 else 2
    content = b":confide-pad " + b"0" * (gap - size - 14) + b"\n"
    return plaintext + varint(len(content), size) + content


def answer_plaintexts():
    head = b"\x03" + varint(200) + field(b"content-type", b"text/event-stream") + b"\x00"
    plaintexts = [padded(head, 256)]
    for events in EVENTS:
        content = events.encode()
        multiple = 512 if events.count("\n\n") > 8 else 256
        plaintexts.append(padded(varint(len(content)) + content, multiple))
    tail = b"\x00" + field(b"confide-usage", b"a.b") + b"\x00"
    total = sum(map(len, plaintexts)) + len(tail)
    bucket = 1024
    while bucket < total:
        bucket *= 2
    return [*plaintexts, tail + bytes(bucket - total)]


def exchange():
    recipient = Recipient(SEED)
    enc = bytes.fromhex((HERE / "exchange" / "encapsulated_key.hex").read_text())
    secret = recipient.shared_secret(enc)
    info = b"message/bhttp chunked request\x00" + HEADER
    context = (
        b"\x00"
        + labeled_extract(b"", b"psk_id_hash", b"")
        + labeled_extract(b"", b"info_hash", info)
    )
    root = labeled_extract(secret, b"secret", b"")
    key = labeled_expand(root, b"key", context, 32)
    base_nonce = labeled_expand(root, b"base_nonce", context, 12)
    exporter = labeled_expand(root, b"exp", context, 32)
    exported = labeled_expand(exporter, b"sec", b"message/bhttp chunked response", 32)
    prk = extract(enc + RESPONSE_NONCE, exported)
    answer_key, answer_nonce = expand(prk, b"key", 32), expand(prk, b"nonce", 12)
    body = b'{"model":"m","messages":[]}'
    fields = [
        (b"date", b"Sat, 21 Nov 2026 01:00:00 GMT"),
        (b"content-type", b"application/json"),
        (b"confide-document", b"0" * 64),
    ]
    message = request_message(body, fields)
    return {
        "skR_seed": SEED.hex(),
        "key_config": (HEADER[:3] + recipient.public_key + bytes.fromhex("000400010002")).hex(),
        "enc": enc.hex(),
        "shared_secret": secret.hex(),
        "envelope_digest": hashlib.sha256(HEADER + enc).hexdigest(),
        "fields": [[name.decode(), value.decode()] for name, value in fields],
        "body": body.decode(),
        "request_plain": message.hex(),
        "enc_request": (HEADER + enc + seal_chunks(key, base_nonce, [message])).hex(),
        "response_nonce": RESPONSE_NONCE.hex(),
        "events": EVENTS,
        "response_plain": b"".join(answer_plaintexts()).hex(),
        "enc_response": (
            RESPONSE_NONCE + seal_chunks(answer_key, answer_nonce, answer_plaintexts())
        ).hex(),
    }


def lp(value):
    return len(value).to_bytes(4, "big") + value


def key_document():
    usage_key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    key_config = bytes.fromhex(exchange()["key_config"])
    members = {
        "v": 1,
        "protocol": "confide/1",
        "ohttp_keys": b64(len(key_config).to_bytes(2, "big") + key_config),
        "suites": [[25722, 1, 2]],
        "not_before": 1763600000,
        "not_after": 1763686400,
        "max_chunk": 16384,
        "max_body": 33554432,
        "padding": {"profile": "bucket", "tick_ms": 100},
        "replay_window": {"past_s": 120, "future_s": 60},
        "manifest_sha256": hashlib.sha256(b"manifest").hexdigest(),
        "boot_id": "00" * 16,
        "previous_sha256": None,
        "usage_key": b64(usage_key),
        "authorities": ["confide.invalid"],
    }
    raw = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    digest, nonce = hashlib.sha256(raw).digest(), bytes(range(32))
    gpu_digest = hashlib.sha256(b"confide/gpu-evidence/v1\0" + bytes(4)).digest()
    manifest = hashlib.sha256(b"manifest").digest()
    bound = b"confide/report-data/v1\0" + lp(digest) + lp(nonce) + lp(gpu_digest) + lp(manifest)
    return {
        "document": raw.decode(),
        "sha256": digest.hex(),
        "client_nonce": nonce.hex(),
        "gpu_nonce": hashlib.sha256(b"confide/gpu-nonce/v1\0" + lp(digest) + lp(nonce)).hexdigest(),
        "gpu_digest_without_gpu": gpu_digest.hex(),
        "report_data": hashlib.sha512(bound).hexdigest(),
    }


def usage():
    private_key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    chain, previous = [], "0" * 64
    for seq in (1, 2):
        members = {
            "seq": seq,
            "request_id": f"r{seq}",
            "domain": "d1",
            "key_id": "k1",
            "model_class": "small",
            "operation": "chat",
            "prompt_tokens": 16,
            "completion_tokens": 128,
            "precision": "bucketed",
            "outcome": "complete",
            "started_at": 1763600000,
            "duration_ms": 250,
            "boot_id": "00" * 16,
            "previous": previous,
        }
        statement = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
        signature = private_key.sign(b"confide/usage/v1\0" + statement)
        chain.append(f"{b64(statement)}.{b64(signature)}")
        previous = hashlib.sha256(statement).hexdigest()
    return {"usage_key": private_key.public_key().public_bytes_raw().hex(), "statements": chain}


def files():
    """Return path and content of every generated file."""
    source = "spec/protocol.md, generated by tests/vectors/generate.py"
    vectors = {"exchange": exchange(), "key_document": key_document(), "usage": usage()}
    path = HERE / "exchange" / "confide_1.json"
    return {
        path: json.dumps({"source": source, "protocol": "confide/1"} | vectors, indent=1) + "\n"
    }


def main(arguments):
    """Write or check."""
    differing = [
        path for path, text in files().items() if not path.exists() or path.read_text() != text
    ]
    if "--check" in arguments:
        for path in differing:
            print(f"{path.name} differs; run python tests/vectors/generate.py", file=sys.stderr)
        return 1 if differing else 0
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
