"""Recorded answers of the vendors become endorsements; anything else becomes an error."""

import base64
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from tests.doubles.vendors import (
    AMD,
    INTEL,
    INTEL_ROOT,
    LISTS,
    OCSP,
    PCS,
    VECTORS,
    Answer,
    ocsp_answers,
    vendors,
)

from confide.attest.collateral import EndorsementCache
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.attest.factors import FactorSheet
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.client.vendors import (
    VendorHttp,
    chain_keys,
    fetch_answer,
    fetch_key,
    fetchable,
    period_of,
)
from confide.client.vendors.amd import target_of
from confide.client.vendors.https import HOSTS
from confide.errors import ConfideError, ConfigError, TransportError

GENOA_REPORT = VECTORS / "snp/genoa-v3/report.bin"
CHAIN = (VECTORS / "nvidia/hopper-550.90.07/chain.pem").read_text()
TDX = EndorsementKey("tdx/collateral", "50806f000000/platform")


@pytest.fixture
def served():
    with vendors() as double:
        yield double


@pytest.fixture
def http(served):
    with VendorHttp(served.url, total_s=5) as client:
        yield client


def key_of(report: Path, product: str) -> EndorsementKey:
    raw = report.read_bytes()
    chip, tcb = raw[0x1A0:0x1E0].hex(), raw[0x180:0x188].hex()
    return EndorsementKey("snp/vek", f"{product}/{chip}/{tcb}")


def refusal(http, key) -> ConfideError:
    with pytest.raises(ConfideError) as caught:
        fetch_key(http, key)
    return caught.value


# ---- AMD ---------------------------------------------------------------------------------------


def test_a_chip_and_its_firmware_make_the_url_that_amd_documents():
    key = key_of(GENOA_REPORT, "Genoa")
    chip = key.subject.split("/")[1]
    tcb = GENOA_REPORT.read_bytes()[0x180:0x188]
    assert target_of(key) == (
        f"/vcek/v1/Genoa/{chip}?blSPL={tcb[0]}&teeSPL={tcb[1]}&snpSPL={tcb[6]}&ucodeSPL={tcb[7]}"
    )


def test_turin_has_short_chip_ids_a_fifth_component_and_another_layout():
    key = EndorsementKey("snp/vek", f"Turin/{'0123456789abcdef' + '0' * 112}/0102030400000051")
    assert target_of(key) == (
        "/vcek/v1/Turin/0123456789abcdef?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=81"
    )


@pytest.mark.parametrize(
    "subject",
    [
        "Genoa/" + "0" * 128 + "/" + "0" * 16,  # masked
        "Turin/" + "1" * 128 + "/" + "0" * 16,  # more than 8 bytes
        "Genoa/vlek/0000000000000000",
        "Rome/" + "1" * 128 + "/" + "0" * 16,
        "Genoa/" + "1" * 127 + "/" + "0" * 16,
        "Genoa/" + "1" * 126 + "/?/" + "0" * 16,
        "../../x",
        "",
    ],
)
def test_what_amd_cannot_be_asked_is_refused_before_it_is(served, http, subject):
    assert isinstance(refusal(http, EndorsementKey("snp/vek", subject)), ConfigError)
    assert served.asked == []


def test_a_chips_certificate_is_fetched_and_has_no_end(served, http):
    key = key_of(GENOA_REPORT, "Genoa")
    der = (VECTORS / "snp/genoa-v5/vcek.der").read_bytes()
    served.answers[AMD + target_of(key)] = Answer(der)
    found = fetch_key(http, key)
    assert found.endorsement.content == der
    assert found.endorsement.source == "kdsintf.amd.com"
    assert not found.period.due(9e12)


def test_the_real_verifier_accepts_what_was_fetched(served, http, tmp_path):
    """From a recorded Milan report to genuine, with nothing but recorded answers."""
    report = VECTORS / "snp/milan-v2/report.bin"
    key = key_of(report, "Milan")
    chain = (VECTORS / "snp/roots/milan.pem").read_bytes()
    served.answers[f"{AMD}/vcek/v1/Milan/cert_chain"] = Answer(chain)
    served.answers[AMD + target_of(key)] = Answer((VECTORS / "snp/milan-v2/vcek.der").read_bytes())
    cache = EndorsementCache(tmp_path)
    for one in (key, EndorsementKey("snp/chain", "Milan"), EndorsementKey("snp/crl", "Milan")):
        cache.add(fetch_key(http, one).endorsement, at=0)
    verifier = SnpVerifier()
    genuine = verifier.authenticate(
        report.read_bytes(),
        aux={},
        endorsements=cache,
        sheet=FactorSheet(verifier.factors),
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert genuine.claims["product"] == "Milan"
    (fact,) = cache.facts()  # what the checked list said of its age
    assert str(fact.key) == "snp/crl Milan"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (EndorsementKey("snp/chain", "Genoa"), "snp/roots/genoa.pem"),
        (EndorsementKey("snp/chain", "Genoa/vlek"), "snp/roots/genoa-vlek.pem"),
        (EndorsementKey("snp/crl", "Genoa"), "snp/crl/genoa.crl.der"),
    ],
    ids=str,
)
def test_chains_and_lists_come_byte_for_byte(http, key, path):
    assert fetch_key(http, key).endorsement.content == (VECTORS / path).read_bytes()


def test_a_lists_dates_say_when_to_fetch_again(http):
    period = fetch_key(http, EndorsementKey("snp/crl", "Genoa")).period
    assert (period.issued_at, period.until) == (1729658184, 1762131600)
    assert period.due((1729658184 + 1762131600) / 2)


# ---- Intel -------------------------------------------------------------------------------------


def test_four_answers_of_intel_become_the_known_collateral_form(http):
    found = fetch_key(http, TDX)
    members = json.loads(found.endorsement.content)
    ready = json.loads((VECTORS / "tdx/v5-uptodate/collateral.json").read_text())
    assert members.keys() == ready.keys()
    raw = (PCS / "tcb_info_50806f000000.json").read_text()
    assert f'{{"tcbInfo":{members["tcb_info"]},"signature":"' in raw
    assert members["pck_crl"] == (PCS / "pck_crl_platform.der").read_bytes().hex()
    assert members["tcb_info_issuer_chain"].startswith("-----BEGIN CERTIFICATE-----\n")


def test_what_was_put_together_is_signed_by_intel(http):
    """The signature is over the exact bytes, so one changed byte would show here."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    members = json.loads(fetch_key(http, TDX).endorsement.content)
    for part in ("tcb_info", "qe_identity"):
        signer = x509.load_pem_x509_certificates(members[f"{part}_issuer_chain"].encode())[0]
        raw = bytes.fromhex(members[f"{part}_signature"])
        signature = encode_dss_signature(
            int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        )
        key = signer.public_key()
        key.verify(signature, members[part].encode(), ec.ECDSA(hashes.SHA256()))


def test_the_part_that_ends_first_says_when_to_fetch_again(http):
    found = fetch_key(http, TDX)
    assert found.period.until == 1776291363  # 2026-04-15 22:16:03, the QE identity
    assert period_of(found.endorsement) == found.period


@pytest.mark.parametrize("subject", ["", "50806f/platform", "50806f000000/other", "x&y=z/platform"])
def test_what_intel_cannot_be_asked_is_refused_before_it_is(served, http, subject):
    assert isinstance(refusal(http, EndorsementKey("tdx/collateral", subject)), ConfigError)
    assert served.asked == []


TCB = f"{INTEL}/tdx/certification/v4/tcb?fmspc=50806F000000"
IDENTITY = f"{INTEL}/tdx/certification/v4/qe/identity"
PCK = f"{INTEL}/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
ROOT = f"{INTEL_ROOT}/IntelSGXRootCA.der"


@pytest.mark.parametrize(
    ("target", "change"),
    [
        (TCB, {"body": b"{}"}),
        (TCB, {"body": b'{"tcbInfo":[],"signature":"' + b"0" * 128 + b'"}'}),
        (TCB, {"body": b'{"tcbInfo":{},"signature":"00"}'}),
        (TCB, {"body": b'{"tcbInfo":{"issueDate":5},"signature":"' + b"0" * 128 + b'"}'}),
        (TCB, {"body": b"\xff\xfe"}),
        (TCB, {"body": b'{"tcbInfo":' + b"[" * 100_000}),
        (TCB, {"headers": {}}),
        (TCB, {"headers": {"TCB-Info-Issuer-Chain": "x"}}),
        (IDENTITY, {"body": b"<html>"}),
        (PCK, {"body": b"not a list"}),
        (PCK, {"headers": {}}),
        (ROOT, {"body": b"0"}),
    ],
)
def test_an_answer_of_intel_in_another_shape_is_refused(served, http, target, change):
    for name, value in change.items():
        setattr(served.answers[target], name, value)
    assert refusal(http, TDX).code == "vendor-malformed"


# ---- NVIDIA ------------------------------------------------------------------------------------


def test_nvidia_is_asked_about_every_certificate_but_the_devices_own_and_the_root(served, http):
    found = {
        key: fetch_answer(http, question)
        for key, question in chain_keys(CHAIN).items()
        if key.kind == "nvidia/ocsp"
    }
    assert len(found) == 3
    wanted = set(ocsp_answers().values())
    assert {one.endorsement.content for one in found.values()} == wanted
    for key, one in found.items():
        answer = ocsp.load_der_ocsp_response(one.endorsement.content)
        issuer, serial = key.subject.split("/")
        assert (answer.issuer_key_hash.hex(), int(serial, 16)) == (issuer, answer.serial_number)
        assert one.period.until - one.period.issued_at == 86_400
        assert period_of(one.endorsement) == one.period
    assert served.asked == [f"{OCSP}/"] * 3
    assert {headers["content-type"] for headers in served.headers} == {"application/ocsp-request"}


def test_lists_are_asked_for_at_nvidias_host_only(served, http):
    lists = {k: q for k, q in chain_keys(CHAIN).items() if k.kind == "nvidia/crl"}
    der = (VECTORS / "snp/crl/genoa.crl.der").read_bytes()  # some list: no recorded one is free
    served.answers |= {
        f"{LISTS}/crl/l1-root.crl": Answer(der),
        f"{LISTS}/crl/l2-gh100.crl": Answer(der),
    }
    for question in lists.values():
        fetch_answer(http, question)
    assert sorted(served.asked) == [f"{LISTS}/crl/l1-root.crl", f"{LISTS}/crl/l2-gh100.crl"]


def test_a_responder_that_knows_nothing_is_no_answer(served, http):
    served.answers[f"{OCSP}/"] = Answer(b"\x30\x03\x0a\x01\x06")  # unauthorized
    (question, *_) = chain_keys(CHAIN).values()
    with pytest.raises(TransportError) as caught:
        fetch_answer(http, question)
    assert caught.value.code == "vendor-malformed"


@pytest.mark.parametrize("chain", ["", "nonsense", CHAIN[:700], CHAIN * 3, "\xff"])
def test_what_is_no_chain_of_a_device_is_refused(chain):
    with pytest.raises(ConfigError):
        chain_keys(chain)


def test_nvidia_cannot_be_asked_by_key_alone(http):
    key = EndorsementKey("nvidia/ocsp", "aa/bb")
    assert not fetchable(key)
    assert isinstance(refusal(http, key), ConfigError)


# ---- the network misbehaves --------------------------------------------------------------------

CRL = EndorsementKey("snp/crl", "Genoa")
CRL_TARGET = f"{AMD}/vcek/v1/Genoa/crl"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(b"slow down", 429, {"Retry-After": "17"}), "vendor-busy"),
        (Answer(b"", 500), "vendor-busy"),
        (Answer(b"", 503), "vendor-busy"),
        (Answer(b"", 404), "vendor-refused"),
        (Answer(b"", 301, {"Location": "https://elsewhere.example/"}), "vendor-refused"),
        (Answer(b"x", 206), "vendor-refused"),
        (Answer(b"<html>captive portal</html>"), "vendor-malformed"),
        (Answer(b""), "vendor-malformed"),
        (Answer(b"x" * 300_000), "vendor-malformed"),
        (Answer(b"x" * 10, headers={"Content-Encoding": "gzip"}), "vendor-malformed"),
        (Answer(b"xx", pieces=2, delay_s=3), "vendor-unreachable"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_vendor_may_do_wrong_is_an_error_of_its_own(served, answer, code):
    served.answers[CRL_TARGET] = answer
    with VendorHttp(served.url, total_s=1) as http:
        error = refusal(http, CRL)
    assert isinstance(error, TransportError)
    assert error.code == code
    assert served.asked == [CRL_TARGET]  # once: nothing is tried again behind anyone's back


def test_how_long_a_busy_vendor_wants_us_to_wait_is_told(served, http):
    served.answers[CRL_TARGET] = Answer(b"", 429, {"Retry-After": "17"})
    assert "17 s" in refusal(http, CRL).hint


def test_a_slow_trickle_ends_at_the_deadline(served):
    served.answers[CRL_TARGET] = Answer(b"x" * 200, pieces=200, delay_s=0.1)
    with VendorHttp(served.url, total_s=0.5) as http:
        assert refusal(http, CRL).code == "vendor-unreachable"


def test_a_vendor_that_is_not_there_is_unreachable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with VendorHttp(f"http://127.0.0.1:{taken.getsockname()[1]}") as http:
            assert refusal(http, CRL).code == "vendor-unreachable"


def test_an_answer_that_is_cut_off_is_unreachable():
    listener = socket.create_server(("127.0.0.1", 0))

    def cut():
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        connection.close()

    thread = threading.Thread(target=cut)
    thread.start()
    with VendorHttp(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
        assert refusal(http, CRL).code == "vendor-unreachable"
    thread.join()
    listener.close()


def test_no_other_host_is_ever_asked(http):
    for host in ("example.org", "kdsintf.amd.com.example.org", ""):
        with pytest.raises(ValueError):
            http.get(host, "/", limit=1)
    with pytest.raises(ValueError):
        http.get("kdsintf.amd.com", "@example.org/", limit=1)
    assert all("." in host for host in HOSTS)


@pytest.mark.parametrize(
    "mirror",
    [
        "http://mirror.example",
        "ftp://mirror.example",
        "https://user:pw@mirror.example",
        "https://mirror.example?x=y",
        "http://127.0.0.1.example.org",
        "mirror.example",
        "https://",
    ],
)
def test_a_mirror_is_https_or_on_this_machine(mirror):
    with pytest.raises(ConfigError):
        VendorHttp(mirror)


def test_a_proxy_of_the_environment_is_not_used(served, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with VendorHttp(served.url) as http:
        assert fetch_key(http, CRL).endorsement.content


def test_a_request_says_nothing_about_this_machine(served, http):
    fetch_key(http, CRL)
    (headers,) = served.headers
    assert headers.keys() <= {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert headers["user-agent"] == "confide"


def test_dates_of_what_cannot_be_read_are_not_known():
    for kind in ("snp/crl", "nvidia/crl", "nvidia/ocsp", "tdx/collateral", "snp/vek", "other/x"):
        for content in (b"", b"nonsense", b"{}"):
            found = Endorsement(EndorsementKey(kind, "x"), content, "test")
            assert period_of(found).until is None


def test_a_longer_answer_than_its_kind_may_be_is_refused_although_it_would_do(served, http):
    chain = (VECTORS / "snp/roots/genoa.pem").read_bytes()
    served.answers[f"{AMD}/vcek/v1/Genoa/cert_chain"] = Answer(chain + b"\n" * 40_000)
    error = refusal(http, EndorsementKey("snp/chain", "Genoa"))
    assert error.code == "vendor-malformed"


def test_a_list_of_an_unknown_version_has_no_known_dates():
    # Found by the fuzzer: cryptography has an exception of its own for this.
    content = (VECTORS / "snp/crl/milan.crl.der").read_bytes()
    at = content.index(b"\x02\x01\x01") + 2
    changed = content[:at] + b"\x56" + content[at + 1 :]
    found = Endorsement(EndorsementKey("snp/crl", "Milan"), changed, "test")
    assert period_of(found).until is None


def other_curve(pem):
    """The same chain, but every key is on a curve that nobody knows."""
    found = b""
    for certificate in x509.load_pem_x509_certificates(pem.encode()):
        der = certificate.public_bytes(Encoding.DER)
        changed = der.replace(bytes.fromhex("2b81040022"), bytes.fromhex("2b81040055"))
        assert changed != der
        text = base64.encodebytes(changed)
        found += b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
    return found.decode()


@pytest.mark.parametrize(
    "chain",
    [other_curve(CHAIN), (VECTORS / "snp/roots/genoa.pem").read_text() * 2],
    ids=["unknown curve", "RSA"],
)
def test_a_chain_of_keys_that_nvidia_does_not_use_is_refused(chain):
    # Found by the fuzzer: the evidence of anyone could end the command with a trace.
    with pytest.raises(ConfigError):
        chain_keys(chain)
