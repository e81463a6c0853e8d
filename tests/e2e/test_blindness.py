"""A marker in prompt, answer, tool arguments and headers never reaches the gateway in clear.

Searched: its log, its files, its metrics, its usage report, every byte it received and
sent on both of its sides, and its memory while the answer streams and afterwards.
"""

from __future__ import annotations

import urllib.request
from typing import NamedTuple

import pytest
from openai import APIStatusError, OpenAI
from tests.doubles.openai_server import OpenAIDouble
from tests.e2e.wire_tap import WireTap
from tests.stacks import ECHO, SLOW

from confide.local import Canary, Stack
from confide.local.canary import process_memory
from confide.local.enclave_file import BackendChoice
from confide.local.readiness import free_port

pytestmark = pytest.mark.e2e


class Tapped(NamedTuple):
    """A stack whose gateway is tapped on both sides, and what its model says."""

    stack: Stack
    inner: WireTap
    outer: WireTap
    answer: Canary
    header: Canary


@pytest.fixture
def tapped(start_stack):
    """Taps towards the proxy and the enclave; a model whose answer has markers of its own."""
    enclave_port, gateway_port = free_port(), free_port()
    inner, outer = WireTap(enclave_port), WireTap(gateway_port)
    answer, header = Canary(), Canary()
    words = ("an", " answer", f" {answer.text}", " of", " its", " own")
    double = OpenAIDouble(words=words, told=[("x-engine", header.text)])
    with double.serve() as url:
        stack = start_stack(
            ECHO,
            SLOW,
            BackendChoice("openai_http", ("tiny-vllm",), {"base_url": url}),
            enclave_ports=(enclave_port,),
            gateway_port=gateway_port,
            gateway={"enclaves": [inner.url]},
            proxy={"gateway_url": outer.url},
        )
        yield Tapped(stack, inner, outer, answer, header)
        inner.close()
        outer.close()


def test_the_gateway_never_holds_prompt_answer_tool_arguments_or_headers(tapped):
    stack, inner, outer, answer, told = tapped
    prompt, arguments, header = Canary(), Canary(), Canary()
    gateway = stack.children["gateway"].process.pid
    proxy = stack.children["proxy"].process.pid
    messages = [
        {"role": "user", "content": "look it up"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "find", "arguments": f'{{"name": "{arguments.text}"}}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": f"found {arguments.text}"},
        {"role": "user", "content": " ".join(["word"] * 12 + [prompt.text])},
    ]
    answered = ""
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything") as client:
        for event in client.chat.completions.create(model="slow", messages=messages, stream=True):
            answered += event.choices[0].delta.content or "" if event.choices else ""
            if answered.count("word") == 6:
                assert prompt.found_in(process_memory(proxy)), "the search itself must work"
                assert prompt.found_in(process_memory(gateway)) is None
                assert arguments.found_in(process_memory(gateway)) is None
        whole = client.chat.completions.create(model="echo", messages=messages)
        raw = client.chat.completions.with_raw_response.create(
            model="tiny-vllm", messages=messages, extra_headers={"x-feature": header.text}
        )
        other = raw.parse()
        called = client.chat.completions.create(
            model="echo",
            messages=[
                {"role": "user", "content": f'call find {{"name": "{arguments.text}"}}'},
            ],
            tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
        )
    assert prompt.text in answered
    assert prompt.text in whole.choices[0].message.content
    assert answer.text in other.choices[0].message.content
    assert raw.headers["x-engine"] == told.text
    assert arguments.text in called.choices[0].message.tool_calls[0].function.arguments

    with urllib.request.urlopen(f"{stack.gateway_url}/metrics") as page:
        metrics = page.read()
    assert b"confide_" in metrics
    traffic = [bytes(part) for part in (inner.up, inner.down, outer.up, outer.down)]
    assert all(len(part) > 1000 for part in traffic), "the taps must have seen the exchange"
    memory = sum(len(block) for block in process_memory(gateway))
    assert memory > 20_000_000, "a search of nearly nothing proves nothing"
    for canary in (prompt, arguments, answer, header, told):
        assert canary.found_in(process_memory(gateway)) is None
        assert canary.found_in([metrics, *traffic]) is None
        canary.assert_absent_from(stack.home.gateway, stack.home.log("gateway"))


def test_no_room_logs_the_prompt_or_a_header(tapped):
    stack = tapped.stack
    prompt, header = Canary(), Canary()
    extra = {"x-feature": header.text}
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything", max_retries=0) as client:
        content = [{"role": "user", "content": prompt.text}]
        for model in ("echo", "tiny-vllm"):
            client.chat.completions.create(model=model, messages=content, extra_headers=extra)
        with pytest.raises(Exception):  # noqa: B017 - any refusal; its log line is the point
            client.chat.completions.create(model=prompt.text, messages=content, extra_headers=extra)
        with pytest.raises(APIStatusError):  # the bound's refusal
            client.chat.completions.create(
                model="echo", messages=content, extra_headers={"x-long": header.text * 400}
            )
    for canary in (prompt, header, tapped.header):
        canary.assert_absent_from(stack.home.path / "logs", stack.home.gateway)
