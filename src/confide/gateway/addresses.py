"""Base URLs of enclaves: `http://host:port` or `https://host:port`, nothing more."""

from __future__ import annotations

from urllib.parse import urlsplit

from confide.errors import ConfigError

__all__ = ["enclave_url"]


def enclave_url(url: str) -> str:
    """Check a base URL and write it in one form.

    Args:
        url: Scheme, host and optional port; a final slash is dropped.

    Returns:
        The URL in lower case, with a port.

    Raises:
        ConfigError: Another scheme, no host, or anything after the port; a credential in a
            URL ends up in logs.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname
    except ValueError:
        host, port, parts = None, 0, urlsplit("")
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    if parts.scheme not in ("http", "https") or not host or any(rest) or not host.isascii():
        raise ConfigError(
            "an enclave is named by its base URL, such as http://127.0.0.1:8002",
            hint="no path, query or credential belongs into it",
        )
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"
