"""NVIDIA GPUs and NVSwitches: SPDM measurement reports, revocation, reference values.

`verify` reads a device's report and checks it up to NVIDIA's root; `requirements` says
what a policy may demand of it; `rim` imports NVIDIA's reference manifests into a policy;
`nras` checks tokens of NVIDIA's attestation service for those who want them as well.
"""
