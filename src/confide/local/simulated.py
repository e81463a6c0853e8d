"""Key material of simulated evidence. INSECURE: proves that the parts fit, nothing else.

The root is an Ed25519 key in the data directory. Whoever can read that file can vouch
for any enclave, which is why no production program accepts it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.attest.platforms.simulated.verify import SimulatedVerifier
from confide.errors import ConfigError
from confide.local.home import Home, write_private

if TYPE_CHECKING:
    from confide.attest.platforms.machine import Machine

__all__ = [
    "BANNER",
    "ensure_root",
    "refuse_beside_hardware",
    "simulated_collector",
    "simulated_verifier",
]

BANNER = (
    "SIMULATED EVIDENCE: no processor protects this enclave. Its host can read every prompt.\n"
    "Fine for trying confide on your own machine; refused by every production client."
)


def ensure_root(home: Home) -> None:
    """Create the simulated root key on first use; keep an existing one."""
    if not home.simulated_root.exists():
        write_private(home.simulated_root, Ed25519PrivateKey.generate().private_bytes_raw())


def _root(home: Home) -> Ed25519PrivateKey:
    try:
        raw = home.simulated_root.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the simulated root {home.simulated_root}: {error.strerror}",
            hint="start the local stack once: confide up",
        ) from error
    if len(raw) != 32:
        raise ConfigError(f"{home.simulated_root} must be 32 bytes, not {len(raw)}")
    return Ed25519PrivateKey.from_private_bytes(raw)


def simulated_collector(home: Home) -> SimulatedCollector:
    """Produce simulated evidence under this machine's root."""
    return SimulatedCollector(_root(home))


def refuse_beside_hardware(host: str, machine: Machine | None = None) -> None:
    """Refuse to simulate where there is hardware, or where others could reach it.

    Args:
        host: Address the enclave will listen on.
        machine: Looks at this machine.

    Raises:
        ConfigError: The address is not loopback, or this machine can prove itself.
    """
    if not _is_loopback(host):
        raise ConfigError(
            f"simulated evidence is served on loopback only, not on {host}",
            hint='set host = "127.0.0.1"; a real enclave is started by: confide enclave serve',
        )
    if machine is None:
        # Imported here: the proxy of the local stack has no use for it.
        from confide.attest.platforms.machine import Machine

        machine = Machine()
    found = machine.hardware()
    if found:
        raise ConfigError(
            f"this machine has {', '.join(found)}; evidence is not simulated beside hardware",
            hint="confide doctor shows the platform to set; then: confide enclave serve",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def simulated_verifier(home: Home | None = None) -> SimulatedVerifier:
    """Accept simulated evidence under this machine's root, and nothing else.

    Args:
        home: Data directory of the local stack. Default: CONFIDE_HOME or the platform's.

    Raises:
        ConfigError: The local stack was never started here.
    """
    public = _root(home or Home.default()).public_key().public_bytes_raw()
    return SimulatedVerifier(public, i_understand_this_is_not_hardware=True)
