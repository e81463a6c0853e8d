"""Read the table `[snp]` of a policy file.

    [snp]
    signers = ["vcek"]                 # add "vlek" and csp_id on AWS
    max_vmpl = 0
    allow_migration_agent = false
    allow_smt = true
    allow_cxl = false
    min_guest_svn = 0
    min_abi = "1.55"                   # of the firmware that runs
    require_alias_check = true
    platform_info_unknown = "deny"     # "allow" on Turin, whose firmware sets newer bits
    crl = "required"                   # or "optional"

    [snp.min_tcb.Genoa]
    bootloader = 10
    tee = 0
    snp = 23
    microcode = 84

A key that is left out has the strict value above, but for `allow_smt`, which is then false.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confide.attest.platforms.snp.requirements import (
    COMPONENTS,
    SnpCrl,
    SnpDigests,
    SnpLaunch,
    SnpLimits,
    SnpSigner,
    SnpTcb,
)
from confide.attest.policy import AllOf, Requirement
from confide.attest.policy_values import (
    invalid,
    only,
    read_choice,
    read_digest,
    read_each,
    read_flag,
    read_hex,
    read_integer,
    read_table,
    read_text,
    read_version,
)

__all__ = ["KEYS", "read"]

_PERMISSIONS: Final = {
    "allow_migration_agent": "migration",
    "allow_smt": "smt",
    "allow_cxl": "cxl",
}
_DIGESTS: Final = {
    "id_key_digests": "id_key_digest",
    "author_key_digests": "author_key_digest",
    "host_data": "host_data",
}
_LENGTHS: Final = {"id_key_digest": 48, "author_key_digest": 48, "host_data": 32}
KEYS: Final = (
    "signers",
    "csp_id",
    "max_vmpl",
    *_PERMISSIONS,
    "min_guest_svn",
    "min_abi",
    "require_alias_check",
    "platform_info_unknown",
    "crl",
    *_DIGESTS,
    "min_tcb",
)
"""Keys of the table."""


def read(table: Mapping[str, object]) -> Requirement:
    """Make a requirement of the table.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid.
    """
    only(table, "[snp]", KEYS)
    permitted = {
        claim
        for key, claim in _PERMISSIONS.items()
        if read_flag(table.get(key, False), f"snp.{key}")
    }
    alias_check = read_flag(table.get("require_alias_check", True), "snp.require_alias_check")
    parts: list[Requirement] = [
        _signer(table),
        SnpTcb(_floors(table.get("min_tcb"))),
        SnpLaunch(
            absent=frozenset({*_PERMISSIONS.values(), "policy_reserved"} - permitted),
            present=frozenset({"alias_check"} if alias_check else ()),
        ),
        SnpLimits(
            max_vmpl=read_integer(table.get("max_vmpl", 0), "snp.max_vmpl", low=0, high=3),
            min_guest_svn=read_integer(
                table.get("min_guest_svn", 0), "snp.min_guest_svn", low=0, high=2**32 - 1
            ),
            min_firmware=read_version(table.get("min_abi", "1.55"), "snp.min_abi"),
            unknown_platform_bits=read_choice(
                table.get("platform_info_unknown", "deny"),
                "snp.platform_info_unknown",
                ("allow", "deny"),
            ),
        ),
    ]
    if read_choice(table.get("crl", "required"), "snp.crl", ("required", "optional")) == "required":
        parts.append(SnpCrl())
    accepted = {
        claim: _digests(table[key], f"snp.{key}", claim)
        for key, claim in _DIGESTS.items()
        if key in table
    }
    if accepted:
        parts.append(SnpDigests(accepted))
    return AllOf(*parts)


def _signer(table: Mapping[str, object]) -> SnpSigner:
    def kind(value: object, where: str) -> str:
        return read_choice(value, where, ("vcek", "vlek"))

    kinds = read_each(table.get("signers", ["vcek"]), "snp.signers", kind)
    clouds = read_each(table["csp_id"], "snp.csp_id", read_text) if "csp_id" in table else ()
    if ("vlek" in kinds) != bool(clouds):
        raise invalid("snp.csp_id", "needed with the signer vlek, and with nothing else")
    return SnpSigner(frozenset(kinds), frozenset(clouds))


def _digests(value: object, where: str, claim: str) -> frozenset[bytes]:
    length = _LENGTHS[claim]

    def one(entry: object, name: str) -> bytes:
        # Zero is a real value of HOST_DATA: a host that puts nothing in.
        read_one = read_hex if claim == "host_data" else read_digest
        return read_one(entry, name, length)

    return frozenset(read_each(value, where, one))


def _floors(value: object) -> Mapping[str, Mapping[str, int]]:
    floors = {}
    for name, components in read_table(value, "snp.min_tcb").items():
        where = f"snp.min_tcb.{name}"
        product, _, model = name.partition("/")
        wanted = COMPONENTS.get(product)
        if wanted is None:
            raise invalid(where, f"no product; known: {', '.join(COMPONENTS)}")
        if model and not (
            len(model) == 4 and model[:2] == "0x" and set(model[2:]) <= set("0123456789abcdef")
        ):
            raise invalid(where, 'not a product and a model such as "Genoa/0xa0"')
        table = read_table(components, where)
        only(table, where, wanted)
        floors[name] = {
            part: read_integer(table.get(part), f"{where}.{part}", low=0, high=255)
            for part in wanted
        }
    return floors
