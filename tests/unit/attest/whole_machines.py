"""Whole machines of every platform, as `confide verify` meets them: evidence and a policy file.

Reports, chains, lists and quotes are minted under test roots with valid signatures; the
verifiers are the shipped ones, told of those roots. Everything else is the product: envelope,
policy file, statement of GPUs, the bundle that `confide verify --save` writes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from tests.unit.attest.azure import mint as azure
from tests.unit.attest.enclave_double import NONCE, NOW, START, key_document
from tests.unit.attest.nvidia import mint as nvidia
from tests.unit.attest.snp import mint as snp
from tests.unit.attest.tdx import mint as tdx

from confide.attest import binding
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind, GpuReport
from confide.attest.platforms.azure.verifier import AzureSnpVerifier, AzureTdxVerifier
from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.attest.policy_defaults import SNP_TABLE, TDX_TABLE
from confide.attest.policy_file import load_policy
from confide.cli.attest_bundle import Bundle, Fetched
from confide.cli.attest_run import run_bundle
from confide.enclave.manifest import GpuState, Manifest
from confide.wire.strict_json import b64url

CPUS = ("sev-snp", "tdx", "azure-sev-snp", "azure-tdx")
GPU = "nvidia-spdm"
GENOA = snp.World()
INTEL = tdx.World()
GOLDEN = GoldenSet("550.90.07", "96.00.9F.00.01", nvidia.GPU.measurements())
MEASUREMENT = bytes(range(48))
REGISTERS = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3")


def platforms():
    """The shipped verifiers under the roots of the tests; to be put in the place of BUILT_IN."""
    amd, intel = SnpVerifier(roots=GENOA.roots), INTEL.verifier()
    return {
        "sev-snp": amd,
        "tdx": intel,
        "azure-sev-snp": AzureSnpVerifier(amd),
        "azure-tdx": AzureTdxVerifier(intel),
        GPU: NvidiaVerifier(nvidia.PINNED),
    }


@cache
def collateral():
    """What the gateway would staple for all of them."""
    answers = nvidia.ocsp_answers(nvidia.GPU)
    lists = {"vek": GENOA.vek, "chain": GENOA.chain, "crl": GENOA.crl()}
    return {
        "snp": {name: b64url(content) for name, content in lists.items()},
        "tdx": {"collateral": b64url(INTEL.collateral())},
        "nvidia": {"ocsp": [b64url(answer) for answer in answers]},
    }


@dataclass(frozen=True)
class Machine:
    """One machine; `replace` one attribute to make it wrong in one way."""

    cpu: str
    boards: tuple[nvidia.Board, ...] = ()
    nonce: bytes = NONCE
    boot_id: str = "5a" * 16

    @property
    def manifest(self) -> bytes:
        state = GpuState(
            confidential=True,
            developer_tools=False,
            environment="production",
            count=len(self.boards),
            mode="SPT",
        )
        return Manifest("confide 1", [], bytes(32), state if self.boards else None).encode()

    @property
    def document(self) -> bytes:
        digest = hashlib.sha256(self.manifest).hexdigest()
        return key_document(manifest_sha256=digest, boot_id=self.boot_id)

    def gpus(self) -> tuple[GpuReport, ...]:
        nonce = binding.gpu_nonce(hashlib.sha256(self.document).digest(), self.nonce)
        boards = [replace(board, nonce=nonce) for board in self.boards]
        return tuple(GpuReport(GPU, one.report(), one.pem().decode()) for one in boards)

    def bound(self, gpus: tuple[GpuReport, ...]) -> bytes:
        return binding.report_data(
            hashlib.sha256(self.document).digest(),
            self.nonce,
            binding.gpu_digest([gpu.report for gpu in gpus]),
            hashlib.sha256(self.manifest).digest(),
        )

    def evidence(self) -> Evidence:
        gpus = self.gpus()
        return Evidence(
            kind=EvidenceKind.HARDWARE,
            document=self.document,
            client_nonce=self.nonce,
            manifest_sha256=hashlib.sha256(self.manifest).digest(),
            collected_at=START,
            cpu=_processor(self.cpu, self.bound(gpus)),
            gpus=gpus,
            collateral=collateral(),
        )

    def policy(self, text: str | None = None):
        return load_policy((self.policy_text() if text is None else text).encode(), at=NOW)

    def policy_text(self) -> str:
        """The policy that `confide policy init` writes, with what this machine measures."""
        inner = "tdx" if self.cpu.endswith("tdx") else "snp"
        lines = ['version = 1\nname = "production"\nnot_after = 2099-01-01T00:00:00Z']
        lines += ["[[workload]]", 'name = "release"']
        lines += [f'manifest_sha256 = "{hashlib.sha256(self.manifest).hexdigest()}"']
        if self.cpu == "sev-snp":
            lines += [f'snp = [{{ product = "Genoa", measurement = "{MEASUREMENT.hex()}" }}]']
        elif self.cpu == "tdx":
            lines += [f"tdx = [{{ {_registers()} }}]"]
        else:
            pcrs = (f'{number} = "{azure.PCRS[number].hex()}"' for number in (4, 7, 11))
            lines += ["[azure]", f'paravisor = ["{MEASUREMENT.hex()}"]']
            lines += ["[azure.pcrs]", *pcrs, "[azure.vm]", "secure-boot = true"]
        table = SNP_TABLE if inner == "snp" else TDX_TABLE
        lines += [_for_azure(table) if self.cpu == "azure-tdx" else table]
        if self.boards:
            golden = GOLDEN.to_table()["measurements"]
            values = ", ".join(f'"{index}" = ["{_one(value)}"]' for index, value in golden.items())
            lines += ["[nvidia]", f"count = {len(self.boards)}", 'modes = ["SPT"]']
            lines += ['arch = ["HOPPER"]', 'revocation = "stapled-ocsp"', "[[nvidia.golden]]"]
            lines += [f'driver = "{GOLDEN.driver}"', f'vbios = "{GOLDEN.vbios}"']
            lines += [f"measurements = {{ {values} }}"]
        return "\n".join(lines) + "\n"

    def verify(self, evidence: Evidence | bytes | None = None, *, policy=..., **changes):
        """Do what `confide verify --bundle FILE --policy FILE` does; return the one replica."""
        evidence = self.evidence() if evidence is None else evidence
        raw = evidence.encode() if isinstance(evidence, Evidence) else evidence
        asked = {"document": self.document, "manifest": self.manifest} | changes
        nonce = asked.pop("nonce", self.nonce)
        bundle = Bundle("https://gateway.example", nonce, NOW, (Fetched(evidence=raw, **asked),))
        chosen = self.policy() if policy is ... else policy
        return run_bundle(Bundle.parse(bundle.encode()), policy=chosen, at=NOW).examined[0]


def _one(value: object) -> str:
    return value if isinstance(value, str) else value[0]


def _registers() -> str:
    values = [MEASUREMENT, *tdx.RTMRS]
    words = {n: f'"{one.hex()}"' for n, one in zip(REGISTERS, values, strict=True)}
    words["rtmr0"] = f"[{words['rtmr0']}]"  # firmware may have several
    return ", ".join(f"{name} = {value}" for name, value in words.items())


def _for_azure(table: str) -> str:
    # The paravisor handles virtualization exceptions, so its TDs do not set the bit.
    return table.replace('sept_ve = "disabled"', 'sept_ve = "paravisor"')


def _quote(report_data: bytes, **changes: int) -> bytes:
    report = tdx.td_report(report_data=report_data, **changes)
    # A policy refuses one byte repeated, which the minted MR_TD is.
    return INTEL.quote(report=report.replace(b"\x22" * 48, MEASUREMENT))


def _processor(cpu: str, bound: bytes) -> CpuReport:
    if cpu == "sev-snp":
        return CpuReport(cpu, replace(GENOA, report_data=bound).report)
    if cpu == "tdx":
        return CpuReport(cpu, _quote(bound))
    document = azure.runtime(user_data=bound)
    hardware = hashlib.sha256(document).digest() + bytes(32)
    message = azure.attest(hashlib.sha256(bound).digest())
    aux = {
        "hcl_runtime": document,
        "tpm_message": message,
        "tpm_signature": azure.rsa_key().sign(message, PKCS1v15(), SHA256()),
        "tpm_pcrs": b"".join(azure.PCRS),
    }
    if cpu == "azure-sev-snp":
        return CpuReport(cpu, replace(GENOA, report_data=hardware).report, aux)
    return CpuReport(cpu, _quote(hardware, attributes=0), aux)
