"""What the proxy does before it listens: the KEK, the endpoints, whom it asks for documents."""

import json
import stat

import httpx2
import pytest
from tests.doubles.sealed_stack import SealedStack

from confide.apps.client_kek import ready_kek
from confide.apps.endpoints import look_up
from confide.client import AsyncEncryptedTransport, EncryptedTransport
from confide.client.keystore import KeySet, StoreKind, create_keys, new_passphrase
from confide.config.proxy import ProxySettings
from confide.errors import ConfigError, TransportError
from confide.wire.endpoints import MAX_DOCUMENT

URL = "https://confide.test"
DOCUMENT = {"v": 1, "gateway_url": "https://g.test", "enclave_url": "https://e.test"}


def settings(**values):
    return ProxySettings.model_validate({"gateway_url": "http://gateway.test", **values})


class Web:
    """A web server with an endpoints document."""

    def __init__(self, document=DOCUMENT, status=200):
        self.content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.status = status
        self.asked = []
        self.transport = httpx2.MockTransport(self.answer)

    def answer(self, request):
        self.asked.append(str(request.url))
        if self.status is None:
            raise httpx2.ConnectError("no network")
        return httpx2.Response(self.status, content=self.content)


def found_by(web, home, url=URL):
    configured = ProxySettings(endpoints_url=url)
    return look_up(configured, home, transport=web.transport)


def test_a_kek_is_created_once_private_and_said(tmp_path, capsys):
    first = ready_kek(settings(), tmp_path)
    told = capsys.readouterr().err
    path = tmp_path / "client" / "kek"
    assert str(path) in told
    assert first in told
    assert path.read_text().strip() not in told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ready_kek(settings(), tmp_path) == first
    assert capsys.readouterr().err == ""


def test_a_given_kek_is_used_and_nothing_is_written(tmp_path):
    hexadecimal = ready_kek(settings(client_kek="00" * 32), tmp_path)
    assert hexadecimal == ready_kek(settings(client_kek="A" * 43 + "="), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["00" * 31, "not a key", "A" * 44, ""])
def test_a_kek_that_is_not_32_bytes_is_refused_without_quoting_it(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        ready_kek(settings(client_kek=text), tmp_path)
    assert not text or text not in str(caught.value)


def test_keys_under_a_passphrase_do_not_stop_the_proxy(tmp_path):
    path = tmp_path / "client" / "kek"
    path.parent.mkdir()
    passphrase = new_passphrase("correct horse battery staple, seven")
    keys = KeySet.create(now=1.0)
    create_keys(path, keys, StoreKind.PASSPHRASE, lambda: passphrase)
    assert ready_kek(settings(), tmp_path) == keys.active.id


def test_a_kek_that_others_may_read_is_refused(tmp_path):
    ready_kek(settings(), tmp_path)
    (tmp_path / "client" / "kek").chmod(0o644)
    with pytest.raises(ConfigError):
        ready_kek(settings(), tmp_path)


def test_without_an_endpoints_url_nothing_is_fetched(tmp_path):
    web = Web()
    assert look_up(settings(), tmp_path, transport=web.transport) == settings()
    assert web.asked == []
    assert list(tmp_path.iterdir()) == []


def test_the_endpoints_are_looked_up_and_pinned(tmp_path):
    web = Web()
    found = found_by(web, tmp_path)
    assert (found.gateway_url, found.enclave_url) == ("https://g.test", "https://e.test")
    assert web.asked == [f"{URL}/.well-known/confide/endpoints.json"]
    (pin,) = (tmp_path / "client" / "endpoints").iterdir()
    assert stat.S_IMODE(pin.stat().st_mode) == 0o600


def test_the_full_url_of_the_document_does_as_well(tmp_path):
    web = Web({"v": 1, "gateway_url": "https://g.test"})
    found = found_by(web, tmp_path, f"{URL}/.well-known/confide/endpoints.json")
    assert found.enclave_url is None
    assert web.asked == [f"{URL}/.well-known/confide/endpoints.json"]


def test_a_changed_document_is_refused_and_says_what_to_do(tmp_path):
    found_by(Web(), tmp_path)
    for changed in ({**DOCUMENT, "gateway_url": "https://x.test"}, {"v": 1, "gateway_url": "a"}):
        with pytest.raises(ConfigError) as caught:
            found_by(Web(changed), tmp_path)
        assert caught.value.code == "endpoints-changed"
        assert str(tmp_path) in caught.value.hint
    assert found_by(Web(), tmp_path).gateway_url == "https://g.test"


def test_a_document_that_is_only_written_otherwise_is_the_same(tmp_path):
    found_by(Web(), tmp_path)
    spaced = json.dumps(dict(reversed(DOCUMENT.items())), indent=4).encode()
    assert found_by(Web(spaced), tmp_path).gateway_url == "https://g.test"


@pytest.mark.parametrize("status", [None, 404, 302, 500])
def test_the_pinned_copy_serves_while_the_web_server_does_not(tmp_path, status):
    with pytest.raises(TransportError):
        found_by(Web(status=status), tmp_path)
    found_by(Web(), tmp_path)
    assert found_by(Web(status=status), tmp_path).gateway_url == "https://g.test"


def test_each_url_has_its_own_pin(tmp_path):
    found_by(Web(), tmp_path)
    other = found_by(Web({"v": 1, "gateway_url": "https://o.test"}), tmp_path, "https://two.test")
    assert other.gateway_url == "https://o.test"


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[]",
        {"v": 2, "gateway_url": "a"},
        {"v": True, "gateway_url": "a"},
        {"v": 1},
        {"v": 1, "gateway_url": 7},
        {"v": 1, "gateway_url": ""},
        {**DOCUMENT, "policy": "any"},
        b'{"v": 1, "v": 1, "gateway_url": "a"}',
        b" " * (MAX_DOCUMENT + 1),
    ],
)
def test_a_malformed_document_is_refused_and_not_pinned(tmp_path, document):
    with pytest.raises(ConfigError):
        found_by(Web(document), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://confide.test", "ftp://a", "https://u:p@a.test", "https://a.test?x=1", "a"]
)
def test_a_document_comes_by_https_or_from_this_machine(tmp_path, url):
    with pytest.raises(ConfigError):
        found_by(Web(), tmp_path, url)
    assert found_by(Web(), tmp_path, "http://127.0.0.1:1").gateway_url == "https://g.test"


def ask(stack, enclave):
    """Send one request with an enclave of its own; return the hosts that were asked, in order."""
    hosts = []
    stack.before = lambda request: hosts.append((request.method, request.url.host))
    transport = EncryptedTransport(
        stack.url,
        verifier=stack.verifier,
        api_key="ck_test",
        enclave=enclave,
        transport=stack.transport,
        clock=stack.clock,
    )
    with httpx2.Client(transport=transport) as client:
        body = {"model": "m", "messages": []}
        assert client.post("https://confide.invalid/v1/chat/completions", json=body).is_success
    return hosts


def test_with_an_enclave_url_documents_come_from_it_and_requests_go_to_the_gateway():
    assert ask(SealedStack(), "http://enclave.test/") == [
        ("GET", "enclave.test"),
        ("GET", "enclave.test"),
        ("POST", "gateway.test"),
    ]


def test_the_enclave_never_gets_the_credential():
    stack = SealedStack()
    seen = []
    hosts = ask(stack, "http://enclave.test")
    stack.before = lambda request: seen.append(request)
    assert ("POST", "enclave.test") not in hosts
    transport = EncryptedTransport(
        stack.url, verifier=stack.verifier, api_key="ck_test", enclave="http://enclave.test",
        transport=stack.transport, clock=stack.clock,
    )  # fmt: skip
    transport.verify()
    assert seen
    assert all("authorization" not in request.headers for request in seen)


@pytest.mark.parametrize("kind", [EncryptedTransport, AsyncEncryptedTransport])
@pytest.mark.parametrize("url", ["enclave.test", "ftp://a", "http://u:p@a", ""])
def test_an_unusable_enclave_url_is_refused(kind, url):
    stack = SealedStack()
    with pytest.raises(ConfigError):
        kind(stack.url, verifier=stack.verifier, enclave=url)
