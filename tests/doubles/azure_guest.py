"""Azure's side of a confidential guest: a paravisor in front of a TPM, and a metadata service.

The TPM itself is swtpm, a real one in software, where it is installed.
"""

import base64
import hashlib
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.doubles.configfs_tsm import snp_report

TOOLS = ("swtpm", "tpm2_createprimary", "tpm2_evictcontrol", "tpm2_readpublic")
MISSING = [name for name in TOOLS if shutil.which(name) is None]


def hcl_report(kind, user_data, *, keys=(), upper=False):
    """Lay out a report of the paravisor. Returns it and its runtime document."""
    text = user_data.hex()
    runtime = json.dumps(
        {
            "keys": list(keys),
            "vm-configuration": {"secure-boot": True, "tpm-enabled": True},
            "user-data": text.upper() if upper else text,
        },
        separators=(",", ":"),
    ).encode()
    data = hashlib.sha256(runtime).digest() + bytes(32)
    hardware = snp_report(data) if kind == 2 else td_report(data)
    head = b"HCLA" + struct.pack("<II20x", 2, 2436)
    fields = struct.pack("<5I", 20 + len(runtime), 1, kind, 1, len(runtime))
    return head + hardware.ljust(1184, b"\0") + fields + runtime, runtime


def td_report(data):
    """A TDREPORT: REPORTDATA is at 128 of its REPORTMACSTRUCT."""
    return bytes(128) + data + bytes(1024 - 192)


class Swtpm:
    """A TPM process with an attestation key at the handle that Azure uses."""

    def __init__(self, folder):
        self.port = _two_free_ports()
        self.process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}",
                "--server", f"type=tcp,port={self.port}",
                "--ctrl", f"type=tcp,port={self.port + 1}",
                "--flags", "not-need-init,startup-clear",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait()
        self.public = folder / "ak.pem"
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
        self._tool(
            "tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", "rsa2048:rsassa-sha256:null",
            "-a", attributes, "-c", folder / "ak.ctx",
        )  # fmt: skip
        self._tool("tpm2_evictcontrol", "-C", "o", "-c", folder / "ak.ctx", "0x81000003")
        self._tool("tpm2_readpublic", "-c", "0x81000003", "-f", "pem", "-o", self.public)

    def send(self, command):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(command)
            answer = connection.recv(4096)
            while len(answer) < int.from_bytes(answer[2:6], "big"):
                answer += connection.recv(4096)
            return answer

    def close(self):
        self.process.kill()
        self.process.wait()

    def _tool(self, *arguments):
        transport = f"swtpm:host=127.0.0.1,port={self.port}"
        # -T must come after the tool's name.
        command = [str(arguments[0]), "-T", transport, *map(str, arguments[1:])]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def _wait(self):
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port + 1)) == 0:
                    return
            assert time.monotonic() < deadline, "swtpm did not start"
            time.sleep(0.02)


def _two_free_ports():
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports in a row")


class Metadata:
    """Azure's metadata service on loopback. `answers` maps a path to (status, bytes)."""

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                length = int(self.headers.get("content-length", 0))
                outer.asked.append(
                    (self.command, self.path, dict(self.headers), self.rfile.read(length))
                )
                status, body = outer.answers.get(self.path, (404, b"{}"))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - names of http.server

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def certificates(self, key="VCEK", chain="ASK ARK"):
        body = json.dumps({"vcekCert": key, "certificateChain": chain, "tcbm": "00"}).encode()
        self.answers["/metadata/THIM/amd/certification"] = (200, body)

    def quote(self, quote):
        text = base64.urlsafe_b64encode(quote).decode().rstrip("=")
        self.answers["/acc/tdquote"] = (200, json.dumps({"quote": text}).encode())

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
