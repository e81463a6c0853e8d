"""In an Azure guest our 64 bytes travel through the TPM into the hardware's report."""

import base64
import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.azure_guest import MISSING, Metadata, Swtpm, hcl_report
from tests.unit.attest.collect.test_tdx_collect import quote

from confide.attest.evidence import CpuReport, Evidence
from confide.attest.platforms.azure.collect import (
    AzureSnpCollector,
    AzureTdxCollector,
    MetadataService,
    read_hcl,
    user_data,
)
from confide.attest.platforms.azure.tpm import Quote, Tpm, send_to_device
from confide.attest.platforms.hardware import HardwareCollector
from confide.errors import EvidenceError

DATA = bytes(range(64))
REPORT, USER_DATA, KEY = 0x01400001, 0x01400002, 0x81000003
VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "azure"


class Guest:
    """TPM and paravisor in memory: the report takes our data after some looks at it."""

    def __init__(self, kind=2, *, slow=0, upper=False, ignores=False):
        self.kind, self.slow, self.upper, self.ignores = kind, slow, upper, ignores
        self.held = bytes(64)
        self.nonce = None

    def write_index(self, index, content):
        assert (index, len(content)) == (USER_DATA, 64)
        self.waiting, self.next = self.slow, content

    def read_index(self, index):
        assert index == REPORT
        if not self.waiting and not self.ignores:
            self.held = self.next
        self.waiting -= 1
        return hcl_report(self.kind, self.held, upper=self.upper)[0] + bytes(300)

    def quote(self, key, data):
        assert key == KEY
        self.nonce = data
        return Quote(b"message", b"signature", (bytes(32),) * 24)


@pytest.fixture
def metadata():
    service = Metadata()
    yield service
    service.close()


def snp(guest, metadata, pauses=None):
    service = MetadataService(metadata.address, timeout_s=10)
    pause = (pauses if pauses is not None else []).append
    return AzureSnpCollector(guest, metadata=service, pause=pause)


def tdx(guest, metadata):
    service = MetadataService(metadata.address, timeout_s=10)
    return AzureTdxCollector(guest, metadata=service, pause=lambda _: None)


@pytest.mark.parametrize("upper", [False, True])
def test_an_snp_guest_has_its_data_in_the_document_that_the_report_covers(metadata, upper):
    metadata.certificates()
    guest = Guest(slow=3, upper=upper)
    pauses = []
    collector = snp(guest, metadata, pauses)
    made = collector.report(DATA)
    assert made.report[0x50:0x70] == hashlib.sha256(made.aux["hcl_runtime"]).digest()
    assert user_data(made.aux["hcl_runtime"]) == DATA
    assert collector.report_data_of(CpuReport("azure-sev-snp", made.report, made.aux)) == DATA
    assert made.collateral == {"snp": {"vek": (b"VCEK",), "chain": (b"ASK ARK",)}}
    assert guest.nonce == hashlib.sha256(DATA).digest()
    assert len(made.aux["tpm_pcrs"]) == 24 * 32
    assert pauses == [0.5] * 3
    assert metadata.asked[0][2]["Metadata"] == "true"


def test_a_tdx_guest_has_its_report_quoted_by_the_host(metadata):
    def quote_it():
        _, runtime = hcl_report(4, DATA)
        metadata.quote(quote(hashlib.sha256(runtime).digest() + bytes(32), padding=bytes(9)))

    quote_it()
    collector = tdx(Guest(4), metadata)
    made = collector.report(DATA)
    assert collector.report_data_of(CpuReport("azure-tdx", made.report, made.aux)) == DATA
    sent = json.loads(metadata.asked[0][3])["report"]
    td_report = base64.urlsafe_b64decode(sent + "=" * (-len(sent) % 4))
    assert len(td_report) == 1024
    assert td_report[128:160] == hashlib.sha256(made.aux["hcl_runtime"]).digest()


def test_a_quote_about_another_document_is_not_published(metadata):
    metadata.quote(quote(bytes(64)))
    collector = HardwareCollector(tdx(Guest(4), metadata))
    with pytest.raises(EvidenceError) as caught:
        collector.collect(document=b"{}", client_nonce=b"", manifest_sha256=bytes(32), now=1)
    assert caught.value.code == "azure.runtime_hash"


def test_the_whole_envelope_reads_back(metadata):
    metadata.certificates()
    raw = HardwareCollector(snp(Guest(), metadata)).collect(
        document=b"{}", client_nonce=bytes(32), manifest_sha256=bytes(32), now=1
    )
    cpu = Evidence.parse(raw).cpu
    assert cpu.type == "azure-sev-snp"
    assert set(cpu.aux) == {"hcl_runtime", "tpm_message", "tpm_signature", "tpm_pcrs"}


def test_certificates_are_a_convenience(metadata):
    assert snp(Guest(), metadata).report(DATA).collateral == {}


def test_a_paravisor_that_never_takes_our_data_is_given_up(metadata):
    pauses = []
    with pytest.raises(EvidenceError) as caught:
        snp(Guest(ignores=True), metadata, pauses).report(DATA)
    assert caught.value.code == "azure.user_data"
    assert len(pauses) == 19


def test_the_other_kind_of_machine_is_refused(metadata):
    with pytest.raises(EvidenceError) as caught:
        snp(Guest(4), metadata).report(DATA)
    assert caught.value.code == "azure.hcl_header"


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"),
        (200, b"not JSON"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"quote":"!!"}'),
        (200, b'{"quote":"' + b"A" * 300_000 + b'"}'),
    ],
)
def test_a_host_that_does_not_quote_stops_a_tdx_guest(metadata, answer):
    metadata.answers["/acc/tdquote"] = answer
    with pytest.raises(EvidenceError) as caught:
        tdx(Guest(4), metadata).report(DATA)
    assert caught.value.code == "azure.metadata"


def test_a_host_that_is_silent_is_an_error():
    with pytest.raises(EvidenceError) as caught:
        MetadataService("127.0.0.1:1", timeout_s=1).quote(bytes(1024))
    assert caught.value.code == "azure.metadata"


def test_recorded_reports_are_read():
    raw = (VECTORS / "genoa-v3" / "hcl-report.bin").read_bytes()
    recorded = json.loads((VECTORS / "milan-v3" / "evidence.json").read_text())["evidence"]
    text = recorded["hcl_report"]
    for one in (raw, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))):
        hcl = read_hcl(one)
        assert (hcl.kind, len(hcl.hardware)) == (2, 1184)
        assert hcl.hardware[0x50:0x70] == hashlib.sha256(hcl.runtime).digest()


@given(st.binary(max_size=1400), st.booleans())
def test_no_report_breaks_the_collector(raw, shaped):
    if shaped:
        raw = b"HCLA" + raw
    with suppress(EvidenceError):
        user_data(read_hcl(raw).runtime)


# --- a real TPM ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swtpm(tmp_path_factory):
    if MISSING:
        pytest.skip(f"missing {', '.join(MISSING)}: apt-get install swtpm tpm2-tools")
    tpm = Swtpm(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.close()


def test_an_index_is_made_written_and_read(swtpm):
    tpm = Tpm(swtpm.send)
    content = bytes(range(256)) * 8  # more than one block, and the most swtpm holds
    tpm.write_index(0x01400010, content)
    assert tpm.read_index(0x01400010) == content
    tpm.write_index(0x01400010, content[::-1])
    assert tpm.read_index(0x01400010) == content[::-1]
    with pytest.raises(EvidenceError):
        tpm.write_index(0x01400010, b"another length")


def test_a_quote_verifies_under_the_key_and_covers_every_pcr(swtpm):
    nonce = hashlib.sha256(DATA).digest()
    made = Tpm(swtpm.send).quote(KEY, nonce)
    public = serialization.load_pem_public_key(swtpm.public.read_bytes())
    public.verify(made.signature, made.message, PKCS1v15(), hashes.SHA256())
    assert nonce in made.message
    assert len(made.pcrs) == 24
    assert hashlib.sha256(b"".join(made.pcrs)).digest() in made.message


def test_what_the_tpm_refuses_is_one_error(swtpm):
    tpm = Tpm(swtpm.send)
    for ask in (lambda: tpm.read_index(0x01400099), lambda: tpm.quote(0x81000099, bytes(32))):
        with pytest.raises(EvidenceError) as caught:
            ask()
        assert caught.value.code == "azure.tpm"


def test_our_data_goes_through_a_real_tpm_into_the_report(swtpm, metadata):
    """The paravisor of the double sits between: it answers a write with a new report."""
    metadata.certificates()
    inner = Tpm(swtpm.send)

    def send(command):
        answer = swtpm.send(command)
        if command[6:10] == (0x137).to_bytes(4, "big") and command[14:18] == USER_DATA.to_bytes(
            4, "big"
        ):
            report, _ = hcl_report(2, inner.read_index(USER_DATA))
            inner.write_index(REPORT, report.ljust(2000, b"\0"))
        return answer

    made = HardwareCollector(snp(Tpm(send), metadata)).collect(
        document=b"{}", client_nonce=b"", manifest_sha256=bytes(32), now=1
    )
    cpu = Evidence.parse(made).cpu
    public = serialization.load_pem_public_key(swtpm.public.read_bytes())
    public.verify(cpu.aux["tpm_signature"], cpu.aux["tpm_message"], PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_an_answer_that_is_cut_off_is_refused(swtpm, cut):
    with pytest.raises(EvidenceError) as caught:
        Tpm(lambda command: swtpm.send(command)[:cut]).quote(KEY, bytes(32))
    assert caught.value.code == "azure.tpm"


@pytest.mark.parametrize("number", [0x908, 0x90A, 0x920, 0x922])
def test_a_tpm_that_asks_for_the_command_again_gets_it(swtpm, number):
    refusal = b"\x80\x01" + (10).to_bytes(4, "big") + number.to_bytes(4, "big")
    sent, pauses = [], []

    def send(command):
        sent.append(command)
        return refusal if len(sent) <= 2 else swtpm.send(command)

    assert len(Tpm(send, pause=pauses.append).quote(KEY, bytes(32)).pcrs) == 24
    assert sent[0] == sent[1] == sent[2]
    sent.clear()
    with pytest.raises(EvidenceError):
        Tpm(lambda _: refusal, pause=pauses.append).quote(KEY, bytes(32))


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_client(raw):
    body = (10 + len(raw)).to_bytes(4, "big")
    tpm = Tpm(lambda _: b"\x80\x02" + body + bytes(4) + raw)
    for ask in (
        lambda: tpm.read_index(REPORT),
        lambda: tpm.quote(KEY, bytes(32)),
        lambda: tpm.write_index(USER_DATA, DATA),
    ):
        with suppress(EvidenceError):
            ask()


def test_a_machine_without_tpm_says_so():
    with pytest.raises(EvidenceError) as caught:
        Tpm(lambda command: send_to_device(command, "/nonexistent/tpmrm0")).read_index(REPORT)
    assert caught.value.code == "azure.tpm"


def test_a_tpm_that_signs_another_nonce_is_refused(swtpm):
    nonce = b"n" * 32
    with pytest.raises(EvidenceError) as caught:
        Tpm(lambda command: swtpm.send(command.replace(nonce, bytes(32)))).quote(KEY, nonce)
    assert caught.value.code == "azure.tpm_nonce"


def test_pcrs_that_the_tpm_did_not_sign_are_refused(swtpm):
    def send(command):
        answer = swtpm.send(command)
        reads_pcrs = command[6:10] == (0x17E).to_bytes(4, "big")
        return answer[:-1] + bytes([answer[-1] ^ 1]) if reads_pcrs else answer

    with pytest.raises(EvidenceError) as caught:
        Tpm(send).quote(KEY, bytes(32))
    assert caught.value.code == "azure.pcr_digest"
