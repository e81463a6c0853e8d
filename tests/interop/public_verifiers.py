"""What other people's Python verifiers say; runs in an environment that holds them.

Reads a JSON list of cases from standard input (bytes in base64) and writes a JSON list of
verdicts: null for accepted, else the refusal in the verifier's own words. Only signatures,
chain and what ties a key to a chip are asked about: no policy, no network.
"""

import base64
import contextlib
import hashlib
import json
import sys


def omne(case):
    from omne_attest.snp import Policy, verify

    ask, ark = case["chain"]
    pinned = hashlib.sha256(ark).digest()
    verify(case["report"], case["leaf"], ask, ark, pinned, Policy(max_vmpl=3, reject_debug=False))


def tinfoil_snp(case):
    from tinfoil.attestation.abi_sev import Report
    from tinfoil.attestation.verify_sev import CertificateChain, verify_attestation

    report = Report(case["report"])
    chain = CertificateChain.from_report(report, vcek_der=case["leaf"])
    if not verify_attestation(chain, report):
        raise ValueError("not verified")


def tinfoil_tdx(case):
    from tinfoil.attestation.abi_tdx import parse_quote
    from tinfoil.attestation.verify_tdx import verify_tdx_quote

    verify_tdx_quote(parse_quote(case["quote"]), case["quote"])


VERIFIERS = {"omne": omne, "tinfoil-snp": tinfoil_snp, "tinfoil-tdx": tinfoil_tdx}


def unpacked(value):
    return [*map(base64.b64decode, value)] if isinstance(value, list) else base64.b64decode(value)


def verdict(case):
    try:
        VERIFIERS[case["verifier"]]({name: unpacked(one) for name, one in case["files"].items()})
    except Exception as error:  # noqa: BLE001 - every library has its own
        return f"{type(error).__name__}: {error}"[:200]
    return None


if __name__ == "__main__":
    # One of them prints its reasons.
    with contextlib.redirect_stdout(sys.stderr):
        verdicts = [verdict(case) for case in json.load(sys.stdin)]
    json.dump(verdicts, sys.stdout)
