"""Speech to text through the whole stack; the engine records what it received."""

from __future__ import annotations

import json
import threading

import httpx2
import openai
import pytest
from tests.doubles.scripted_server import Script, ScriptedServer, sse
from tests.e2e import ledger
from tests.e2e.openai_roads import ROADS, openai_over
from tests.stacks import ECHO, options

from confide.local import Home, Stack
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

PATH = "/v1/audio/transcriptions"
ENGLISH = "/v1/audio/translations"
# Bytes that a text mode or a careless parser would change, with something like a boundary.
RECORDING = b"RIFF\r\n--boundary\r\n\x00\xff\xfe" + bytes(range(256)) * 600 + b"\r\n--"
FORMATS = {
    "json": ("application/json", b'{"text": "good morning", "kept": 1e3}'),
    "verbose_json": (
        "application/json",
        b'{"task":"transcribe","language":"english","duration":8.5,"text":"good morning",'
        b'"segments":[]}',
    ),
    "text": ("text/plain; charset=utf-8", "good morning, Z\u00fcrich\n".encode()),
    "srt": ("text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:02,000\ngood morning\n\n"),
    "vtt": ("text/vtt", b"WEBVTT\n\n00:00:00.000 --> 00:00:02.000\ngood morning\n"),
}


@pytest.fixture(scope="module")
def engine():
    server = ScriptedServer()
    with server.serve() as url:
        server.url = url
        yield server


@pytest.fixture(scope="module")
def served(engine, tmp_path_factory):
    audio = {"type": "audio"}
    backends = (
        BackendChoice("openai_http", ("whisper",), {"base_url": engine.url}, audio),
        BackendChoice(
            "openai_http",
            ("renamed",),
            {"base_url": engine.url},
            {**audio, "backend_model": "whisper-large-v3-with-a-longer-name"},
        ),
        BackendChoice(
            "openai_http", ("embedder",), {"base_url": engine.url}, {"type": "embedding"}
        ),
        BackendChoice("echo", ("deaf",), {}, audio),
        ECHO,
    )
    with Stack(Home(tmp_path_factory.mktemp("audio")), options(*backends)) as running:
        yield running


@pytest.fixture(params=ROADS)
def client(request, served):
    with openai_over(request.param, served) as made:
        yield made


def form(*parts, boundary="b0undary"):
    """A multipart body; a part is (name, value) or (name, value, filename)."""
    body = b""
    for name, value, *filename in parts:
        told = f'; filename="{filename[0]}"' if filename else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n'.encode()
        body += b"Content-Type: audio/wav\r\n" if filename else b""
        body += b"\r\n" + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def post(stack, body, content_type="multipart/form-data; boundary=b0undary", path=PATH):
    return httpx2.post(
        f"{stack.proxy_url}{path}", content=body, headers={"content-type": content_type}, timeout=60
    )


def test_a_form_reaches_the_engine_byte_for_byte(served, engine):
    engine.scripts[PATH] = Script([FORMATS["json"][1]])
    body = form(
        ("a_field_of_next_year", " kept \t"),
        ("file", RECORDING, "spoken.wav"),
        ("model", "whisper"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    )
    content_type = 'multipart/form-data; boundary="b0undary"'
    answer = post(served, body, content_type)
    assert answer.status_code == 200
    assert answer.content == FORMATS["json"][1]
    assert engine.seen[-1].body == body
    assert engine.seen[-1].headers["content-type"] == content_type


def test_only_the_models_name_changes_if_the_engine_calls_it_something_else(served, engine):
    engine.scripts[PATH] = Script([FORMATS["json"][1]])
    parts = [("model", "renamed"), ("file", RECORDING, "a.wav"), ("prompt", "renamed")]
    assert post(served, form(*parts)).status_code == 200
    expected = form(("model", "whisper-large-v3-with-a-longer-name"), *parts[1:])
    assert engine.seen[-1].body == expected


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("path", [PATH, ENGLISH])
def test_every_format_arrives_as_the_engine_wrote_it(client, engine, format_, path):
    content_type, said = FORMATS[format_]
    engine.scripts[path] = Script([said], content_type)
    resource = client.audio.transcriptions if path == PATH else client.audio.translations
    raw = resource.with_raw_response.create(
        model="whisper", file=("spoken.wav", RECORDING), response_format=format_
    )
    assert raw.content == said
    assert raw.headers["content-type"] == content_type
    sent = engine.seen[-1]
    assert sent.path == path
    assert RECORDING in sent.body
    answer = raw.parse()
    text = answer if isinstance(answer, str) else answer.text
    assert "good morning" in text


def test_a_transcript_is_streamed_event_by_event(client, engine):
    done = {
        "type": "transcript.text.done",
        "text": "good morning",
        "usage": {"type": "tokens", "input_tokens": 100, "output_tokens": 2, "total_tokens": 102},
    }
    pieces = [
        {"type": "transcript.text.delta", "delta": "good"},
        {"type": "transcript.text.delta", "delta": " morning"},
        done,
    ]
    gates = {1: threading.Event(), 2: threading.Event()}
    engine.scripts[PATH] = Script(sse(*pieces), "text/event-stream", hold=gates)
    stream = client.audio.transcriptions.create(
        model="whisper", file=("spoken.wav", RECORDING), stream=True
    )
    said = ""
    for number, event in enumerate(stream):
        assert event.type == pieces[number]["type"]
        said += event.delta if event.type.endswith("delta") else ""
        if number + 1 in gates:
            gates[number + 1].set()
    assert said == "good morning"


def test_the_ledger_says_audio(served, engine):
    engine.scripts[PATH] = Script([FORMATS["json"][1]])
    before = ledger.read(served).statements.total()
    assert post(served, form(("model", "whisper"), ("file", b"x", "a.wav"))).status_code == 200
    ledger.wait_until(lambda: ledger.read(served).statements.total() > before)
    assert ledger.statements(served)[-1]["operation"] == "audio"


@pytest.mark.parametrize(
    ("body", "content_type", "param"),
    [
        (form(("model", "whisper")), None, "file"),
        (form(("model", "whisper"), ("file", "not an upload")), None, "file"),
        (form(("file", b"x", "a.wav")), None, "model"),
        (form(("model", ""), ("file", b"x", "a.wav")), None, "model"),
        (b'{"model": "whisper"}', "application/json", "content-type"),
        (b"x", "multipart/form-data", "content-type"),
        (form(("model", "whisper"), ("file", b"x", "a.wav"), ("stream", "yes")), None, "stream"),
    ],
)
def test_a_form_that_lacks_something_is_a_400_that_names_it(
    served, engine, body, content_type, param
):
    before = len(engine.seen)
    answer = post(served, body, *([content_type] if content_type else []))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"
    assert len(engine.seen) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b0undary",
        form(("model", "whisper"), ("file", b"x", "a.wav"))[:-6],
        b"preamble\r\n" + form(("model", "whisper"), ("file", b"x", "a.wav")),
        form(("model", "whisper"), ("file", b"x", "a.wav")) + b"epilogue",
        form(("model", "whisper"), ("model", "echo"), ("file", b"x", "a.wav")),
        form(("model", "whisper"), ("file", b"x", "a.wav"), ("file", b"y", "b.wav")),
        form(*[(f"f{n}", "x") for n in range(70)]),
    ],
)
def test_a_malformed_form_is_a_400(served, engine, body):
    before = len(engine.seen)
    answer = post(served, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(engine.seen) == before


def test_a_form_over_the_limit_is_a_413(served):
    body = form(("model", "whisper"), ("file", bytes(33 << 20), "a.wav"))
    assert post(served, body).status_code == 413
    long_field = form(("model", "whisper"), ("file", b"x", "a.wav"), ("prompt", "x" * 300_000))
    assert post(served, long_field).status_code == 413


@pytest.mark.parametrize("model", ["echo", "deaf", "embedder"])
def test_a_model_that_does_not_hear_is_a_clear_error(client, engine, model):
    before = len(engine.seen)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.audio.transcriptions.create(model=model, file=("a.wav", b"x"))
    assert refusal.value.param == "model"
    assert len(engine.seen) == before


def test_an_engine_without_the_route_is_a_clear_error(client, engine):
    engine.scripts.pop(PATH, None)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.audio.transcriptions.create(model="whisper", file=("a.wav", b"x"))
    assert refusal.value.code == "operation_unsupported"


def test_an_audio_model_does_not_chat(client):
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="whisper", messages=[{"role": "user", "content": "x"}])
    assert refusal.value.param == "model"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("chat", {"echo"}),
        ("embedding", {"echo", "embedder"}),
        ("audio", {"whisper", "renamed", "deaf"}),
    ],
)
def test_models_are_listed_by_type(client, kind, names):
    assert {one.id for one in client.models.list(extra_query={"type": kind})} == names


@pytest.mark.parametrize("kind", ["", "video", "Chat", "chat&type=audio"])
def test_an_unknown_type_is_a_400(served, kind):
    answer = httpx2.get(f"{served.proxy_url}/v1/models?type={kind}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "type")


def test_a_model_says_its_types(client):
    assert client.models.retrieve("whisper").types == ["audio"]
    assert client.models.retrieve("echo").types == ["chat", "embedding"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["files", "files/f/content", "vector_stores", "vector_stores/v/search", "moderations",
             "audio/speech", "images/generations", "conversations", "batches/b"]
)  # fmt: skip
def test_what_is_not_built_says_so_by_every_method(served, method, path):
    answer = httpx2.request(method, f"{served.proxy_url}/v1/{path}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (501, "not_implemented")
    assert json.loads(answer.content).keys() == {"error"}
