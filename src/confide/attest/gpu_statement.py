"""What a measured enclave says about its GPUs, in the manifest that report_data binds.

A GPU's own report says neither that confidential mode is on nor that developer tools are
off. The enclave asks the driver, refuses to start if the answer is no, and writes what it
found into its manifest:

    "gpus":{"confidential":true,"count":1,"developer_tools":false,
            "environment":"production","mode":"SPT"}

The digest of the manifest is in the processor's report, and the measurement in that report
names the code that made the statement. So a verifier that accepts the measurement may
believe the statement; nobody else could have made it. Without GPUs the member is absent.

Source: spec/protocol.md section 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from confide.errors import BindingError

__all__ = ["MAX_MANIFEST", "read_gpu_statement"]

MAX_MANIFEST: Final = 1024 * 1024
_MEMBER: Final = "gpus"
_MODES: Final = ("SPT", "MPT", "PPCIE")
_ENVIRONMENTS: Final = ("production", "simulation")
_MAX_COUNT: Final = 16


def read_gpu_statement(manifest: bytes) -> Mapping[str, object]:
    """Return the claims that the manifest states of every GPU.

    Args:
        manifest: The manifest whose digest was compared with report_data. Its other
            members are somebody else's business.

    Returns:
        "confidential", "developer_tools", "environment", "stated_count" and "stated_mode";
        empty if the manifest states nothing, so that a policy about GPUs refuses.

    Raises:
        BindingError: binding.manifest: there is a statement, and it is malformed.
    """
    if len(manifest) > MAX_MANIFEST:
        raise _malformed(f"the manifest is larger than {MAX_MANIFEST} bytes")
    try:
        members = json.loads(manifest, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(members, dict) or _MEMBER not in members:
        return {}
    return _read(members[_MEMBER])


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _malformed("a name occurs twice in the manifest")
    return members


def _read(value: object) -> Mapping[str, object]:
    names = {"confidential", "count", "developer_tools", "environment", "mode"}
    if not isinstance(value, dict) or value.keys() != names:
        raise _malformed(f"its members must be {', '.join(sorted(names))}")
    count = value["count"]
    if type(count) is not int or not 1 <= count <= _MAX_COUNT:
        raise _malformed(f"count must be a number from 1 to {_MAX_COUNT}")
    for name in ("confidential", "developer_tools"):
        if not isinstance(value[name], bool):
            raise _malformed(f"{name} must be true or false")
    for name, words in (("environment", _ENVIRONMENTS), ("mode", _MODES)):
        if value[name] not in words:
            raise _malformed(f"{name} must be one of {', '.join(words)}")
    return {
        "confidential": value["confidential"],
        "developer_tools": value["developer_tools"],
        "environment": value["environment"],
        "stated_count": count,
        "stated_mode": value["mode"],
    }


def _malformed(problem: str) -> BindingError:
    return BindingError(f"statement about GPUs: {problem}", code="binding.manifest")
