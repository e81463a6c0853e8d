"""The services of AMD, Intel and NVIDIA on loopback, replaying recorded answers.

Used as a mirror: the first part of the path is the vendor's host. What the real services were
recorded to answer is below tests/vectors/attestation; headers follow their documentation.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from cryptography.x509 import ocsp

VECTORS = Path(__file__).parents[1] / "vectors" / "attestation"
AMD = "/kdsintf.amd.com"
INTEL = "/api.trustedservices.intel.com"
INTEL_ROOT = "/certificates.trustedservices.intel.com"
OCSP = "/ocsp.ndis.nvidia.com"
LISTS = "/crl.ndis.nvidia.com"
PCS = VECTORS / "tdx/pcs/2026-03"


@dataclass
class Answer:
    """One answer; `delay_s` goes between its pieces."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 1
    delay_s: float = 0.0


def recorded() -> dict[str, Answer]:
    """Targets and what was recorded for them."""
    signing = (PCS / "tcb_signing_chain.pem").read_text()
    chain = quote(signing, safe="")
    platform = quote(_pck_chain(), safe="")
    return {
        f"{AMD}/vcek/v1/Genoa/cert_chain": Answer((VECTORS / "snp/roots/genoa.pem").read_bytes()),
        f"{AMD}/vlek/v1/Genoa/cert_chain": Answer(
            (VECTORS / "snp/roots/genoa-vlek.pem").read_bytes()
        ),
        f"{AMD}/vcek/v1/Genoa/crl": Answer((VECTORS / "snp/crl/genoa.crl.der").read_bytes()),
        f"{AMD}/vcek/v1/Milan/crl": Answer((VECTORS / "snp/crl/milan.crl.der").read_bytes()),
        f"{INTEL}/tdx/certification/v4/tcb?fmspc=50806F000000": Answer(
            (PCS / "tcb_info_50806f000000.json").read_bytes(),
            headers={"TCB-Info-Issuer-Chain": chain},
        ),
        f"{INTEL}/tdx/certification/v4/qe/identity": Answer(
            (PCS / "td_qe_identity.json").read_bytes(),
            headers={"SGX-Enclave-Identity-Issuer-Chain": chain},
        ),
        f"{INTEL}/sgx/certification/v4/pckcrl?ca=platform&encoding=der": Answer(
            (PCS / "pck_crl_platform.der").read_bytes(),
            headers={"SGX-PCK-CRL-Issuer-Chain": platform},
        ),
        f"{INTEL_ROOT}/IntelSGXRootCA.der": Answer((PCS / "root_ca_crl.der").read_bytes()),
    }


def _pck_chain() -> str:
    ready = json.loads((VECTORS / "tdx/v5-uptodate/collateral.json").read_text())
    return ready["pck_crl_issuer_chain"]


def ocsp_answers() -> dict[int, bytes]:
    """Recorded OCSP answers by the serial number they are about."""
    found = {}
    for path in sorted((VECTORS / "nvidia/hopper-550.90.07/ocsp").glob("gpu_certificate_*.b64")):
        der = base64.b64decode(path.read_text())
        found[ocsp.load_der_ocsp_response(der).serial_number] = der
    return found


class Vendors:
    """All vendors behind one loopback server.

    Attributes:
        answers: Target to answer; change it to make a vendor misbehave.
        asked: Every target, in order.
    """

    def __init__(self) -> None:
        self.answers = recorded()
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def answer(self, target: str, body: bytes) -> Answer:
        if target == f"{OCSP}/" and target not in self.answers:
            wanted = ocsp.load_der_ocsp_request(body)
            return Answer(ocsp_answers()[wanted.serial_number])
        return self.answers.get(target, Answer(b"not found", 404))


@contextmanager
def vendors() -> Iterator[Vendors]:
    """Serve them; the mirror's URL is `url`."""
    double = Vendors()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            double.asked.append(self.path)
            double.headers.append({n.lower(): v for n, v in self.headers.items()})
            answer = double.answer(self.path, body)
            try:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                size = max(1, len(answer.body) // answer.pieces)
                for start in range(0, len(answer.body), size):
                    self.wfile.write(answer.body[start : start + size])
                    self.wfile.flush()
                    time.sleep(answer.delay_s)
            except OSError:
                pass  # the client gave up, as it should

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
