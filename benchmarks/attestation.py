"""How long it takes to verify recorded evidence: warm, in a new process, beside a peer.

`PLATFORMS` is the table. A platform's cases come from the manifest of recorded evidence and
run through the product's own verifier; a peer is another program that does part of the same
work on the same files, in the same round.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from benchmarks.rig import Report, median

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
FOLDER = ROOT / "tests" / "vectors" / "attestation"

# What a program pays that verifies once and ends. Starting Python itself is not counted.
COLD = """
import sys, time
start = time.perf_counter()
sys.path.insert(0, {tools!r})
import json
from pathlib import Path
import evidence_manifest
folder = Path({folder!r})
document = json.loads((folder / "manifest.json").read_text())
case = next(one for one in document["cases"] if one["id"] == {case!r})
evidence_manifest.runner(case["platform"])(evidence_manifest.prepare(document, folder, case))
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Platform:
    """One line of the table.

    Attributes:
        title: For the report.
        warm_ms: Target for one verification in a process that has verified before.
        peer: Makes, of a case's files and a folder, commands that do part of the same work.
        peer_name: What the peer is and does.
        library: Makes, of a case's files, a call of a library that does the same work in this
            process; None for a case that it cannot do.
        library_name: What the library is.
    """

    title: str
    warm_ms: float
    peer: Callable[[Any, Path], list[list[str]]] | None = None
    peer_name: str = ""
    library: Callable[[Any], Callable[[], object] | None] | None = None
    library_name: str = ""


def openssl(files: Any, folder: Path) -> list[list[str]]:
    """Verify the chain to AMD's root and the report's signature; no fields are compared."""
    blocks = [_pem(files.one("leaf"))[0], *_pem(files.one("chain"))]
    for name, content in zip(("leaf", "ask", "ark"), blocks, strict=True):
        (folder / f"{name}.pem").write_bytes(content)
    report = files.one("report")
    r, s = (int.from_bytes(report[at : at + 72], "little") for at in (0x2A0, 0x2E8))
    (folder / "signature").write_bytes(encode_dss_signature(r, s))
    (folder / "body").write_bytes(report[:0x2A0])
    public = ["openssl", "x509", "-in", f"{folder}/leaf.pem", "-noout", "-pubkey"]
    (folder / "key.pem").write_bytes(subprocess.run(public, capture_output=True, check=True).stdout)
    moment = str(int(files.at.timestamp()))
    chain = ["-CAfile", f"{folder}/ark.pem", "-untrusted", f"{folder}/ask.pem"]
    return [
        ["openssl", "verify", "-attime", moment, *chain, f"{folder}/leaf.pem"],
        ["openssl", "dgst", "-sha384", "-verify", f"{folder}/key.pem", "-signature",
         f"{folder}/signature", f"{folder}/body"],
    ]  # fmt: skip


def _pem(content: bytes) -> list[bytes]:
    if b"-----BEGIN" not in content:
        text = base64.encodebytes(content)
        return [b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"]
    return re.findall(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----\n?", content, re.DOTALL)


def dcap_qvl(files: Any) -> Callable[[], object] | None:
    """Verify quote and collateral, its JSON included; the event log and our claims are not."""
    try:
        library = importlib.import_module("dcap_qvl")
    except ModuleNotFoundError:
        return None
    if "collateral" not in files.files or "quote" not in files.files:
        return None
    quote, now = files.one("quote"), int(files.at.timestamp())

    def verify() -> object:
        members = json.loads(files.one("collateral"))
        for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
            members[name] = bytes.fromhex(members[name])
        return library.QuoteVerifier().verify_with_policy(
            quote, library.QuoteCollateralV3(**members), now, library.QuotePolicy.claims_only(now)
        )

    return verify


PLATFORMS = {
    "sev-snp": Platform("SEV-SNP", 3.0, openssl, "openssl verify and dgst"),
    "tdx": Platform("TDX", 6.0, library=dcap_qvl, library_name="dcap-qvl"),
    "azure-snp": Platform("Azure SEV-SNP", 4.0),
    "nvidia-gpu": Platform("NVIDIA", 12.0),
}
"""By the platform's name in the manifest."""


@functools.cache
def manifest() -> tuple[Any, dict[str, Any]]:
    sys.path.insert(0, str(TOOLS))
    return (
        importlib.import_module("evidence_manifest"),
        json.loads((FOLDER / "manifest.json").read_text()),
    )


def cases(platform: str) -> Iterator[tuple[str, Any]]:
    """Yield the cases that are to be accepted, with their files."""
    module, document = manifest()
    for case in document["cases"]:
        if case["platform"] == platform and case["verdict"] == "valid":
            yield case["id"], module.prepare(document, FOLDER, case)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def run_all(commands: list[list[str]]) -> None:
    for command in commands:
        subprocess.run(command, capture_output=True, check=True)


def cold(case: str) -> float:
    code = COLD.format(tools=str(TOOLS), folder=str(FOLDER), case=case)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout) * 1e3


@contextmanager
def peer_of(platform: Platform, files: Any) -> Iterator[list[list[str]]]:
    """Yield the peer's commands; none if there is no peer or it is not installed."""
    if platform.peer is None or shutil.which("openssl") is None:
        yield []
        return
    with tempfile.TemporaryDirectory() as folder:
        yield platform.peer(files, Path(folder))


def measure(report: Report, platform: Platform, name: str, files: Any, verify: Any) -> list[float]:
    """Add the figures of one case; return its warm times."""
    warm, fresh, peer, ratios, other = [], [], [], [], []
    verify(files)
    library = platform.library(files) if platform.library else None
    with peer_of(platform, files) as commands:
        for _ in range(report.rounds):
            warm.append(median(timed(lambda: verify(files)) for _ in range(20)))
            fresh.append(cold(name))
            if library is not None:
                other.append(median(timed(library) for _ in range(20)))
            if commands:
                peer.append(timed(lambda: run_all(commands)))
                ratios.append(fresh[-1] / peer[-1])
    report.add(f"{name}: warm", median(warm), "ms")
    report.add(f"{name}: cold", median(fresh), "ms")
    if peer:
        note = f"{platform.peer_name}: {median(peer):.1f} ms"
        report.add(f"{name}: cold / peer", median(ratios), "x", note=note)
    if other:
        ratio = median(ours / theirs for ours, theirs in zip(warm, other, strict=True))
        note = f"{platform.library_name}: {median(other):.2f} ms"
        report.add(f"{name}: warm / {platform.library_name}", ratio, "x", note=note)
    return warm


def run(*, quick: bool = False) -> Report:
    report = Report("attestation", "python -m benchmarks attestation", rounds=3 if quick else 9)
    module, _ = manifest()
    for key, platform in PLATFORMS.items():
        warm: list[float] = []
        verify = module.runner(key)
        for name, files in cases(key):
            try:
                warm += measure(report, platform, name, files, verify)
            except Exception as error:
                report.notes.append(f"{name} could not run here: {error}")
        report.add(
            f"{platform.title}: one verification, warm",
            median(warm),
            "ms",
            target=platform.warm_ms,
            note="median over all cases",
        )
    report.notes.append("cold: the first verification of a process, imports included")
    report.notes.append("a peer checks chain and signature only: no fields, no revocation list")
    return report
