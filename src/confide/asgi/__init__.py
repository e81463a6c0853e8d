"""Give the handlers of an ASGI application a client that seals (extra `asgi`).

    app = Starlette(routes=..., middleware=[Middleware(ConfideMiddleware, connect=connect)])

    async def ask(request: Request) -> Response:
        client = sealed_client(request)
        return await AnswerStream.begin(client.chat_stream("Why?", model="demo-tiny"))

`ConfideMiddleware` opens the client with the application and closes it with it, and answers with a
problem document when a handler lets one of our errors go. `sealed_client` is a function for
Starlette and a dependency for FastAPI. Such a server reads its users' prompts; one that must not
mounts `confide.relay` instead.

Named after the interface and not after a framework: the middleware is plain ASGI and works in
every framework that speaks it; only the other two names use Starlette's classes.
"""

from confide.asgi.answers import AnswerStream
from confide.asgi.middleware import ConfideMiddleware, sealed_client

__all__ = ["AnswerStream", "ConfideMiddleware", "sealed_client"]
