"""Every key of a policy file: what it says in words, and which way it loosens.

The reference page, `confide policy check` and `confide policy diff` are made of this table;
a test compares it with what the readers accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["KEYS", "Direction", "Key"]


class Direction(Enum):
    """What a change of a value means."""

    NEUTRAL = "a change is neither looser nor tighter"
    FLOOR = "lower is looser"
    CEILING = "higher is looser"
    PERMISSION = "true is looser"
    DEMAND = "false is looser"
    ACCEPTED = "each further entry is looser"
    NARROWING = "each further entry is looser, and leaving it out is loosest"
    ORDERED = "later in the list of values is looser"


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        says: What it demands, as the beginning of a sentence that its value ends.
        direction: What a change means.
        default: What an absent key means; None if it must be there or demands nothing.
        values: Accepted words, tightest first.
        form: What the value looks like.
    """

    says: str
    direction: Direction
    default: object = None
    values: tuple[str, ...] = ()
    form: str = "text"


_D = Direction

KEYS: Final[Mapping[str, Key]] = {
    "version": Key("version of the file's format:", _D.NEUTRAL, form="1"),
    "name": Key("name, part of every result:", _D.NEUTRAL),
    "not_after": Key("accepts nothing from", _D.CEILING, form="date and time with a zone"),
    "profile": Key(
        "is for", _D.ORDERED, "production", ("production", "lab"), form="production, lab"
    ),
    "require_nonce": Key(
        "answers a fresh challenge:", _D.DEMAND, default=True, form="true, the only value"
    ),
    "workload": Key("accepted workloads:", _D.ACCEPTED, form="tables, at least one"),
    "snp.signers": Key(
        "SEV-SNP reports are signed by", _D.ACCEPTED, ["vcek"], form="list of vcek, vlek"
    ),
    "snp.csp_id": Key(
        "VLEK certificates name the cloud", _D.NARROWING, form="list of text; with vlek only"
    ),
    "snp.max_vmpl": Key("reports come from privilege level at most", _D.CEILING, 0, form="0 to 3"),
    "snp.allow_debug": Key(
        "the host may read the guest's memory:", _D.PERMISSION, False, form="false, the only value"
    ),
    "snp.allow_migration_agent": Key(
        "a migration agent may move the guest:", _D.PERMISSION, False, form="true, false"
    ),
    "snp.allow_smt": Key(
        "both threads of a core may run:", _D.PERMISSION, False, form="true, false"
    ),
    "snp.allow_cxl": Key(
        "memory on a CXL bus may be used:", _D.PERMISSION, False, form="true, false"
    ),
    "snp.min_guest_svn": Key(
        "security version of the ID block is at least", _D.FLOOR, 0, form="number"
    ),
    "snp.min_abi": Key(
        "the processor's firmware is at least version", _D.FLOOR, "1.55", form="major.minor"
    ),
    "snp.require_alias_check": Key(
        "memory was tested for aliases (BadRAM):", _D.DEMAND, default=True, form="true, false"
    ),
    "snp.platform_info_unknown": Key(
        "platform facts that this version does not know:",
        _D.ORDERED,
        "deny",
        ("deny", "allow"),
        form="deny, allow",
    ),
    "snp.crl": Key(
        "AMD's revocation list is",
        _D.ORDERED,
        "required",
        ("required", "optional"),
        form="required, optional",
    ),
    "snp.id_key_digests": Key(
        "the ID block is signed by a key with digest", _D.NARROWING, form="list of 96 hex digits"
    ),
    "snp.author_key_digests": Key(
        "the ID key is signed by a key with digest", _D.NARROWING, form="list of 96 hex digits"
    ),
    "snp.host_data": Key("HOST_DATA is", _D.NARROWING, form="list of 64 hex digits"),
    "snp.min_tcb": Key(
        "lowest accepted firmware, by product and component:",
        _D.FLOOR,
        form="table of tables of 0 to 255",
    ),
    "tdx.allow_debug": Key(
        "the host may read the guest's memory:", _D.PERMISSION, False, form="false, the only value"
    ),
    "tdx.allow_status": Key(
        "Intel's verdict on the platform is",
        _D.ACCEPTED,
        form="list of words, or of tables with status, until and advisories",
    ),
    "tdx.min_tcb_evaluation_number": Key(
        "Intel's TCB data have at least number", _D.FLOOR, form="number"
    ),
    "tdx.sept_ve": Key(
        "unseen page faults by the host are",
        _D.ORDERED,
        "disabled",
        ("disabled", "paravisor"),
        form="disabled, paravisor",
    ),
    "tdx.require_sept_ve_disable": Key(
        "another way to write sept_ve:", _D.NEUTRAL, form="true, the only value"
    ),
    "tdx.service_td": Key(
        "accepted service TDs have digest", _D.ACCEPTED, form="list of 96 hex digits"
    ),
    "tdx.allow_service_td": Key(
        "any service TD is accepted:", _D.NEUTRAL, form="false, the only value"
    ),
    "tdx.mr_seam": Key("the TDX module has digest", _D.NARROWING, form="list of 96 hex digits"),
    "tdx.eventlog": Key("the event log is", _D.NARROWING, form="required"),
    "azure.paravisor": Key(
        "the hardware launched a paravisor with measurement",
        _D.ACCEPTED,
        form="list of 96 hex digits; this or paravisor_id_keys",
    ),
    "azure.paravisor_id_keys": Key(
        "or SEV-SNP launched one signed by a key with digest",
        _D.ACCEPTED,
        form="list of 96 hex digits",
    ),
    "azure.pcrs": Key(
        "PCRs of the virtual TPM are", _D.NARROWING, form="table of 64 hex digits or lists of them"
    ),
    "azure.vm": Key(
        "the paravisor states of the machine", _D.NARROWING, form="table of true, false or text"
    ),
    "platforms.snp_chip_ids": Key(
        "SEV-SNP runs on a chip of the list:", _D.NARROWING, form="list of 128 hex digits"
    ),
    "platforms.tdx_platform_ids": Key(
        "TDX runs on a platform of the list:", _D.NARROWING, form="list of 32 or 64 hex digits"
    ),
    "platforms.gpu_serials": Key(
        "every GPU and switch is of the list:", _D.NARROWING, form="list of hex digits"
    ),
    "key.document_sha256": Key("the key document is", _D.NEUTRAL, form="64 hex digits"),
    "nvidia.required": Key("GPUs are demanded:", _D.DEMAND, default=True, form="true, false"),
    "nvidia.count": Key("GPUs, exactly", _D.NEUTRAL, form="1 to 16"),
    "nvidia.switches": Key("NVSwitches, exactly", _D.NEUTRAL, 0, form="0 to 16"),
    "nvidia.modes": Key("GPU modes:", _D.ACCEPTED, form="list of SPT, MPT, PPCIE"),
    "nvidia.arch": Key("GPU architectures:", _D.ACCEPTED, form="list of HOPPER, BLACKWELL"),
    "nvidia.firmware_id": Key(
        "naming the firmware that a GPU's certificate was issued for is",
        _D.ORDERED,
        "required",
        ("required", "optional"),
        form="required, optional",
    ),
    "nvidia.revocation": Key(
        "withdrawn GPUs are found by",
        _D.ORDERED,
        None,
        ("stapled-ocsp", "crl", "none"),
        form="stapled-ocsp, crl, none",
    ),
    "nvidia.golden": Key(
        "reference values of drivers and VBIOS:", _D.ACCEPTED, form="tables, at least one"
    ),
}
"""Keys by their path in the file. Keys below `workload`, `snp.min_tcb`, `azure.pcrs`,
`azure.vm` and `nvidia.golden` are described with their table."""
