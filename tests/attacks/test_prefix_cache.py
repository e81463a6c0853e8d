"""T-09: a customer learns another domain's prompts, or uses what its domain may not."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from openai import OpenAI, PermissionDeniedError
from tests.doubles.openai_server import OpenAIDouble
from tests.stacks import demo

from confide import EncryptedTransport
from confide.gateway.accounts import Accounts
from confide.identity.api_keys import mint
from confide.identity.records import DomainRecord
from confide.local import simulated_verifier
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "Tell me about " + "the secret merger with Acme " * 8}]


def add_domain(stack, name):
    """A domain of its own and a key in it."""
    pepper = bytes.fromhex((stack.home.gateway / "pepper").read_text().strip())
    accounts = Accounts(stack.home.gateway / "gateway.db")
    accounts.put_domain(DomainRecord(name))
    clear, record = mint(pepper, now=1.0, domain=name)
    accounts.add_key(record)
    key = clear.reveal()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # a running gateway follows its database within a second
        known = httpx2.get(
            f"{stack.gateway_url}/v1/key", headers={"authorization": f"Bearer {key}"}
        )
        if known.status_code == 200:
            return key
        time.sleep(0.05)
    raise AssertionError("the gateway does not know the new key")


@pytest.fixture
def client_of():
    opened = []

    def make(stack, key):
        transport = EncryptedTransport(
            stack.gateway_url, api_key=key, verifier=simulated_verifier(stack.home)
        )
        http_client = httpx2.Client(transport=transport)
        opened.append(http_client)
        return OpenAI(base_url="https://confide.invalid/v1", api_key=key, http_client=http_client)

    yield make
    for http_client in opened:
        http_client.close()


def test_vllm_gets_a_secret_salt_per_domain_and_never_the_clients(start_stack, client_of):
    double = OpenAIDouble()
    with double.serve() as url:
        backend = BackendChoice("openai_http", ("tiny-vllm",), {"base_url": url, "engine": "vllm"})
        stack = start_stack(backend)
        keys = [stack.api_key, add_domain(stack, "acme")]
        for key in (keys[0], keys[1], keys[0]):
            client_of(stack, key).chat.completions.create(model="tiny-vllm", messages=MESSAGES)
        salts = [json.loads(body)["cache_salt"] for body in double.bodies if b"messages" in body]
        refused = httpx2.post(
            f"{stack.proxy_url}/v1/chat/completions",
            json={"model": "tiny-vllm", "messages": MESSAGES, "cache_salt": salts[0]},
        )
    assert salts[0] == salts[2]
    assert salts[0] != salts[1]
    assert all(len(salt) >= 43 for salt in salts), "at least 256 bits in base64"
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "cache_salt"


def test_the_embedded_engine_reuses_no_prompt_of_anybody(start_stack, client_of):
    stack = start_stack(demo())
    keys = [stack.api_key, add_domain(stack, "acme")]
    for key in (keys[0], keys[1], keys[0], keys[1]):
        answer = client_of(stack, key).chat.completions.create(
            model="demo-tiny", messages=MESSAGES, max_tokens=4
        )
        details = answer.usage.prompt_tokens_details
        assert details is None or not details.cached_tokens


def test_a_domain_may_not_use_a_model_that_is_not_on_its_list(start_stack, client_of):
    stack = start_stack()
    key = add_domain(stack, "acme")
    Accounts(stack.home.gateway / "gateway.db").put_domain(DomainRecord("acme", models=("slow",)))
    client = client_of(stack, key)
    refusal = None
    deadline = time.monotonic() + 10
    while refusal is None and time.monotonic() < deadline:
        try:
            client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "x"}]
            )
        except PermissionDeniedError as error:
            refusal = error
    assert refusal is not None, "the denied domain was still served"
    assert refusal.code == "model_not_allowed"
    allowed = client.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": "x"}]
    )
    assert allowed.choices[0].message.content
