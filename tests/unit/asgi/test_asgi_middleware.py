"""An application gets one verified client, and its users get problems instead of tracebacks."""

import threading

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.doubles.sealed_stack import Inner, Refusal, SealedStack, delta, sse
from tests.unit.asgi.conftest import running

from confide import AsyncClient, errors
from confide.asgi import AnswerStream, ConfideMiddleware, sealed_client
from confide.asgi.problems import user_problem

SECRET = "the merger closes on friday"


async def ask(request):
    return PlainTextResponse(await sealed_client(request).chat(SECRET, model="m"))


async def stream(request):
    return await AnswerStream.begin(sealed_client(request).chat_stream(SECRET, model="m"))


def starlette(connect, **further):
    return Starlette(
        routes=[Route("/ask", ask), Route("/stream", stream), *further.pop("routes", ())],
        middleware=[Middleware(ConfideMiddleware, connect=connect)],
        **further,
    )


def fastapi(connect):
    app = FastAPI()
    app.add_middleware(ConfideMiddleware, connect=connect)

    @app.get("/ask", response_class=PlainTextResponse)
    async def ask(client: AsyncClient = Depends(sealed_client)):  # noqa: B008 - FastAPI's form
        return await client.chat(SECRET, model="m")

    @app.get("/stream", response_class=PlainTextResponse)
    async def stream(client: AsyncClient = Depends(sealed_client)):  # noqa: B008
        return await AnswerStream.begin(client.chat_stream(SECRET, model="m"))

    return app


@pytest.fixture(params=[starlette, fastapi])
def app(request, connect):
    return request.param(connect)


def test_a_handler_gets_an_answer(app, stack):
    with running(app) as url:
        assert httpx2.get(f"{url}/ask").text == "hello world"
    assert SECRET.encode() in stack.enclave.requests[0].body
    assert SECRET.encode() not in stack.posts[0].content


def test_an_answer_streams(app):
    with running(app) as url:
        answer = httpx2.get(f"{url}/stream")
    assert answer.text == "hello world"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-accel-buffering"] == "no"


def test_the_enclave_is_verified_before_the_first_request(app, stack):
    with running(app):
        assert any("/evidence/" in path for path in stack.fetches)
        assert stack.posts == []


def test_a_refused_enclave_keeps_the_application_from_starting(stack, connect):
    def stranger():
        return connect(verifier=SealedStack().verifier)

    with running(starlette(stranger)) as url:
        assert url is None
    assert stack.posts == []


def test_unusable_settings_keep_the_application_from_starting(connect):
    with running(starlette(lambda: connect(verifier=None))) as url:
        assert url is None


def test_a_gateway_that_is_away_does_not(stack, connect):
    away = True

    def before(request):
        if away:
            raise httpx2.ConnectError("refused")

    stack.before = before
    with running(starlette(connect)) as url:
        answer = httpx2.get(f"{url}/ask")
        assert (answer.status_code, answer.json()["code"]) == (503, "unreachable")
        away = False
        assert httpx2.get(f"{url}/ask").text == "hello world"


def test_the_client_is_closed_with_the_application(stack, connect):
    closed = []

    class Noted(AsyncClient):
        async def aclose(self):
            closed.append(self)
            await super().aclose()

    def make():
        return Noted(
            stack.url,
            verifier=stack.verifier,
            api_key="k",
            transport=stack.transport,
            clock=stack.clock,
        )

    with running(starlette(make)) as url:
        httpx2.get(f"{url}/ask")
        assert closed == []
    assert len(closed) == 1


async def live(app, *, log):
    """Run a life cycle without a server and note what the application says, in order."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        log.append(message["type"].removeprefix("lifespan."))

    await app({"type": "lifespan", "state": {}}, receive, send)


async def test_the_client_is_closed_before_the_server_may_stop_the_loop(stack, connect):
    log = []

    class Noted(AsyncClient):
        async def aclose(self):
            log.append("closed")
            await super().aclose()

    def make():
        outer = {"transport": stack.transport, "clock": stack.clock}
        return Noted(stack.url, verifier=stack.verifier, api_key="k", **outer)

    await live(starlette(make), log=log)
    assert log == ["startup.complete", "closed", "shutdown.complete"]


async def test_an_error_after_the_answer_began_reaches_the_server(connect):
    """What a server does with it, cut the connection, a silent return would leave to chance."""

    async def begin_and_fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise errors.StreamTruncated(3)

    sent = []

    async def send(message):
        sent.append(message["type"])

    with pytest.raises(errors.StreamTruncated):
        await ConfideMiddleware(begin_and_fail, connect=connect)({"type": "http"}, None, send)
    assert sent == ["http.response.start"]


def test_the_applications_own_life_cycle_still_runs(connect):
    happened = []

    class Life:
        def __init__(self, app):
            pass

        async def __aenter__(self):
            happened.append("start")

        async def __aexit__(self, *exception):
            happened.append("stop")

    with running(starlette(connect, lifespan=Life)) as url:
        assert httpx2.get(f"{url}/ask").text == "hello world"
        assert happened == ["start"]
    assert happened == ["start", "stop"]


@pytest.mark.parametrize("silent", [True, False])
def test_an_application_without_a_life_cycle_works(connect, silent):
    async def bare(scope, receive, send):
        if scope["type"] == "lifespan":
            if silent:
                return
            raise AssertionError("what is a lifespan?")
        text = await scope["confide.client"].chat(SECRET, model="m")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    with running(ConfideMiddleware(bare, connect=connect)) as url:
        assert httpx2.get(url).text == "hello world"


def test_an_application_that_fails_to_start_fails(connect):
    class Broken:
        def __init__(self, app):
            pass

        async def __aenter__(self):
            raise RuntimeError("no database")

        async def __aexit__(self, *exception):
            pass

    with running(starlette(connect, lifespan=Broken)) as url:
        assert url is None


def test_without_the_middleware_the_handler_is_told(connect):
    app = Starlette(routes=[Route("/ask", told)])
    with running(app) as url:
        assert httpx2.get(f"{url}/ask").text == "config-invalid"


async def told(request):
    try:
        sealed_client(request)
    except errors.ConfigError as error:
        return PlainTextResponse(error.code)


# ---- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ask", "/stream"])
def test_a_refusal_before_the_answer_is_a_problem_document(app, stack, path):
    def refuse(request):
        error = {"message": f"unknown: {SECRET}", "code": "model_not_found", "param": "model"}
        return Inner(status=404, pieces=[f'{{"error": {error}}}'.replace("'", '"').encode()])

    stack.enclave.model = refuse
    with running(app) as url:
        answer = httpx2.get(f"{url}{path}")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "model-not-found"
    assert SECRET not in answer.text


def test_a_limit_of_the_servers_key_says_when_to_come_back(app, stack):
    stack.refusals = [Refusal.of("rate-limited", 429, retry_after_s=2.5)]
    with running(app) as url:
        answer = httpx2.get(f"{url}/ask")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


def test_a_cut_answer_cuts_the_users_connection(app, stack):
    stack.tamper = lambda pieces: list(pieces)[:-1]
    with running(app) as url, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{url}/stream")


ERRORS = [getattr(errors, name) for name in errors.__all__]


def make(kind):
    if issubclass(kind, errors.RateLimited):
        return kind(f"{SECRET} http://gateway.test", retry_after=1)
    if issubclass(kind, errors.AppraisalError):
        return kind("claim", expected=SECRET, actual="http://gateway.test")
    if issubclass(kind, errors.StreamTruncated):
        return kind(3)
    if kind in (errors.OpenError, errors.StreamClosed):
        return kind()  # these carry no words at all
    return kind(f"{SECRET} http://gateway.test")


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_no_problem_repeats_a_message(kind):
    problem = user_problem(make(kind))
    assert problem.status >= 400
    assert problem.status not in (401, 403, 404, 429), "the user did nothing that these would say"
    text = problem.encode().decode()
    assert SECRET not in text
    assert "gateway.test" not in text


# ---- streams ---------------------------------------------------------------------------------


def test_each_piece_is_sent_when_it_is_made(app, stack):
    go = threading.Event()

    def pieces():
        yield f"data: {delta('first')}\n\n".encode()
        assert go.wait(10)
        yield b"data: [DONE]\n\n"

    stack.enclave.model = lambda request: Inner(headers=sse().headers, pieces=pieces())
    with running(app) as url, httpx2.stream("GET", f"{url}/stream") as answer:
        assert next(answer.iter_text()) == "first"  # while the model still waits
        go.set()
