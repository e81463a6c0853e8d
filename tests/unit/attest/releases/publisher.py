"""A publisher with three signers, made once: ML-DSA keys from fixed seeds."""

from dataclasses import replace
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from tests.unit.attest.enclave_double import MANIFEST_SHA256, MEASUREMENT, NOW

from confide.attest.releases.keys import ReleaseKeys, SigningKey
from confide.attest.releases.manifest import unsigned_release

END = NOW + timedelta(days=365)


def signer(number):
    seed = bytes([number]) * 32
    return SigningKey(
        Ed25519PrivateKey.from_private_bytes(seed), MLDSA65PrivateKey.from_seed_bytes(seed)
    )


ALICE, BOB, CAROL, MALLORY = (signer(number) for number in range(1, 5))
KEYS = ReleaseKeys("publisher", 1, END, 2, (ALICE.public, BOB.public, CAROL.public))
WORKLOAD = {
    "name": "confide-0.2.0",
    "manifest_sha256": MANIFEST_SHA256.hex(),
    "snp": [{"product": "Genoa", "vcpus": 4, "measurement": MEASUREMENT.hex()}],
}


def signed(envelope, *signers):
    for one in signers:
        envelope = one.sign(envelope)
    return envelope.encode()


def keys_file(keys=KEYS, *signers):
    return signed(keys.unsigned(), *(signers or (ALICE, BOB)))


def next_keys(**changes):
    values = {"version": 2, "keys": (BOB.public, CAROL.public, MALLORY.public)}
    return replace(KEYS, **values | changes)


def release(counter=7, *, signers=(ALICE, BOB), **changes):
    values = {
        "name": "confide",
        "version": "0.2.0",
        "counter": counter,
        "not_before": NOW,
        "not_after": NOW + timedelta(days=90),
        "workloads": [WORKLOAD],
    }
    return signed(unsigned_release(**values | changes), *signers)
