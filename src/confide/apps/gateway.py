"""Build the gateway from its settings, and serve it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from confide.apps.policies import verifier_of
from confide.attest.results import EnclaveVerifier
from confide.attest.verifier import Verifier
from confide.config.gateway import GatewaySettings
from confide.errors import ConfigError
from confide.gateway.addresses import enclave_url
from confide.gateway.admission import Admission
from confide.gateway.app import GatewayApp, Parts
from confide.gateway.callers import Callers
from confide.gateway.collateral import CollateralRoute
from confide.gateway.directory import DirectoryRoutes
from confide.gateway.grants import GrantSigner
from confide.gateway.instruments import Instruments
from confide.gateway.ledger import Ledger
from confide.gateway.metering import UsageCollector
from confide.gateway.registry import Registry
from confide.gateway.sealed import SealedRoute
from confide.gateway.server import Listening, listen, make_server
from confide.gateway.setup import GatewayState, open_state
from confide.gateway.standings import Standings
from confide.gateway.upstream import EnclaveUpstream
from confide.gateway.vetting import Vetting
from confide.identity.principal import Limits
from confide.telemetry import logs
from confide.wire.endpoints import Endpoints

__all__ = ["build_gateway", "policy_verifier", "serve_gateway"]


def build_gateway(
    settings: GatewaySettings,
    *,
    verifier: EnclaveVerifier,
    now: Callable[[], float] = time.time,  # noqa: TID251 - composition root
) -> GatewayApp:
    """Wire the gateway. Opens the database; nothing runs before the server starts it.

    Args:
        settings: The gateway's settings.
        verifier: Decides which enclaves requests may reach.
        now: Unix seconds.

    Raises:
        ConfigError: A file or URL in the settings cannot be used.
    """
    state = open_state(settings)
    core = _Core.of(settings, state, verifier, now)
    registry = core.registry
    registry.want("settings", [enclave_url(url) for url in settings.enclaves])
    burst = settings.burst or 2 * settings.requests_per_minute
    callers = Callers(
        state.database,
        Limits(settings.requests_per_minute, burst, settings.concurrent_streams),
        on_enclaves=lambda urls: registry.want("database", urls),
    )
    admission = Admission(callers, core.ledger, state.pepper, now=now, monotonic=time.monotonic)
    sealed = SealedRoute(
        admission=admission,
        registry=registry,
        grants=core.grants,
        ledger=core.ledger,
        instruments=core.instruments,
        now=now,
        monotonic=time.monotonic,
        max_bytes=settings.sealed_body_limit,
        idle_s=settings.upload_timeout_s,
    )
    return GatewayApp(
        Parts(
            sealed=sealed,
            directory=_directory(settings, registry),
            collateral=_collateral(settings),
            admission=admission,
            callers=callers,
            registry=registry,
            ledger=core.ledger,
            instruments=core.instruments,
            metrics_clients=frozenset(settings.metrics_clients),
            endpoints=_endpoints(settings),
            now=now,
        )
    )


def _directory(settings: GatewaySettings, registry: Registry) -> DirectoryRoutes:
    return DirectoryRoutes(
        registry,
        monotonic=time.monotonic,
        per_minute=settings.evidence_per_minute,
        total_per_minute=settings.evidence_total_per_minute,
    )


def _collateral(settings: GatewaySettings) -> CollateralRoute:
    return CollateralRoute(
        settings.endorsements,
        monotonic=time.monotonic,
        per_minute=settings.evidence_per_minute,
        total_per_minute=settings.evidence_total_per_minute,
    )


def _endpoints(settings: GatewaySettings) -> bytes | None:
    if settings.public_url is None:
        return None
    return Endpoints(settings.public_url, settings.public_enclave_url).encode()


def policy_verifier(settings: GatewaySettings) -> Verifier:
    """Make the verifier of the policy file that the settings name.

    Raises:
        ConfigError: No file is named, or it is not usable. There is no default policy.
    """
    return verifier_of(
        settings.policy_file,
        endorsements=settings.endorsements,
        who="gateway",
        hint="set policy_file under [gateway]; to try confide on this machine: confide up",
    )


def serve_gateway(settings: GatewaySettings, *, verifier: EnclaveVerifier) -> None:
    """Serve until a stop signal; answers in flight finish, new connections are refused.

    Args:
        settings: The gateway's settings.
        verifier: Decides which enclaves requests may reach.

    Raises:
        ConfigError: Settings, files or the address cannot be used.
    """
    logs.configure(settings.log_level, sys.stderr, batched=True)
    where = Listening(
        settings.host,
        settings.port,
        settings.shutdown_timeout_s,
        settings.trusted_proxies,
        str(settings.tls_certificate_file) if settings.tls_certificate_file else None,
        str(settings.tls_key_file) if settings.tls_key_file else None,
    )
    listener = listen(where)
    try:
        server = make_server(build_gateway(settings, verifier=verifier), where)
        server.run(sockets=[listener])
    finally:
        listener.close()
    if not server.started:
        raise ConfigError("the gateway did not start", hint="its log on standard error says why")


@dataclass(frozen=True)
class _Core:
    """What the parts share."""

    ledger: Ledger
    grants: GrantSigner
    registry: Registry
    instruments: Instruments

    @classmethod
    def of(
        cls,
        settings: GatewaySettings,
        state: GatewayState,
        verifier: EnclaveVerifier,
        now: Callable[[], float],
    ) -> _Core:
        ledger = Ledger(state.database, capacity=settings.ledger_rows)
        grants = GrantSigner(state.grant_key)
        collector = UsageCollector(ledger, grants, now=now)
        registry = Registry(
            poll_s=settings.poll_s,
            now=now,
            vetting=Vetting(verifier, now=now, every_s=settings.evidence_check_s),
            make_upstream=lambda url: EnclaveUpstream(url, idle_s=settings.answer_timeout_s),
            companions=(collector.follow,),
        )
        instruments = Instruments(
            enclaves_healthy=lambda: registry.healthy,
            enclaves_known=lambda: len(registry.enclaves),
            enclaves_refused=lambda: registry.refused,
            ledger_pending=lambda: ledger.pending,
            ledger_failing=lambda: ledger.failing,
            fields_dropped=logs.dropped_total,
        )
        collector.on_batch = instruments.statements
        registry.on_failure = instruments.failed
        registry.on_vetting = instruments.vetted
        standings = Standings(settings.database, lambda: registry.enclaves)
        registry.on_standing = standings.write
        registry.on_stop = standings.remove
        return cls(ledger, grants, registry, instruments)
