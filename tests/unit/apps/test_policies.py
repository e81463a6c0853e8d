"""The settings of proxy and gateway decide where the verifier looks for endorsements."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.policies import example_policy
from tests.unit.attest.enclave_double import MANIFEST, NONCE, Enclave, key_document

from confide.apps import gateway, proxy
from confide.attest.collateral import EndorsementCache, encode_bundle
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.attest.evidence import CpuReport
from confide.attest.factors import Outcome
from confide.config.gateway import GatewaySettings
from confide.config.proxy import ProxySettings
from confide.errors import ConfigError

SNP = Path(__file__).parents[2] / "vectors" / "attestation" / "snp"
REPORT = (SNP / "milan-v2/report.bin").read_bytes()
VEK = EndorsementKey("snp/vek", f"Milan/{REPORT[0x1A0:0x1E0].hex()}/{REPORT[0x180:0x188].hex()}")
HELD = [
    Endorsement(VEK, (SNP / "milan-v2/vcek.der").read_bytes(), "test"),
    Endorsement(
        EndorsementKey("snp/chain", "Milan"), (SNP / "roots/milan.pem").read_bytes(), "test"
    ),
]


@pytest.fixture
def settings(tmp_path):
    """Settings of a program by its name, with further ones."""
    policy = example_policy(tmp_path)

    def make(program, **more):
        more = {"policy_file": policy, "endorsements": tmp_path / "endorsements"} | more
        if program is proxy:
            return ProxySettings(gateway_url="https://g.test", **more)
        return GatewaySettings(database=tmp_path / "gateway.db", **more)

    return make


def genuine(verifier):
    """Whether a recorded report is found to be AMD's."""
    now = datetime.now(UTC)
    start = int(now.timestamp())
    document = key_document(not_before=start - 60, not_after=start + 3600)
    evidence = replace(Enclave(), document=document).evidence()
    raw = replace(evidence, cpu=CpuReport("sev-snp", REPORT), collateral={}).encode()
    found = verifier.explain(raw, document=document, manifest=MANIFEST, nonce=NONCE, at=now)
    outcomes = {factor.name: factor.outcome for factor in found.factors}
    return outcomes["hardware root"] is Outcome.PASS


@pytest.mark.parametrize("program", [proxy, gateway])
def test_the_directory_of_the_settings_is_looked_into(settings, tmp_path, program):
    verifier = program.policy_verifier(settings(program))
    assert not genuine(verifier)
    cache = EndorsementCache(tmp_path / "endorsements")
    for one in HELD:
        cache.add(one, at=0)
    assert genuine(verifier)


def test_the_files_of_the_settings_are_looked_into(settings, tmp_path):
    file = tmp_path / "carried.json"
    file.write_bytes(encode_bundle(HELD))
    assert genuine(proxy.policy_verifier(settings(proxy, endorsement_files=(file,))))


def test_a_file_that_is_not_there_stops_the_start(settings, tmp_path):
    with pytest.raises(ConfigError):
        proxy.policy_verifier(settings(proxy, endorsement_files=(tmp_path / "none.json",)))


@pytest.mark.parametrize("program", [proxy, gateway])
def test_without_a_policy_there_is_no_verifier(settings, program):
    with pytest.raises(ConfigError):
        program.policy_verifier(settings(program, policy_file=None))
