"""`confide verify` trusts what was verified, says whose failure it is, and ends with its code."""

import hashlib
import json
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.attest.enclave_double import (
    MANIFEST,
    MANIFEST_SHA256,
    MEASUREMENT,
    TestPlatform,
    key_document,
)
from tests.unit.attest.enclave_double import Enclave as AnyEnclave
from tests.unit.attest.platform_readers import READERS

from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.attest.verifier import Verifier
from confide.cli.attest_fetch import MAX_EVIDENCE
from confide.cli.main import main
from confide.wire.directory import Directory, Replica
from confide.wire.media_types import DIRECTORY, EVIDENCE, PROBLEM

assert Verifier, "imported before a test replaces the built-in platforms"
CPU = "sev-snp"
"""The test platform stands in this type's place, so that a policy file can name it."""
KEYS = "/.well-known/confide/keys"
COLLATERAL = "/.well-known/confide/collateral"
POLICY = f"""
version = 1
name = "test"
not_after = 9999-01-01T00:00:00Z
[[workload]]
name = "release"
manifest_sha256 = "{MANIFEST_SHA256.hex()}"
snp = [{{ product = "Genoa", measurement = "{MEASUREMENT.hex()}" }}]
[snp.min_tcb.Genoa]
microcode = 5
"""


def Enclave(**changes):
    claims = AnyEnclave().claims | {"product": "Genoa"}
    return AnyEnclave(**{"platform": CPU, "claims": claims} | changes)


@dataclass
class Answer:
    """What the server says: status, media type, body, further headers."""

    body: bytes = b""
    media_type: str = EVIDENCE
    status: int = 200
    headers: tuple = ()


class Gateway:
    """A small HTTP server. `evidence` is called with document digest and nonce."""

    def __init__(self, documents):
        self.manifest = MANIFEST
        self.documents = documents
        self.keys = None
        self.evidence = lambda document, nonce: Answer(
            replace(Enclave(), document=document, nonce=nonce).collect()
        )
        self.seen = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, dict(self.headers)))
                answer = outer.answer(self.path)
                self.send_response_only(answer.status)
                self.send_header("Content-Type", answer.media_type)
                for name, value in answer.headers:
                    if value is not None:
                        self.send_header(name, value)
                if not any(name == "Content-Length" for name, _ in answer.headers):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, target):
        url = urlsplit(target)
        if url.path == KEYS:
            return self.keys or Answer(self.directory(), DIRECTORY)
        if url.path == COLLATERAL:
            return Answer(b"{}", PROBLEM, 404)
        digest = bytes.fromhex(url.path.rpartition("/")[2])
        nonce = bytes.fromhex(parse_qs(url.query)["nonce"][0])
        by_digest = {hashlib.sha256(document).digest(): document for document in self.documents}
        return self.evidence(by_digest[digest], nonce)

    def directory(self):
        cached = Enclave(nonce=b"").collect()
        return Directory(tuple(Replica(d, cached, self.manifest) for d in self.documents)).encode()


def fresh_document(**changes):
    start = int(datetime.now(tz=UTC).timestamp()) - 60
    return key_document(not_before=start, not_after=start + 86_400, **changes)


@pytest.fixture
def gateway():
    found = Gateway([fresh_document()])
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """A policy file for the test platform, and a build that verifies that platform."""
    until = datetime.now(tz=UTC) + timedelta(days=1)
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {CPU: TestPlatform(CPU, until)})
    monkeypatch.setattr("confide.attest.policy_file.READERS", READERS)
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def verify(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["verify", *words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def verify_json(verify):
    def run(*words):
        code, out, _ = verify(*words, "--json")
        members = json.loads(out)
        assert members["exit_code"] == code
        return code, members

    return run


def outcomes(replica):
    return {factor["name"]: factor["outcome"] for factor in replica["factors"]}


def simulated(document, nonce):
    return Answer(
        SimulatedCollector(Ed25519PrivateKey.generate()).collect(
            document=document, client_nonce=nonce, manifest_sha256=MANIFEST_SHA256, now=0.0
        )
    )


# Verified.


def test_genuine_evidence_that_the_policy_accepts_exits_0(gateway, policy, verify):
    code, out, err = verify(gateway.url, "--policy", policy)
    assert code == 0
    assert "trusted until" in out
    assert "FAIL" not in out
    assert "SKIP" not in out
    assert err == ""


def test_a_lab_policy_is_visibly_not_production(gateway, policy, verify, verify_json):
    path = Path(policy)
    path.write_text(path.read_text().replace("version = 1", 'version = 1\nprofile = "lab"'))
    code, out, _ = verify(gateway.url, "--policy", policy)
    assert code == 0
    assert "LAB ONLY" in out
    assert "trusted until" not in out
    _, members = verify_json(gateway.url, "--policy", policy)
    assert members["replicas"][0]["result"]["policy"]["profile"] == "lab"
    valid = [f for f in members["replicas"][0]["factors"] if f["name"] == "policy valid"]
    assert "(lab)" in valid[0]["detail"]


def test_json_holds_factors_and_result(gateway, policy, verify_json):
    code, members = verify_json(gateway.url, "--policy", policy)
    replica = members["replicas"][0]
    assert code == 0
    assert members["verified"] is True
    assert replica["result"]["document_sha256"] == replica["document_sha256"]
    assert set(outcomes(replica).values()) <= {"PASS", "N-A"}
    assert len(replica["factors"]) >= 15


def test_a_given_nonce_is_the_challenge(gateway, policy, verify_json):
    _, members = verify_json(gateway.url, "--policy", policy, "--nonce", "ab" * 32)
    assert members["nonce"] == "ab" * 32
    (asked,) = [path for path, _ in gateway.seen if "evidence" in path]
    assert asked.endswith("ab" * 32)


def test_the_challenge_is_fresh_every_time(gateway, policy, verify_json):
    nonces = {verify_json(gateway.url, "--policy", policy)[1]["nonce"] for _ in range(2)}
    assert len(nonces) == 2


def test_no_credential_and_no_cookie_is_sent(gateway, policy, verify):
    verify(gateway.url, "--policy", policy)
    for _, headers in gateway.seen:
        assert {"authorization", "cookie"}.isdisjoint(name.lower() for name in headers)


# Refused.


def test_without_a_policy_nothing_is_trusted(gateway, policy, verify_json):
    code, members = verify_json(gateway.url)
    shown = outcomes(members["replicas"][0])
    assert code == 3
    assert members["replicas"][0]["error"]["code"] == "policy.missing"
    assert shown["fresh and bound"] == "PASS"
    for name in ("policy valid", "measurement accepted", "debug off", "tcb minimum"):
        assert shown[name] == "FAIL"


def test_simulated_evidence_is_loud_and_exits_3(gateway, policy, verify):
    gateway.evidence = simulated
    code, out, err = verify(gateway.url, "--policy", policy)
    assert code == 3
    assert "SIMULATED EVIDENCE" in err
    assert "NOT TRUSTED" in out


def test_simulated_evidence_shows_that_no_processor_vouches(gateway, policy, verify_json):
    gateway.evidence = simulated
    code, members = verify_json(gateway.url, "--policy", policy)
    replica = members["replicas"][0]
    factors = {factor["name"]: factor for factor in replica["factors"]}
    assert code == 3
    assert replica["simulated"] is True
    assert replica["error"]["code"] == "envelope.kind"
    assert factors["hardware root"]["outcome"] == "FAIL"
    assert factors["hardware root"]["owner"] == "operator"
    assert factors["nonce echoed"]["outcome"] == "PASS"


def test_a_platform_this_version_does_not_verify_exits_3(gateway, verify_json, monkeypatch):
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {})
    code, members = verify_json(gateway.url)
    assert code == 3
    assert members["replicas"][0]["error"]["code"] == "envelope.type"
    assert outcomes(members["replicas"][0])["hardware root"] == "SKIP"


def test_cached_evidence_exits_3(gateway, policy, verify_json):
    gateway.evidence = lambda document, nonce: Answer(
        replace(Enclave(), document=document, nonce=b"").collect()
    )
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 3
    assert members["replicas"][0]["error"]["code"] == "binding.nonce_missing"


def test_another_manifest_exits_3(gateway, policy, verify_json):
    gateway.manifest = b"{}"
    assert verify_json(gateway.url, "--policy", policy)[0] == 3


def test_one_refused_replica_is_enough_to_exit_3(gateway, policy, verify_json):
    bad = fresh_document(boot_id="00" * 16)
    gateway.documents.append(bad)
    gateway.evidence = lambda document, nonce: Answer(
        replace(Enclave(), document=document, nonce=nonce)
        .claiming(debuggable=document == bad)
        .collect()
    )
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 3
    assert [replica["verified"] for replica in members["replicas"]] == [True, False]
    assert members["verified"] is False


def test_a_refusal_outweighs_an_enclave_that_did_not_answer(gateway, policy, verify_json):
    bad = fresh_document(boot_id="00" * 16)
    gateway.documents.append(bad)
    gateway.evidence = lambda document, nonce: (
        simulated(document, nonce) if document == bad else Answer(b"", "text/html", 503)
    )
    code, members = verify_json(gateway.url, "--policy", policy)
    codes = [replica["error"]["code"] for replica in members["replicas"]]
    assert code == 3
    assert codes[1] == "envelope.kind"
    assert codes[0] != "envelope.kind"


def test_every_failure_names_an_owner_and_a_next_command(gateway, policy, verify_json):
    gateway.evidence = lambda document, nonce: Answer(
        replace(Enclave(), document=document, nonce=nonce)
        .claiming(debuggable=True, tcb={"microcode": 1})
        .collect()
    )
    _, members = verify_json(gateway.url, "--policy", policy)
    failed = [f for f in members["replicas"][0]["factors"] if f["outcome"] == "FAIL"]
    assert {factor["name"] for factor in failed} == {"debug off", "tcb minimum"}
    assert all(factor["next_command"] and factor["owner"] for factor in failed)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"v":1,"replicas":[{}]}'])
def test_a_malformed_directory_exits_3(gateway, policy, verify_json, body):
    gateway.keys = Answer(body, DIRECTORY)
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 3
    assert outcomes(members["replicas"][0])["directory well-formed"] == "FAIL"
    assert outcomes(members["replicas"][0])["hardware root"] == "SKIP"


def test_terminal_control_characters_are_not_printed(gateway, policy, verify):
    gateway.evidence = lambda document, nonce: Answer(
        replace(Enclave(), document=document, nonce=nonce).claiming(product="\x07\x9b2J").collect()
    )
    code, out, err = verify(gateway.url, "--policy", policy)
    assert code == 3
    assert {"\x07", "\x9b"}.isdisjoint(out + err)


# Not served, not reached.


def test_a_directory_without_enclaves_exits_4(gateway, policy, verify_json):
    gateway.documents.clear()
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 4
    assert members["verified"] is False


def test_a_gateway_that_refuses_the_evidence_exits_4(gateway, policy, verify_json):
    problem = json.dumps({"type": "about:blank", "title": "no", "status": 404, "code": "x"})
    gateway.evidence = lambda *_: Answer(problem.encode(), PROBLEM, 404)
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 4
    assert outcomes(members["replicas"][0])["evidence fetched"] == "FAIL"


@pytest.mark.parametrize("status", [301, 404, 500, 204])
def test_another_status_exits_4(gateway, policy, verify, status):
    gateway.keys = Answer(b"", "text/html", status, (("Location", "http://127.0.0.1:9/"),))
    assert verify(gateway.url, "--policy", policy)[0] == 4


def test_a_directory_with_an_error_status_is_not_used(gateway, policy, verify):
    gateway.keys = Answer(gateway.directory(), DIRECTORY, 500)
    assert verify(gateway.url, "--policy", policy)[0] == 4


def test_another_media_type_exits_4(gateway, policy, verify):
    gateway.keys = Answer(gateway.directory(), "text/html")
    assert verify(gateway.url, "--policy", policy)[0] == 4


def test_a_compressed_answer_is_not_read(gateway, policy, verify):
    gateway.keys = Answer(gateway.directory(), DIRECTORY, 200, (("Content-Encoding", "gzip"),))
    assert verify(gateway.url, "--policy", policy)[0] == 4


def test_an_unreachable_gateway_exits_5_and_shows_what_was_not_examined(gateway, verify_json):
    gateway.server.server_close()
    code, members = verify_json(gateway.url)
    shown = outcomes(members["replicas"][0])
    assert code == 5
    assert shown["transport reached"] == "FAIL"
    assert shown["hardware root"] == "SKIP"


@pytest.mark.parametrize("length", [MAX_EVIDENCE + 1, 10**18])
def test_an_answer_announced_as_too_large_is_not_read(gateway, policy, verify, length):
    gateway.evidence = lambda *_: Answer(b"x", headers=(("Content-Length", str(length)),))
    code, _, err = verify(gateway.url, "--policy", policy)
    assert code == 5
    assert "larger than" in err


def test_an_answer_that_grows_too_large_is_given_up(gateway, policy, verify):
    body = b"x" * (MAX_EVIDENCE + 1)
    gateway.evidence = lambda *_: Answer(body, headers=(("Content-Length", None),))
    code, _, err = verify(gateway.url, "--policy", policy)
    assert code == 5
    assert "larger than" in err


def test_an_answer_that_drips_is_given_up(gateway, policy, verify, monkeypatch):
    monkeypatch.setattr("confide.cli.attest_fetch._TOTAL_S", -1.0)
    code, _, err = verify(gateway.url, "--policy", policy)
    assert code == 5
    assert "took longer" in err


def test_an_answer_that_is_cut_off_exits_5(gateway, policy, verify):
    gateway.evidence = lambda *_: Answer(b"x", headers=(("Content-Length", "100"),))
    assert verify(gateway.url, "--policy", policy)[0] == 5


# The clock informs.


@pytest.mark.parametrize(
    ("offset_s", "outcome"), [(0, "PASS"), (30, "PASS"), (300, "FAIL"), (-300, "FAIL")]
)
def test_a_wrong_clock_is_shown_and_refuses_nothing(
    gateway, policy, verify_json, offset_s, outcome
):
    when = datetime.now(tz=UTC) + timedelta(seconds=offset_s)
    date = when.strftime("%a, %d %b %Y %H:%M:%S GMT")
    gateway.keys = Answer(gateway.directory(), DIRECTORY, 200, (("Date", date),))
    code, members = verify_json(gateway.url, "--policy", policy)
    assert code == 0
    assert outcomes(members["replicas"][0])["clock"] == outcome


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Nov 2026 00:00:00 GMT"])
def test_a_date_that_is_none_is_not_compared(gateway, policy, verify_json, date):
    gateway.keys = Answer(gateway.directory(), DIRECTORY, 200, (("Date", date),))
    _, members = verify_json(gateway.url, "--policy", policy)
    assert outcomes(members["replicas"][0])["clock"] == "N-A"


# Usage.


@pytest.mark.parametrize(
    "url", ["ftp://x", "x", "http://", "http://u:p@x", "http://x?y=1", "http://x#y", "http://[", ""]
)
def test_another_kind_of_url_is_a_usage_error(verify, url):
    assert verify(url)[0] == 2


@pytest.mark.parametrize("nonce", ["", "ab", "zz" * 32, "ab" * 33])
def test_a_nonce_is_64_hex_digits(verify, nonce):
    assert verify("http://127.0.0.1:9", "--nonce", nonce)[0] == 2


def test_a_policy_file_that_is_refused_stops_before_the_network(gateway, tmp_path, verify):
    path = tmp_path / "bad.toml"
    path.write_text(POLICY + "attest = false\n")
    code, _, err = verify(gateway.url, "--policy", str(path))
    assert code == 1
    assert "confide: error:" in err
    assert gateway.seen == []


# Saving.


def test_what_was_fetched_can_be_saved_and_read_elsewhere(gateway, policy, tmp_path, verify_json):
    path = tmp_path / "evidence.json"
    path.write_text("old")
    code, members = verify_json(gateway.url, "--policy", policy, "--save", str(path))
    saved = json.loads(path.read_text())
    assert code == 0
    assert saved["nonce"] == members["nonce"]
    assert saved["url"] == gateway.url
    assert set(saved["replicas"][0]) == {"document", "evidence", "manifest"}
    assert [entry.name for entry in tmp_path.iterdir() if "evidence" in entry.name] == [path.name]


def test_refused_evidence_is_saved_too(gateway, tmp_path, verify):
    path = tmp_path / "evidence.json"
    assert verify(gateway.url, "--save", str(path))[0] == 3
    assert json.loads(path.read_text())["replicas"]


def test_a_place_that_cannot_be_written_is_an_error(gateway, tmp_path, verify):
    code, _, err = verify(gateway.url, "--save", str(tmp_path / "none" / "evidence.json"))
    assert code == 1
    assert "cannot write" in err
