"""Readers of the platform tables that need no platform: they take floors and nothing else.

The composition is tested with these; `test_policy_platforms.py` reads whole files with the
real ones.
"""

from datetime import UTC, datetime

import pytest

from confide.attest.measurements import MeasurementIn
from confide.attest.policy_values import only, read_each, read_hex, read_integer, read_table
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.requirements import GpuConfidential, MinimumTcb, TcbFloor

END = datetime(2030, 1, 1, tzinfo=UTC)


def read_snp(table):
    only(table, "[snp]", {"min_tcb"})
    floors = read_table(table.get("min_tcb"), "snp.min_tcb")
    return MinimumTcb(
        tuple(
            TcbFloor(platform, product, dict(components))
            for platform in ("sev-snp", "azure-sev-snp")
            for product, components in floors.items()
        )
    )


def read_tdx(table):
    only(table, "[tdx]", {"min_tcb_evaluation_number"})
    number = read_integer(table.get("min_tcb_evaluation_number"), "number", low=1, high=999)
    floor = {"tcb_evaluation_number": number}
    return MinimumTcb(tuple(TcbFloor(name, "TDX", floor) for name in ("tdx", "azure-tdx")))


def read_azure(table):
    only(table, "[azure]", {"measurement", "manifest"})
    manifest = read_hex(table.get("manifest"), "manifest", 32)
    measured = read_each(table.get("measurement"), "m", lambda one, at: read_hex(one, at, 48))
    return MeasurementIn(
        ReferenceValues(
            "azure",
            END,
            tuple(
                ReferenceValue("azure", platform, one, manifest)
                for one in measured
                for platform in ("azure-sev-snp", "azure-tdx")
            ),
        )
    )


def read_nvidia(table):
    only(table, "[nvidia]", {"count"})
    return GpuConfidential(read_integer(table.get("count"), "count", low=1, high=16))


READERS = {
    kind: f"tests.unit.attest.platform_readers:read_{kind}"
    for kind in ("azure", "nvidia", "snp", "tdx")
}


@pytest.fixture
def platform_readers(monkeypatch):
    """Let the tables of a policy file be read by this module."""
    monkeypatch.setattr("confide.attest.policy_file.READERS", READERS)
