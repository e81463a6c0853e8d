"""Predict the SEV-SNP launch digest of an image (extra `measure`).

The digest covers the firmware, through it the hashes of kernel, initial ramdisk and command
line, and the first state of every virtual processor. So it differs with their number and
type, and with the features that the host's kernel switches on: a release lists one value
per machine shape. The calculation is `sev-snp-measure`'s (virtee, Apache-2.0); this module
names shapes, and turns its errors into ours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from confide.attest.workloads import SNP_PRODUCTS
from confide.errors import ConfigError

__all__ = ["MAX_FIRMWARE", "MAX_VCPUS", "Hypervisor", "Image", "Shape", "launch_digest"]

MAX_VCPUS: Final = 4096
MAX_FIRMWARE: Final = 64 * 1024 * 1024
_DIGEST: Final = 48
_FAMILIES: Final = {"EPYC-Milan": "Milan", "EPYC-Genoa": "Genoa", "EPYC-Turin": "Turin"}


class Hypervisor(StrEnum):
    """Who starts the guest: each fills the first state of the processors differently."""

    QEMU = "qemu"
    EC2 = "ec2"
    GCE = "gce"


@dataclass(frozen=True)
class Shape:
    """One kind of machine.

    Attributes:
        product: What signs its reports: "Milan", "Genoa" or "Turin".
        vcpus: 1 to 4096.
        vcpu_type: QEMU's name of the processor, such as "EPYC-Genoa"; None on EC2 and GCE,
            which do not measure it.
    """

    product: str
    vcpus: int
    vcpu_type: str | None = None

    def __post_init__(self) -> None:
        if self.product not in SNP_PRODUCTS:
            raise ConfigError(f"{self.product!r} is not one of {', '.join(SNP_PRODUCTS)}")
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise ConfigError(f"{self.vcpus} virtual processors; from 1 to {MAX_VCPUS}")

    @classmethod
    def parse(cls, text: str, hypervisor: Hypervisor) -> Shape:
        """Read "EPYC-Genoa:16", "EPYC-v4:16@Genoa", or "Genoa:16" on EC2 and GCE.

        Raises:
            ConfigError: Another form, or a type that says nothing about the product.
        """
        kind, colon, rest = text.partition(":")
        count, _, product = rest.partition("@")
        if not colon or not count.isascii() or not count.isdecimal() or len(count) > 4:
            raise ConfigError(
                f"{text!r} is no machine shape", hint="write TYPE:VCPUS, such as EPYC-Genoa:16"
            )
        if hypervisor is not Hypervisor.QEMU:
            return cls(product or kind, int(count))
        family = "-".join(kind.split("-")[:2])
        product = product or _FAMILIES.get(family, "")
        if not product:
            raise ConfigError(
                f"{kind!r} does not say which product it runs on",
                hint=f"write {kind}:{count}@Genoa",
            )
        return cls(product, int(count), kind)


@dataclass(frozen=True)
class Image:
    """What is started.

    Attributes:
        ovmf: Firmware; the AmdSev build, if there is a kernel.
        kernel: Measured through the firmware's table of hashes; None to measure none.
        initrd: With a kernel only.
        cmdline: With a kernel only. Put the root hash of the file system here.
        ovmf_digest: 48 bytes: digest of the firmware from elsewhere. `ovmf` is then read
            for its tables only.
    """

    ovmf: Path
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    ovmf_digest: bytes = b""

    def __post_init__(self) -> None:
        if self.kernel is None and (self.initrd is not None or self.cmdline):
            raise ConfigError("initrd and command line are measured with a kernel only")
        if self.ovmf_digest and len(self.ovmf_digest) != _DIGEST:
            raise ConfigError(f"the digest of the firmware is {_DIGEST} bytes")
        for path in (self.ovmf, self.kernel, self.initrd):
            if path is not None and not path.is_file():
                raise ConfigError(f"cannot read {path}: no such file")
        if self.ovmf.stat().st_size > MAX_FIRMWARE:
            raise ConfigError(f"{self.ovmf} is larger than {MAX_FIRMWARE} bytes: no firmware")


def launch_digest(
    image: Image, shape: Shape, *, hypervisor: Hypervisor, guest_features: int
) -> bytes:
    """Predict MEASUREMENT of a report.

    Args:
        image: What is started.
        shape: On which machine.
        hypervisor: By whom.
        guest_features: SEV_FEATURES of the processors' state, 64 bits: 0x1 for SNP alone,
            0x21 where the host's kernel (6.6 or later) adds DebugSwap.

    Returns:
        48 bytes.

    Raises:
        ConfigError: The extra is not installed, the processor type is unknown, or the
            firmware is not one that starts SEV-SNP guests this way.
    """
    try:
        from sevsnpmeasure import guest, vcpu_types
        from sevsnpmeasure.sev_mode import SevMode
        from sevsnpmeasure.vmm_types import VMMType
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"predicting a launch digest needs an extra ({error.name} is not installed)",
            hint="pip install 'confide[measure]'",
        ) from None
    vmm = VMMType.QEMU if hypervisor is Hypervisor.QEMU else VMMType[hypervisor.value]
    if not 1 <= guest_features < 2**64:
        raise ConfigError("guest features are a number of 64 bits with bit 0 (SNP) set")
    if shape.vcpu_type is not None and shape.vcpu_type not in vcpu_types.CPU_SIGS:
        raise ConfigError(
            f"{shape.vcpu_type!r} is no processor type of QEMU",
            hint=f"known: {', '.join(vcpu_types.CPU_SIGS)}",
        )
    try:
        digest = guest.calc_launch_digest(
            SevMode.SEV_SNP,
            shape.vcpus,
            vcpu_types.CPU_SIGS[shape.vcpu_type] if shape.vcpu_type else 0,
            str(image.ovmf),
            str(image.kernel) if image.kernel else "",
            str(image.initrd) if image.initrd else "",
            image.cmdline,
            guest_features,
            image.ovmf_digest.hex(),
            vmm_type=vmm,
        )
    except (RuntimeError, ValueError, AssertionError, KeyError, OSError, struct.error) as error:
        raise ConfigError(
            f"{image.ovmf} cannot be measured: {error}",
            hint="a kernel needs the AmdSev build of OVMF, which has a section for its hashes",
        ) from None
    return bytes(digest)
