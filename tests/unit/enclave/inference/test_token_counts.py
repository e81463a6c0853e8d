"""The tokens of a prompt are counted by the engine that would read it."""

import json

import pytest
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.serving import serving
from tests.doubles.tiny_gguf import write_tiny_gguf
from tests.unit.enclave.inference.inference_bench import (
    ISOLATION,
    Clock,
    chat_request,
    chunks_of,
    echo,
    messages,
    read,
    route,
    router_of,
)

from confide.enclave.inference import CatalogEntry
from confide.enclave.inference.backends.llamacpp import LlamaCppBackend
from confide.enclave.inference.backends.openai_http import OpenAIHTTPBackend
from confide.enclave.inference.body import JSONBody
from confide.errors import EnclaveError, InvalidRequest, ModelNotFound, ModelUnavailable
from confide.local.enclave_file import demo_model_path

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


async def count(router, model="m", **fields):
    body = json.dumps({"model": model, "messages": messages(), **fields}).encode()
    return await router.count_tokens(model, JSONBody(body), ISOLATION)


async def started(*backends, **options):
    router = router_of(*backends, clock=Clock(), **options)
    await router.start()
    return router


async def test_a_count_comes_with_the_length_that_fits():
    router = await started(echo(context_length=99))
    counted = await count(router)
    assert (counted.input_tokens, counted.context_length) == (3, 99)
    entries = [CatalogEntry("m", ("echo",), context_length=50)]
    counted = await count(await started(echo(context_length=99), entries=entries))
    assert counted.context_length == 50


async def test_an_unknown_model_an_engine_control_and_an_address_are_refused():
    router = await started(echo())
    with pytest.raises(ModelNotFound):
        await count(router, model="absent")
    with pytest.raises(InvalidRequest):
        await count(router, cache_salt="x")
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
    with pytest.raises(InvalidRequest):
        await count(router, messages=[{"role": "user", "content": [image]}])


class Counting:
    """A backend that is an echo but for how it counts."""

    def __init__(self, name, outcome):
        self.inner = echo(name)
        self.outcome = outcome

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def count_tokens(self, request):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class CannotCount:
    def __init__(self, name):
        self.inner = echo(name)

    def __getattr__(self, name):
        if name == "count_tokens":
            raise AttributeError(name)
        return getattr(self.inner, name)


async def test_another_backend_counts_if_one_is_down_or_cannot():
    from confide.enclave.inference.backend import BackendUnavailable

    down = Counting("down", BackendUnavailable("no"))
    router = await started(CannotCount("cannot"), down, Counting("up", 7))
    assert (await count(router)).input_tokens == 7
    with pytest.raises(ModelUnavailable):
        await count(await started(down))


async def test_an_engine_that_cannot_count_says_so():
    with pytest.raises(EnclaveError) as refusal:
        await count(await started(CannotCount("cannot")))
    assert (refusal.value.status, refusal.value.code) == (501, "not-implemented")


async def test_the_embedded_engine_counts_what_it_would_read(tmp_path):
    path = write_tiny_gguf(tmp_path / "tiny-random.gguf")
    backend = LlamaCppBackend("local", {"model_path": str(path), "context_length": 1024})
    router = router_of(backend, clock=Clock())
    await router.start()
    try:
        for fields in ({}, {"messages": messages("a much longer question")}, {"tools": [TOOL]}):
            counted = await count(router, **fields)
            answer = json.loads(await read(await route(router, max_tokens=1, **fields)))
            assert counted.input_tokens == answer["usage"]["prompt_tokens"]
            assert counted.context_length == 1024
        with pytest.raises(EnclaveError):
            await count(router, messages=[{"role": "odd"}])
    finally:
        await router.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_embedded_engine_names_the_stop_string_and_keeps_its_report(stream):
    options = {"model_path": str(demo_model_path()), "context_length": 512}
    router = router_of(LlamaCppBackend("local", options), clock=Clock())
    await router.start()
    fields = {"messages": messages("Hello"), "max_tokens": 20, "temperature": 0}
    try:
        said = json.loads(await read(await route(router, **fields)))
        text = said["choices"][0]["message"]["content"]
        word = text.split()[-1]
        for stop, named in ((word, word), ("absent", None)):
            answer = await read(await route(router, stop=[stop], stream=stream, **fields))
            assert b"__verbose" not in answer
            chunks = chunks_of(answer) if stream else [json.loads(answer)]
            found = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
            assert found[-1].get("stop_reason") == named
            assert found[-1]["finish_reason"] == "stop"
    finally:
        await router.stop()


@pytest.fixture
def tokenizer():
    class Double(OpenAIDouble):
        async def handle(self, request):
            self.answer = None
            if request.path == "/tokenize":
                reply = {"count": 5, "max_model_len": 2048, "tokens": [1, 2, 3, 4, 5]}
                self.answer = self.tokenized or (200, reply, "application/json", {})
            return await super().handle(request)

    double = Double()
    double.tokenized = None
    with serving(double.application()) as url:
        double.url = f"{url}/v1"
        yield double


async def vllm(double, **options):
    backend = OpenAIHTTPBackend("remote", {"base_url": double.url, **options})
    await backend.start()
    return backend


async def test_vllm_is_asked_beside_its_v1(tokenizer, tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-engine")
    backend = await vllm(tokenizer, engine="vllm", api_key_file=str(key))
    try:
        request = chat_request("tiny-vllm", tools=[TOOL], temperature=1)
        assert await backend.count_tokens(request) == 5
        assert tokenizer.paths == ["/tokenize"]
        assert json.loads(tokenizer.bodies[0]) == {
            "model": "tiny-vllm",
            "messages": messages(),
            "tools": [TOOL],
        }
        assert tokenizer.headers[0]["authorization"] == "Bearer sk-engine"
        router = router_of(backend, clock=Clock(), entries=[CatalogEntry("tiny-vllm", ("remote",))])
        assert (await count(router, model="tiny-vllm")).context_length == 2048
    finally:
        await backend.stop()


@pytest.mark.parametrize("reply", [(200, {}, "application/json", {}), (404, {}, "text/html", {})])
async def test_a_tokenizer_that_does_not_count_is_an_error(tokenizer, reply):
    backend = await vllm(tokenizer, engine="vllm")
    tokenizer.tokenized = reply
    try:
        with pytest.raises(EnclaveError):
            await backend.count_tokens(chat_request("tiny-vllm"))
    finally:
        await backend.stop()


async def test_another_openai_server_has_no_way_to_count(tokenizer):
    backend = await vllm(tokenizer)
    try:
        with pytest.raises(EnclaveError) as refusal:
            await backend.count_tokens(chat_request("tiny-vllm"))
        assert refusal.value.status == 501
        assert tokenizer.paths == []
    finally:
        await backend.stop()
