"""What a hardware platform plugs in, and where plug-ins are found.

A platform turns the bytes of one kind of processor into claims: it checks the chain to
the vendor's root, revocation and the signature, and appraises nothing. Entry points of
the group ``confide.platforms`` are called ``<type>.verify`` and ``<type>.collect``. Only
those that configuration names are loaded, a built-in type cannot be replaced, and the
simulated type can never be offered.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, cast

from confide.attest.endorsements import EndorsementSource
from confide.attest.evidence import EvidenceKind
from confide.attest.factors import FactorSheet, FactorSpec
from confide.errors import ConfigError

__all__ = [
    "BUILT_IN",
    "Authenticated",
    "BuiltIn",
    "EvidenceVerifier",
    "Processor",
    "load_platforms",
    "with_built_ins",
]


class Processor(StrEnum):
    """Which member of the envelope a platform's reports belong into."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True)
class Authenticated:
    """What a platform read from a report whose signature and chain hold.

    Attributes:
        claims: Claims by name; see `confide.attest.claims`.
        report_data: What the report commits to: 64 bytes of a CPU, 32 of a GPU.
        expires_at: Earliest end of all collateral used.
        summary: One line for people, such as "AMD SEV-SNP report, Genoa".
    """

    claims: Mapping[str, object] = field(repr=False)
    report_data: bytes = field(repr=False)
    expires_at: datetime
    summary: str


class EvidenceVerifier(Protocol):
    """Checks the reports of one kind of processor."""

    @property
    def type(self) -> str:
        """The envelope's `type`, such as "sev-snp"."""
        ...

    @property
    def processor(self) -> Processor:
        """Whether its reports are a `cpu` or among the `gpus`; never both."""
        ...

    @property
    def factors(self) -> tuple[FactorSpec, ...]:
        """Factors that `authenticate` reports on the sheet, beyond those of every platform."""
        ...

    def authenticate(
        self,
        report: bytes,
        *,
        aux: Mapping[str, bytes],
        endorsements: EndorsementSource,
        sheet: FactorSheet,
        at: datetime,
    ) -> Authenticated:
        """Check chain, revocation and signature; judge nothing.

        Args:
            report: As the processor gave it, untrusted.
            aux: Further parts of the envelope, untrusted.
            endorsements: Where vendor-signed data is found, untrusted.
            sheet: Takes the outcome of this platform's own factors.
            at: Now.

        Raises:
            AttestationError: Not genuine. No other exception, whatever the bytes are.
        """
        ...


class BuiltIn(Mapping[str, EvidenceVerifier]):
    """Platforms that are imported when they are first asked for.

    Args:
        targets: "module:class" by type; a class is made without arguments, once.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)
        self._made: dict[str, EvidenceVerifier] = {}

    def __getitem__(self, name: str) -> EvidenceVerifier:
        if name not in self._made:
            module, _, kind = self._targets[name].partition(":")
            self._made[name] = getattr(importlib.import_module(module), kind)()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __repr__(self) -> str:
        return "BUILT_IN"


BUILT_IN: Final[Mapping[str, EvidenceVerifier]] = BuiltIn(
    {
        "azure-sev-snp": "confide.attest.platforms.azure.verifier:AzureSnpVerifier",
        "azure-tdx": "confide.attest.platforms.azure.verifier:AzureTdxVerifier",
        "nvidia-spdm": "confide.attest.platforms.nvidia.verify:NvidiaVerifier",
        "sev-snp": "confide.attest.platforms.snp.verifier:SnpVerifier",
        "tdx": "confide.attest.platforms.tdx.verifier:TdxVerifier",
    }
)
"""Platforms this version verifies without any plug-in."""


class _Joined(Mapping[str, EvidenceVerifier]):
    """Built-in platforms and others; looking at the names imports nothing."""

    def __init__(
        self, first: Mapping[str, EvidenceVerifier], second: Mapping[str, EvidenceVerifier]
    ) -> None:
        self._parts = (first, second)

    def __getitem__(self, name: str) -> EvidenceVerifier:
        for part in self._parts:
            if name in part:
                return part[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for part in self._parts for name in part))

    def __len__(self) -> int:
        return len(set(self))


def with_built_ins(extra: Mapping[str, EvidenceVerifier]) -> Mapping[str, EvidenceVerifier]:
    """Return the built-in platforms and `extra`.

    Raises:
        ConfigError: One of `extra` would replace a built-in type, is listed under a name
            that is not its type, or claims the simulated type.
    """
    if isinstance(extra, (BuiltIn, _Joined)):
        return _Joined(BUILT_IN, {}) if isinstance(extra, BuiltIn) else extra
    for name, platform in extra.items():
        if name != platform.type:
            raise ConfigError(f"platform {platform.type!r} is listed as {name!r}")
        if name == EvidenceKind.SOFTWARE_DEV:
            raise ConfigError("simulated evidence is not a hardware platform")
        if name in BUILT_IN and BUILT_IN[name] is not platform:
            raise ConfigError(f"platform {name!r} is built in and cannot be replaced")
    return _Joined(BUILT_IN, extra)


def load_platforms(types: Iterable[str]) -> Mapping[str, EvidenceVerifier]:
    """Load the named plug-ins and return them with the built-in platforms.

    Args:
        types: Types that configuration names, such as "sev-snp".

    Raises:
        ConfigError: Not installed, offered twice, or refused by `with_built_ins`.
    """
    return with_built_ins({name: _load(name) for name in types})


def _load(name: str) -> EvidenceVerifier:
    if name in BUILT_IN:
        return BUILT_IN[name]
    # Imported here: reading package metadata costs the SDK 20 ms, and few name a plug-in.
    from confide import plugins

    make = plugins.load(plugins.PLATFORMS, f"{name}.verify")
    if not callable(make):
        raise ConfigError(f"the plug-in of platform {name!r} is not a class")
    return cast("EvidenceVerifier", make())
