"""Hostile bytes for every parser of attestation evidence.

`python -m fuzz --seconds 600` runs a coverage-guided fuzzer (extra `fuzz`) over every target;
`tests/unit/attest/test_fuzz_targets.py` runs a bounded, deterministic part of it. The oracle
is the same: only the refusals of this package escape, and none takes 100 ms.
"""
