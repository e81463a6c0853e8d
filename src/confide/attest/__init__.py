"""Remote attestation: is the key at hand held by an enclave that the policy accepts?

Words of RFC 9334. `evidence` is what the enclave says, `endorsements` are the chip
vendor's certificates, `reference_values` what a release should look like, `policy` what
is good enough, and a result is what a client may rely on. Nothing here reads the
network, the environment or the clock.
"""

from confide.attest.policy import (
    AllOf,
    AnyOf,
    AppraisalPolicy,
    GpuConfidential,
    MeasurementIn,
    MinimumTcb,
    NotDebuggable,
    PinnedKey,
)
from confide.attest.policy_file import read_policy
from confide.attest.results import AttestationResult
from confide.attest.verifier import Verifier

__all__ = [
    "AllOf",
    "AnyOf",
    "AppraisalPolicy",
    "AttestationResult",
    "GpuConfidential",
    "MeasurementIn",
    "MinimumTcb",
    "NotDebuggable",
    "PinnedKey",
    "Verifier",
    "read_policy",
]
