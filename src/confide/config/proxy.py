"""Settings of the local proxy: the `[proxy]` table, `CONFIDE_PROXY__*`, or flags."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from confide.config.sources import home_directory

__all__ = ["LEVELS", "ProxySettings", "parse_level", "parse_size"]

LEVELS: Final = {
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "http": "info",
    "verbose": "debug",
    "debug": "debug",
    "silly": "debug",
}
"""Level as people may write it, and ours. A request is one event of level info. No level logs
content: there is no field that could hold it."""

_SIZE: Final = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmg]?b?)\s*", re.ASCII)
_UNITS: Final = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


def parse_size(value: object) -> object:
    """Turn "32mb" or "1.5mb" into whole bytes; numbers and anything else pass unchanged.

    Units are b, kb, mb and gb in either case, in powers of 1024.

    Raises:
        ValueError: Text that is not a number with a unit.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.lower())
    unit = match and (match[2] if match[2] in _UNITS else match[2] + "b")
    if not match or unit not in _UNITS:
        raise ValueError("must be a size such as 32mb")
    return int(Decimal(match[1]) * _UNITS[unit])


def parse_level(value: object) -> object:
    """Turn the level names of other loggers into ours.

    Raises:
        ValueError: Text that is none of `LEVELS`.
    """
    if not isinstance(value, str):
        return value
    if value.lower() not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return LEVELS[value.lower()]


class ProxySettings(BaseModel):
    """What the proxy needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_url: str | None = Field(
        None,
        description="Base URL of the gateway, such as https://gateway.example.org. Required"
        " unless endpoints_url is set. Also PROXY_URL.",
    )
    enclave_url: str | None = Field(
        None,
        description="Base URL of the one enclave to use: its key document and evidence are"
        " fetched there and not from the gateway. Requests still go through the gateway. Also"
        " ENCLAVE_URL.",
    )
    endpoints_url: str | None = Field(
        None,
        description="Where to look up both URLs once: the document at"
        " /.well-known/confide/endpoints.json of this URL, pinned in the data directory.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on. Also HOST.")
    port: int = Field(
        8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one. Also PORT."
    )
    compat: Literal["openai", "anthropic", "both", "auto"] = Field(
        "openai",
        description="Dialect: openai or anthropic below /v1, both below /openai/v1 and"
        " /anthropic/v1, or auto: both below /v1.",
    )
    api_key_file: Path | None = Field(
        None,
        description="File with the API key for the gateway. Default: the bearer credential of"
        " each request is passed on.",
    )
    api_key: SecretStr | None = Field(
        None, description="The API key itself, for environments without files."
    )
    client_kek: SecretStr | None = Field(
        None,
        description="Client KEK: 32 bytes in base64 or hex. Default: client/kek in the data"
        " directory, created on first use. Also CLIENT_KEK.",
    )
    policy_file: Path | None = Field(
        None, description="Appraisal policy (TOML): what evidence is good enough."
    )
    endorsements: Path = Field(
        default_factory=lambda: home_directory() / "endorsements",
        description="Directory of endorsements and of what was newest; confide endorsements"
        " fills it. Default: endorsements in the data directory.",
    )
    endorsement_files: tuple[Path, ...] = Field(
        (),
        description="Bundles that confide endorsements export wrote; looked into before the"
        " directory.",
    )
    json_body_limit: Annotated[int, BeforeValidator(parse_size)] = Field(
        32 * 1024**2,
        gt=0,
        description="Longest request body, in bytes or as in 32mb. Also JSON_BODY_LIMIT.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names the proxy may be called by: name or name:port."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web origins besides this machine's that may call the proxy."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(parse_level)
    ] = Field(
        "info",
        description="Lowest level of event to write. warn is warning; http is info; verbose and"
        " silly are debug. Also CONFIDENTIAL_PROXY_LOG_LEVEL.",
    )
    shutdown_timeout_s: float = Field(
        30, ge=0, le=3600, description="Seconds open requests may go on after a stop signal."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("set one of api_key and api_key_file")
        if self.endpoints_url is not None and (self.gateway_url or self.enclave_url):
            raise ValueError("set endpoints_url, or the URLs themselves, not both")
        if self.gateway_url is None and self.endpoints_url is None:
            alone = " An enclave takes requests only with a grant of its gateway, never directly."
            raise ValueError(
                "gateway_url is not set (PROXY_URL, --gateway), and neither is endpoints_url."
                + (alone if self.enclave_url else "")
            )
        return self

    @model_validator(mode="after")
    def _names_for_others(self) -> Self:
        # Beyond loopback the guard cannot know by which names the proxy is called.
        if not _is_loopback(self.host) and not self.allowed_hosts:
            raise ValueError(
                "host is not a loopback address; say in allowed_hosts by which names other"
                " machines call the proxy"
            )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
