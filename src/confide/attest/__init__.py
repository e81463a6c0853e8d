"""Remote attestation: is the key at hand held by an enclave that the policy accepts?

Words of RFC 9334. `evidence` is what the enclave says, `endorsements` are the chip
vendor's certificates, `reference_values` what a release should look like, `policy` what
is good enough, and a result is what a client may rely on. Nothing here reads the
network, the environment or the clock.
"""
