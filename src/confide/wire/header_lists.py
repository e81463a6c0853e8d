"""The names that never travel inside the seal; used by `confide.wire.inner_headers`.

Lower-case, with hyphens. Each group says why. A list of what may *not* pass is never
complete; what that costs is weighed in docs/explanation/decisions/0011-inner-headers.md.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANSWER_NAMES",
    "ANSWER_PREFIXES",
    "REQUEST_NAMES",
    "REQUEST_PREFIXES",
    "REQUEST_SUFFIXES",
]

# One connection, one hop, one cache, or the length of a body that is not sent on as it is.
_HOP: Final = frozenset(
    {
        "accept-encoding", "alt-used", "cache-control", "connection", "digest", "early-data",
        "expect", "host", "http2-settings", "incremental", "keep-alive", "max-forwards", "pragma",
        "priority", "range", "repr-digest", "te", "trailer", "trailers", "transfer-encoding",
        "upgrade", "upgrade-insecure-requests", "want-content-digest", "want-digest",
        "want-repr-digest",
    }
)  # fmt: skip

# Who may ask is between the caller and the gateway.
_CREDENTIALS: Final = frozenset(
    {
        "api-key", "apikey", "authorization", "cookie", "cookie2", "dpop", "helicone-auth",
        "password", "secret", "set-cookie", "signature", "signature-input", "token",
    }
)  # fmt: skip

# Who asks: accounts, programs, browsers, machines, sessions.
_IDENTITY: Final = frozenset(
    {
        "accept-charset", "accept-language", "anthropic-dangerous-direct-browser-access",
        "anthropic-organization-id", "cdn-loop", "chatgpt-account-id", "client-ip",
        "conversation-id", "date", "device-memory", "dnt", "downlink", "dpr", "ect", "forwarded",
        "from", "http-referer", "openai-organization", "openai-project", "origin", "originator",
        "purpose", "referer", "remote-addr", "remote-user", "rtt", "save-data", "session-id",
        "thread-id", "true-client-ip", "user-agent", "version", "via", "viewport-width", "width",
        "x-app", "x-client-info", "x-client-ip", "x-client-name", "x-client-version",
        "x-cluster-client-ip", "x-device-id", "x-originating-ip", "x-real-ip", "x-referer",
        "x-remote-addr", "x-remote-ip", "x-remote-user", "x-requested-with", "x-session-id",
        "x-title", "x-user-agent", "x-user-email", "x-user-id", "x-user-name",
    }
)  # fmt: skip

# Written by libraries behind a program's back; they tie requests to each other.
_TRACING: Final = frozenset(
    {
        "b3", "baggage", "correlation-context", "correlation-id", "elastic-apm-traceparent",
        "grpc-trace-bin", "jaeger-baggage", "jaeger-debug-id", "newrelic", "request-id",
        "sentry-trace", "traceparent", "tracestate", "uber-trace-id", "x-cloud-trace-context",
        "x-correlation-id", "x-request-id", "x-span-id", "x-trace-id",
    }
)  # fmt: skip

# Steer an engine, or a router before it, past the caller's own request: other callers' answers
# and ids, other hosts, ranks, routes and models. The body's fields of this kind are refused too.
_ENGINE: Final = frozenset(
    {
        "idempotency-key", "serve-multiplexed-model-id", "x-bypass-cache", "x-cache-salt",
        "x-data-parallel-rank", "x-dp-rank", "x-http-method", "x-http-method-override",
        "x-idempotency-key", "x-method-override", "x-priority", "x-rewrite-url", "x-session-params",
        "x-slot-id",
    }
)  # fmt: skip

REQUEST_NAMES: Final = _HOP | _CREDENTIALS | _IDENTITY | _TRACING | _ENGINE

REQUEST_SUFFIXES: Final = (
    "-access-key", "-auth-key", "-authorization", "-cookie", "-credential", "-credentials",
    "-password", "-secret", "-secret-key", "-signature", "-token", "api-key", "apikey",
)  # fmt: skip

REQUEST_PREFIXES: Final = (
    # ours, and what proxies, browsers and SDKs write
    "confide-", "x-confide-", "if-", "proxy-", "sec-", "x-forwarded", "x-original-", "x-stainless-",
    # credentials and accounts of clouds and their front ends
    "cf-", "fastly-", "fly-", "x-akamai-", "x-amz-", "x-amzn-", "x-appengine-", "x-auth-",
    "x-azure-", "x-goog-", "x-ms-", "x-vercel-",
    # programs that name themselves
    "x-claude-", "x-codex-", "x-langchain-", "x-langsmith-",
    # tracing
    "uberctx-", "x-b3-", "x-datadog-", "x-instana-", "x-ot-",
    # routers before engines
    "helicone-", "x-bootstrap-", "x-dynamo-", "x-envoy-", "x-gateway-", "x-kv-", "x-litellm-",
    "x-llm-d-", "x-portkey-", "x-prefill", "x-smg-",
)  # fmt: skip

# What a browser would obey, coming from the proxy on this machine; who the engine is and which
# account of its operator it used; what this side says itself.
ANSWER_NAMES: Final = _HOP | frozenset(
    {
        "accept-ch", "accept-ranges", "age", "alt-svc", "authentication-info", "clear-site-data",
        "critical-ch", "date", "document-policy", "etag", "expect-ct", "expires", "feature-policy",
        "last-modified", "link", "location", "nel", "no-vary-search", "openai-organization",
        "openai-project", "origin-agent-cluster", "origin-trial", "p3p", "permissions-policy",
        "public-key-pins", "referrer-policy", "refresh", "report-to", "reporting-endpoints",
        "request-id", "server", "server-timing", "set-cookie", "set-cookie2", "set-login",
        "sourcemap", "speculation-rules", "strict-transport-security", "supports-loading-mode",
        "timing-allow-origin", "traceparent", "tracestate", "vary", "via", "warning",
        "www-authenticate", "x-backend", "x-content-type-options", "x-dns-prefetch-control",
        "x-frame-options", "x-generator", "x-hostname", "x-permitted-cross-domain-policies",
        "x-powered-by", "x-request-id", "x-robots-tag", "x-served-by", "x-server",
        "x-should-retry", "x-sourcemap", "x-timer", "x-upstream", "x-varnish", "x-xss-protection",
    }
)  # fmt: skip

ANSWER_PREFIXES: Final = (
    "access-control-", "anthropic-organization-", "cf-", "confide-", "content-", "cross-origin-",
    "fastly-", "fly-", "proxy-", "sec-", "service-worker", "x-amz-", "x-amzn-", "x-aspnet",
    "x-azure-", "x-b3-", "x-cache", "x-confide-", "x-envoy-", "x-litellm-", "x-ms-",
    "x-portkey-", "x-vercel-",
)  # fmt: skip
