"""Settings of the gateway: the `[gateway]` table, `CONFIDE_GATEWAY__*`, or flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from confide.config.proxy import parse_size
from confide.config.sources import home_directory

__all__ = ["GatewaySettings"]


def _in_home(name: str) -> Path:
    return home_directory() / "gateway" / name


class GatewaySettings(BaseModel):
    """What the gateway needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8001, ge=0, le=65535, description="TCP port to listen on.")
    database: Path = Field(
        default_factory=lambda: _in_home("gateway.db"),
        description="SQLite database: keys as digests, enclaves, usage. On a local disk.",
    )
    grant_key_file: Path = Field(
        default_factory=lambda: _in_home("grant.key"),
        description="Ed25519 private key (PEM) that signs grants; made on the first start.",
    )
    pepper_file: Path = Field(
        default_factory=lambda: _in_home("pepper"),
        description="32 secret bytes in hexadecimal that API keys are hashed under; made on the"
        " first start.",
    )
    enclaves: tuple[str, ...] = Field(
        (),
        description="Base URLs of enclaves, besides those added with confide admin enclaves add.",
    )
    policy_file: Path | None = Field(
        None,
        description="Appraisal policy (TOML): which enclaves requests may reach. Required.",
    )
    endorsements: Path = Field(
        default_factory=lambda: _in_home("endorsements"),
        description="Directory of endorsements, used for the policy and handed to clients;"
        " confide endorsements fetch --dir fills it.",
    )
    evidence_check_s: float = Field(
        600,
        gt=0,
        le=3600,
        description="Most seconds between two challenges of an enclave by this gateway.",
    )
    requests_per_minute: int = Field(
        60,
        gt=0,
        le=10_000_000,
        description="Sustained rate of an API key that has none of its own.",
    )
    burst: int | None = Field(
        None,
        gt=0,
        description="Requests of a key that may come at once. Default: twice the rate per minute.",
    )
    concurrent_streams: int = Field(
        16, gt=0, description="Answers of a key that may be in flight at once."
    )
    evidence_per_minute: int = Field(
        30,
        gt=0,
        description="Evidence challenges per minute from one address, and as many"
        " requests for endorsements.",
    )
    evidence_total_per_minute: int = Field(
        600, gt=0, description="Evidence challenges per minute from all addresses together."
    )
    sealed_body_limit: Annotated[int, BeforeValidator(parse_size)] = Field(
        36 * 1024**2, gt=0, description="Longest sealed request, in bytes or as in 36mb."
    )
    upload_timeout_s: float = Field(
        30, gt=0, description="A caller that sends nothing of its request for so long is refused."
    )
    answer_timeout_s: float = Field(
        600, gt=0, description="An enclave that sends nothing of its answer for so long is cut off."
    )
    public_url: str | None = Field(
        None,
        description="Base URL by which clients reach this gateway. If set, it is served in"
        " /.well-known/confide/endpoints.json.",
    )
    public_enclave_url: str | None = Field(
        None, description="Enclave that this document names beside it. Needs public_url."
    )
    poll_s: float = Field(5, gt=0, description="Seconds between two polls of an enclave.")
    ledger_rows: int = Field(
        50_000,
        gt=0,
        description="Usage rows that may wait for the disk; when there are more, requests are"
        " refused with 503.",
    )
    metrics_clients: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses that may read /metrics; * for all.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of reverse proxies whose X-Forwarded-For is believed."
    )
    tls_certificate_file: Path | None = Field(
        None, description="Certificate chain (PEM). Default: plain HTTP."
    )
    tls_key_file: Path | None = Field(None, description="Private key of the certificate (PEM).")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of event to write to standard error."
    )
    shutdown_timeout_s: int = Field(
        300, ge=0, le=86400, description="Seconds answers in flight may go on after a stop signal."
    )

    @model_validator(mode="after")
    def _whole_pairs(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file are set together or not at all")
        if self.public_enclave_url is not None and self.public_url is None:
            raise ValueError("public_enclave_url needs public_url")
        return self
