"""Build the enclave from its measured settings, and serve it.

The only place where the enclave's parts are wired and where its wall clock is read. The
collector is passed in: `confide enclave serve` finds the hardware's, and `confide.local`,
which this package cannot import, brings the simulated one.

Evidence comes before the port: an enclave whose machine cannot prove itself, or whose GPUs
are not as its manifest states, ends with an error and never listens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

from confide import plugins
from confide.apps.serving import listen, serve
from confide.attest.collector import Collector
from confide.attest.platforms import hardware
from confide.attest.platforms.nvidia.collect import gpu_statement
from confide.config.enclave import BackendSettings, EnclaveSettings
from confide.enclave.app import EnclaveApp, EnclaveParts
from confide.enclave.grants import GrantVerifier
from confide.enclave.inference.backend import MODEL_TYPES, UNTYPED, Backend
from confide.enclave.inference.catalog import CatalogEntry
from confide.enclave.inference.factory import build_backend
from confide.enclave.inference.router import Router
from confide.enclave.intake import Door, DoorTerms
from confide.enclave.keyring import DocumentTerms, Keyring
from confide.enclave.manifest import (
    GpuState,
    Manifest,
    MeasuredBackend,
    MeasuredModel,
    weights_digest,
)
from confide.enclave.metrics import EnclaveMetrics
from confide.enclave.quoting import Quoting
from confide.enclave.replay import ReplayCache
from confide.enclave.usage_ledger import UsageLedger
from confide.errors import ConfigError
from confide.sealing.padding import PaddingProfile
from confide.telemetry import logs

__all__ = ["Measurement", "build_enclave", "hardware_collector", "measure", "serve_enclave"]


class Measurement(NamedTuple):
    """What report_data will commit to, besides the key document.

    Attributes:
        settings: The settings.
        settings_sha256: SHA-256 of the settings file, 32 bytes.
        manifest: Release, models and settings digest.
    """

    settings: EnclaveSettings
    settings_sha256: bytes
    manifest: Manifest


def measure(config_path: Path) -> Measurement:
    """Read the settings file and compute the manifest; hashes every model file it names.

    Raises:
        ConfigError: The file, or a model file it names, cannot be used.
    """
    settings, digest = EnclaveSettings.load(config_path)
    return Measurement(settings, digest, _manifest(settings, digest))


def build_enclave(
    measurement: Measurement,
    *,
    collector: Collector,
    now: Callable[[], float] = time.time,  # noqa: TID251 - composition root
    backends: dict[str, Backend] | None = None,
) -> EnclaveApp:
    """Wire one enclave. Keys are born here; backends start with the application's lifespan.

    Args:
        measurement: From `measure`.
        collector: Makes evidence.
        now: Unix time in seconds.
        backends: Backends by name, for tests. Default: those of the settings.

    Raises:
        ConfigError: A backend cannot be built as it is set up.
    """
    settings, _, manifest = measurement
    door, padding = settings.enclave, settings.padding
    document = DocumentTerms(
        manifest.sha256,
        authorities=door.authorities,
        max_body=door.max_body,
        padding_profile=padding.profile,
        tick_ms=padding.tick_ms,
    )
    keyring = Keyring(document, now, lifetime_s=door.key_lifetime_s, grace_s=door.key_grace_s)
    replay = ReplayCache(
        now, capacity=door.replay_capacity, past_s=document.past_s, future_s=document.future_s
    )
    grants = GrantVerifier(door.grant_key, now)
    ledger = UsageLedger(keyring.sign_usage, keyring.boot_id, now, capacity=door.usage_capacity)
    router = _router(settings, now, backends)
    metrics = _metrics(keyring, replay, ledger)
    entrance = Door(
        _door_terms(settings),
        keyring=keyring,
        grants=grants,
        replay=replay,
        router=router,
        ledger=ledger,
        metrics=metrics,
    )
    return EnclaveApp(
        EnclaveParts(
            door=entrance,
            keyring=keyring,
            quoting=Quoting(collector, manifest.sha256, now),
            grants=grants,
            ledger=ledger,
            router=router,
            metrics=metrics,
            manifest=manifest.encode(),
            platform=collector.platform,
            simulated=collector.simulated,
        )
    )


def hardware_collector(platform: str | None, *, gpus: int = 0, gpu_mode: str = "SPT") -> Collector:
    """Find the collector of the TEE that the settings name.

    Args:
        platform: Such as "sev-snp". What this version does not collect on itself is the
            entry point ``<platform>.collect`` of a plug-in.
        gpus: How many GPUs the evidence covers.
        gpu_mode: "SPT" or "MPT".

    Raises:
        ConfigError: No platform is named or installed, or the plug-in is not for hardware.
            Simulated evidence is never the fallback.
    """
    if platform is not None and platform in hardware.COLLECTORS:
        return hardware.hardware_collector(platform, gpus=gpus, gpu_mode=gpu_mode)
    if platform is None or f"{platform}.collect" not in plugins.offered(plugins.PLATFORMS):
        raise ConfigError(
            "no supported TEE was found; an enclave is not served without one",
            hint="confide doctor shows the platform to set; to try confide without: confide up",
        )
    if gpus:
        raise ConfigError(f"the plug-in of platform {platform!r} does not collect for GPUs")
    make = plugins.load(plugins.PLATFORMS, f"{platform}.collect")
    collector = cast("Collector", make()) if callable(make) else None
    if collector is None or collector.simulated or collector.platform != platform:
        raise ConfigError(f"the plug-in of platform {platform!r} does not collect for hardware")
    return collector


def serve_enclave(config_path: Path, *, collector: Collector | None = None) -> None:
    """Serve an enclave until a stop signal; streams may finish for `drain_s` seconds.

    Args:
        config_path: The measured settings file.
        collector: Makes evidence. Default: that of the platform the settings name.

    Raises:
        ConfideError: It could not start; nothing was served.
    """
    measurement = measure(config_path)
    door = measurement.settings.enclave
    if collector is None:
        collector = hardware_collector(door.platform, gpus=door.gpus, gpu_mode=door.gpu_mode)
    logs.configure("info", sys.stderr)
    app = build_enclave(measurement, collector=collector)
    # Nothing listens, and no backend starts, before the machine has proved itself.
    app.prove()
    with listen(door.host, door.port) as listener:
        logs.event(
            "enclave-starting",
            host=door.host,
            port=listener.getsockname()[1],
            platform=collector.platform,
            simulated=collector.simulated,
            manifest_sha256=measurement.manifest.sha256.hex(),
        )
        serve(app, listener, drain_s=door.drain_s, startup_error=lambda: app.startup_error)


def _door_terms(settings: EnclaveSettings) -> DoorTerms:
    door, padding = settings.enclave, settings.padding
    return DoorTerms(
        authorities=frozenset(door.authorities),
        max_body=door.max_body,
        max_requests=door.max_requests,
        profile=PaddingProfile.parse(padding.profile, padding.tick_ms),
    )


def _router(
    settings: EnclaveSettings, now: Callable[[], float], backends: dict[str, Backend] | None
) -> Router:
    if backends is None:
        backends = {
            one.name: build_backend(one.kind, one.name, one.options) for one in settings.backends
        }
    entries = [
        CatalogEntry(
            model.name,
            model.backends,
            model_class=model.model_class,
            backend_model=model.backend_model,
            operations=UNTYPED if model.type is None else MODEL_TYPES[model.type],
        )
        for model in settings.models
    ]
    return Router(entries, backends, now)


def _metrics(keyring: Keyring, replay: ReplayCache, ledger: UsageLedger) -> EnclaveMetrics:
    metrics = EnclaveMetrics()
    metrics.watch(
        "confide_enclave_key_age_seconds", "Age of the current key.", lambda: keyring.key_age_s
    )
    metrics.watch(
        "confide_enclave_replay_entries", "Requests remembered.", lambda: float(len(replay))
    )
    metrics.watch(
        "confide_enclave_usage_pending",
        "Usage statements that the gateway has not acknowledged.",
        lambda: float(len(ledger)),
    )
    return metrics


def _manifest(settings: EnclaveSettings, settings_sha256: bytes) -> Manifest:
    measured = {backend.name: _measure_backend(backend) for backend in settings.backends}
    models = [
        MeasuredModel(
            model.name, model.model_class, tuple(measured[name] for name in model.backends)
        )
        for model in settings.models
    ]
    door = settings.enclave
    gpus = _gpu_state(gpu_statement(door.gpus, door.gpu_mode)) if door.gpus else None
    return Manifest(f"confide {version('confide')}", models, settings_sha256, gpus)


def _gpu_state(stated: Mapping[str, object]) -> GpuState:
    # `NvidiaCollector` refuses to report GPUs that are not as stated here.
    return GpuState(**stated)  # type: ignore[arg-type]


def _measure_backend(backend: BackendSettings) -> MeasuredBackend:
    weights = backend.options.get("model_path")
    digest = weights_digest(Path(weights)) if isinstance(weights, str) else None
    return MeasuredBackend(backend.name, backend.kind, digest)
