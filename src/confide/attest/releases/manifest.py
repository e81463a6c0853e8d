"""What a release says about itself: which measurements it has on which machines.

The payload of the envelope (`dsse`) is JSON:

    {"v":1, "name":"confide", "version":"0.2.0", "counter":7,
     "not_before":<unix s>, "not_after":<unix s>,
     "workloads":[{"name":"confide-0.2.0", "manifest_sha256":"<hex>",
                   "snp":[{"product":"Genoa", "vcpus":16, "measurement":"<hex>"}],
                   "tdx":[{"mr_td":"<hex>", "rtmr0":["<hex>"], ...}]}]}

`workloads` is what a policy file says under `[[workload]]`, so it is copied and not
translated. `counter` grows with every release of that name; see `history`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from confide.attest.reference_values import ReferenceValues
from confide.attest.releases.dsse import Envelope
from confide.attest.releases.keys import ReleaseKeys, require_signatures
from confide.attest.results import LATEST, to_unix
from confide.attest.strict_json import (
    exact_members,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.attest.workloads import Workloads, read_workloads
from confide.errors import EndorsementError, EvidenceError

__all__ = ["RELEASE_TYPE", "Release", "read_release", "unsigned_release"]

RELEASE_TYPE: Final = "application/vnd.confide.release+json"
_MAX_WORKLOADS: Final = 256
_MEMBERS: Final = ("v", "name", "version", "counter", "not_before", "not_after", "workloads")


@dataclass(frozen=True)
class Release:
    """A release whose signatures and dates hold.

    Attributes:
        name: Of the program.
        version: For people, such as "0.2.0".
        counter: Grows with every release of that name.
        not_after: Its values accept nothing at or after this instant.
        workloads: What it accepts.
        tables: The same as plain values, as a policy file lists them.
        payload_sha256: Digest of what was signed, 32 bytes.
        signers: Ids of the keys whose signatures hold.
    """

    name: str
    version: str
    counter: int
    not_after: datetime
    workloads: Workloads = field(repr=False)
    tables: tuple[Mapping[str, object], ...] = field(repr=False)
    payload_sha256: bytes
    signers: tuple[str, ...]

    def reference_values(self) -> ReferenceValues:
        """Return all its values, to be given to `MeasurementIn`."""
        name = f"{self.name} {self.version}"
        return ReferenceValues(name, self.not_after, self.workloads.values)


def unsigned_release(
    *,
    name: str,
    version: str,
    counter: int,
    not_before: datetime,
    not_after: datetime,
    workloads: Sequence[Mapping[str, object]],
) -> Envelope:
    """Write a release, to be signed.

    Raises:
        ConfigError: A client would refuse the workloads.
    """
    read_workloads([dict(one) for one in workloads], name, measured_elsewhere=frozenset())
    payload = {
        "v": 1,
        "name": name,
        "version": version,
        "counter": counter,
        "not_before": to_unix(not_before),
        "not_after": to_unix(not_after),
        "workloads": [dict(one) for one in workloads],
    }
    return Envelope(RELEASE_TYPE, json.dumps(payload, separators=(",", ":")).encode("ascii"), ())


def read_release(raw: bytes, *, keys: ReleaseKeys, at: datetime) -> Release:
    """Read a signed release; nothing of it is looked at before its signatures hold.

    Whoever calls this tells `history.ReleaseHistory` about it before using a value.

    Args:
        raw: The envelope, untrusted.
        keys: Who may sign it.
        at: Now.

    Raises:
        EvidenceError: Malformed, of another type, or with unknown members.
        EndorsementError: reference.signature, reference.threshold, reference.keys_expired,
            reference.expired or reference.not_yet_valid.
        ConfigError: Genuine, but a value is unusable.
    """
    envelope = Envelope.parse(raw)
    signers = require_signatures(envelope, keys)
    keys.require_current(at)
    if envelope.payload_type != RELEASE_TYPE:
        raise EvidenceError("not a release", code="envelope.type")
    members = read_object(envelope.payload, limit=len(envelope.payload))
    exact_members(members, required=_MEMBERS)
    if read_integer(members["v"], "v") != 1:
        raise EvidenceError("unknown version of a release", code="envelope.version")
    not_after = min(read_integer(members["not_after"], "not_after"), LATEST)
    _require_dates(members, not_after, to_unix(at))
    name = read_text(members["name"], "name", limit=128)
    tables = read_list(members["workloads"], "workloads", limit=_MAX_WORKLOADS, item=_table)
    return Release(
        name=name,
        version=read_text(members["version"], "version", limit=64),
        counter=read_integer(members["counter"], "counter"),
        not_after=datetime.fromtimestamp(not_after, tz=UTC),
        workloads=read_workloads(list(tables), name, measured_elsewhere=frozenset()),
        tables=tables,
        payload_sha256=hashlib.sha256(envelope.payload).digest(),
        signers=signers,
    )


def _require_dates(members: Mapping[str, object], not_after: int, now: int) -> None:
    if now >= not_after:
        raise EndorsementError("the release has ended", code="reference.expired")
    if now < read_integer(members["not_before"], "not_before"):
        raise EndorsementError("the release has not begun", code="reference.not_yet_valid")


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EvidenceError("a workload is not an object", code="envelope.json")
    return value
