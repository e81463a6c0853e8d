"""One envelope holds what every processor said about the same keys, nonce and manifest."""

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.doubles.configfs_tsm import FakeTsm, snp_report
from tests.doubles.nvml_library import command
from tests.unit.attest.collect.test_snp_collect import CERTIFICATES, table
from tests.unit.attest.collect.test_tdx_collect import quote
from tests.unit.attest.nvidia import mint as nvidia
from tests.unit.attest.snp import mint as amd

from confide.attest.binding import gpu_digest, gpu_nonce, report_data
from confide.attest.collector import CollectedReport
from confide.attest.endorsements import EndorsementKey, StapledEndorsements
from confide.attest.evidence import Evidence, EvidenceKind, GpuReport
from confide.attest.factors import FACTORS, FactorSheet
from confide.attest.platform import Authenticated, Processor
from confide.attest.platforms.hardware import COLLECTORS, HardwareCollector, hardware_collector
from confide.attest.platforms.nvidia.collect import NvidiaCollector
from confide.attest.platforms.nvidia.nvml import NvmlWorker
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.attest.platforms.snp import certificate_table as snp_table
from confide.attest.platforms.snp.collect import SnpCollector
from confide.attest.platforms.snp.device import GuestDevice
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.attest.platforms.tdx.collect import TdxCollector
from confide.attest.platforms.tsm import TsmClient
from confide.errors import (
    AttestationError,
    BindingError,
    ConfigError,
    EndorsementError,
    EvidenceError,
)

DOCUMENT, NONCE, MANIFEST = b'{"key":"document"}', bytes(range(32)), bytes([7] * 32)
NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
OURS = hashlib.sha256(DOCUMENT).digest()


def snp(files=None):
    client = TsmClient(files or FakeTsm(), pause=lambda _: None)
    return SnpCollector(client, device=GuestDevice("/nonexistent/sev-guest"))


def collect(collector, *, nonce=NONCE):
    raw = collector.collect(
        document=DOCUMENT, client_nonce=nonce, manifest_sha256=MANIFEST, now=NOW
    )
    return Evidence.parse(raw)


class Gpus:
    """Two GPUs that answer any nonce, and a verifier that believes them."""

    type = "nvidia-spdm"
    processor = Processor.GPU
    factors = ()

    def __init__(self, *, log=None, refusal=None, other_nonce=False):
        self.statement = {"count": 2}
        self.log = [] if log is None else log
        self.refusal, self.other_nonce = refusal, other_nonce

    def reports(self, nonce):
        self.log.append("gpu reports")
        return tuple(GpuReport(self.type, bytes([n]) + nonce, f"chain {n}") for n in (1, 2))

    def accept(self):
        self.log.append("accept")

    def authenticate(self, report, *, aux, endorsements, sheet, at):
        self.log.append("verify")
        if self.refusal:
            raise self.refusal
        data = bytes(32) if self.other_nonce else report[1:]
        return Authenticated(claims={}, report_data=data, expires_at=at, summary="gpu")


def with_gpus(gpus, cpu=None):
    return HardwareCollector(cpu or snp(), gpus=gpus, gpu_verifier=gpus)


@pytest.mark.parametrize("nonce", [NONCE, b""], ids=["challenged", "cached"])
def test_the_processors_report_covers_keys_nonce_and_manifest(nonce):
    evidence = collect(HardwareCollector(snp()), nonce=nonce)
    assert evidence.kind is EvidenceKind.HARDWARE
    assert (evidence.document, evidence.client_nonce) == (DOCUMENT, nonce)
    assert evidence.collected_at == int(NOW)
    bound = report_data(OURS, nonce, gpu_digest(()), MANIFEST)
    assert evidence.cpu.report[0x50:0x90] == bound


def test_a_tdx_quote_travels_with_its_event_log(tmp_path):
    (tmp_path / "CCEL").write_bytes(b"log")
    files = FakeTsm("tdx_guest", make=lambda data, level: quote(data))
    cpu = TdxCollector(TsmClient(files), event_log=tmp_path / "CCEL")
    evidence = collect(HardwareCollector(cpu))
    assert (evidence.cpu.type, dict(evidence.cpu.aux)) == ("tdx", {"eventlog": b"log"})


def test_what_the_host_stapled_is_found_by_a_client():
    evidence = collect(HardwareCollector(snp(FakeTsm(aux=CERTIFICATES))))
    stapled = StapledEndorsements(evidence.collateral)
    assert [one.content for one in stapled.find(EndorsementKey("snp/vek"))] == [b"vcek"]
    assert len(stapled.find(EndorsementKey("snp/chain"))) == 1


def test_gpus_come_first_and_the_processors_report_covers_them():
    log = []
    files = FakeTsm(make=lambda data, level: log.append("cpu report") or snp_report(data, level))
    evidence = collect(with_gpus(Gpus(log=log), snp(files)))
    assert log == ["gpu reports", "verify", "verify", "accept", "cpu report"]
    assert all(gpu.report[1:] == gpu_nonce(OURS, NONCE) for gpu in evidence.gpus)
    digest = gpu_digest([gpu.report for gpu in evidence.gpus])
    assert evidence.cpu.report[0x50:0x90] == report_data(OURS, NONCE, digest, MANIFEST)


def test_the_gpus_are_let_to_work_once():
    gpus = Gpus()
    collector = with_gpus(gpus)
    collect(collector)
    collect(collector, nonce=b"")
    assert gpus.log.count("accept") == 1
    assert gpus.log.count("verify") == 4


@pytest.mark.parametrize(
    ("gpus", "code"),
    [
        (Gpus(refusal=EndorsementError("no", code="nv.chain_signature")), "nv.chain_signature"),
        (Gpus(other_nonce=True), "binding.gpu_nonce"),
    ],
)
def test_gpus_that_do_not_verify_are_neither_used_nor_vouched_for(gpus, code):
    files = FakeTsm()
    with pytest.raises(AttestationError) as caught:
        collect(with_gpus(gpus, snp(files)))
    assert caught.value.code == code
    assert "accept" not in gpus.log
    assert files.made_folders == []  # the processor was never asked


def test_the_verifier_of_clients_decides_about_gpus():
    worker = NvmlWorker(command(gpus=1))
    collector = HardwareCollector(
        snp(), gpus=NvidiaCollector(1, worker=worker), gpu_verifier=NvidiaVerifier()
    )
    with pytest.raises(AttestationError) as caught:
        collect(collector)  # the driver is content, the report is nobody's
    worker.close()
    assert caught.value.code.startswith("nv.")


def test_gpus_without_a_verifier_are_not_collected():
    with pytest.raises(ValueError):
        HardwareCollector(snp(), gpus=Gpus())


class Cpu:
    """A processor whose report is about something else, or does not fit."""

    type = "sev-snp"

    def __init__(self, made, *, data=None):
        self.made, self.data = made, data

    def report(self, report_data):
        return replace(self.made, report=self.made.report or snp_report(report_data))

    def report_data_of(self, cpu):
        return self.data or cpu.report[0x50:0x90]


@pytest.mark.parametrize(
    ("cpu", "kind"),
    [
        (Cpu(CollectedReport(snp_report(bytes(64)))), BindingError),
        (Cpu(CollectedReport(b""), data=bytes(64)), BindingError),
        (Cpu(CollectedReport(b"", aux={"eventlog": bytes(256 * 1024 + 1)})), EvidenceError),
        (Cpu(CollectedReport(b"", aux={"a": bytes(200_000), "b": bytes(200_000)})), EvidenceError),
        (Cpu(CollectedReport(bytes(65 * 1024))), EvidenceError),
    ],
)
def test_an_envelope_that_a_client_would_refuse_is_not_published(cpu, kind):
    with pytest.raises(kind):
        collect(HardwareCollector(cpu))


def test_a_machine_without_provider_gives_no_envelope():
    with pytest.raises(EvidenceError) as caught:
        collect(HardwareCollector(snp(FakeTsm(None))))
    assert caught.value.code == "tsm.no_provider"


@pytest.mark.parametrize("platform", sorted(COLLECTORS))
def test_every_built_in_platform_can_be_made(platform):
    made = hardware_collector(platform, gpus=2, gpu_mode="MPT")
    assert (made.platform, made.simulated) == (platform, False)
    assert made.gpu_statement["count"] == 2
    assert hardware_collector(platform).gpu_statement is None


@pytest.mark.parametrize("platform", ["software-dev", "sgx", ""])
def test_no_other_platform_is_collected_on(platform):
    with pytest.raises(ConfigError):
        hardware_collector(platform)


# --- with the verifiers of clients, under roots of the tests ----------------------------------


class MintedGpus(Gpus):
    """GPUs whose reports are signed under NVIDIA-shaped chains of the tests."""

    def reports(self, nonce):
        boards = [nvidia.Board(serial=serial, nonce=nonce) for serial in (1001, 1002)]
        return tuple(GpuReport(self.type, b.report(), b.pem().decode()) for b in boards)


def test_what_is_collected_is_genuine_to_the_verifiers_of_clients():
    world = amd.World()
    names = (snp_table.VCEK, snp_table.ASK, snp_table.ARK, snp_table.CRL)
    contents = (world.vek, amd.der(world.authority), amd.der(world.root), world.crl())
    files = FakeTsm(
        make=lambda data, level: world.but(report_data=data, vmpl=level).report,
        aux=table([(uuid.UUID(name), one) for name, one in zip(names, contents, strict=True)]),
    )
    roots = (nvidia.pinned(nvidia.ROOT),)
    gpu_verifier = NvidiaVerifier(roots=roots)
    collector = HardwareCollector(snp(files), gpus=MintedGpus(), gpu_verifier=gpu_verifier)
    raw = collector.collect(
        document=DOCUMENT, client_nonce=NONCE, manifest_sha256=MANIFEST, now=amd.NOW.timestamp()
    )
    evidence = Evidence.parse(raw)
    verifier = SnpVerifier(roots=world.roots)
    found = verifier.authenticate(
        evidence.cpu.report,
        aux=evidence.cpu.aux,
        endorsements=StapledEndorsements(evidence.collateral),
        sheet=FactorSheet((*FACTORS, *verifier.factors)),
        at=amd.NOW,
    )
    digest = gpu_digest([gpu.report for gpu in evidence.gpus])
    assert found.report_data == report_data(OURS, NONCE, digest, MANIFEST)
    assert len({gpu.chain for gpu in evidence.gpus}) == 2


def test_gpus_under_other_roots_than_nvidias_are_refused():
    collector = HardwareCollector(snp(), gpus=MintedGpus(), gpu_verifier=NvidiaVerifier())
    with pytest.raises(EndorsementError) as caught:
        collect(collector)
    assert caught.value.code == "nv.root_not_pinned"


def test_an_envelope_that_reads_differently_is_not_published(monkeypatch):
    encode = Evidence.encode
    monkeypatch.setattr(Evidence, "encode", lambda self: encode(replace(self, gpus=())))
    with pytest.raises(EvidenceError):
        collect(with_gpus(Gpus()))
