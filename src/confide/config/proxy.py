"""Settings of the local proxy: the `[proxy]` table, `CONFIDE_PROXY__*`, or flags."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["ProxySettings", "parse_size"]

_UNITS: Final = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


def parse_size(value: object) -> object:
    """Turn "32mb" into bytes; numbers and anything else pass unchanged.

    Units are b, kb, mb and gb in either case, in powers of 1024.

    Raises:
        ValueError: Text that is not a number with a unit.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+)\s*([kmg]?b?)\s*", value.lower(), re.ASCII)
    unit = match and (match[2] if match[2] in _UNITS else match[2] + "b")
    if not match or unit not in _UNITS:
        raise ValueError("must be a size such as 32mb")
    return int(match[1]) * _UNITS[unit]


class ProxySettings(BaseModel):
    """What the proxy needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_url: str = Field(
        description="Base URL of the gateway, such as https://gateway.example.org."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on.")
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
    policy_file: Path | None = Field(
        None, description="Appraisal policy (TOML): what evidence is good enough."
    )
    json_body_limit: Annotated[int, BeforeValidator(parse_size)] = Field(
        32 * 1024**2, gt=0, description="Longest request body, in bytes or as in 32mb."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names the proxy may be called by: name or name:port."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web origins besides this machine's that may call the proxy."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of event to write to standard error."
    )
    shutdown_timeout_s: int = Field(
        30, ge=0, le=3600, description="Seconds open requests may go on after a stop signal."
    )

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
