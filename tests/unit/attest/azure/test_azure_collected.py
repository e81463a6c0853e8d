"""What the collector makes in a guest of Azure is what the verifier accepts.

Paravisor and virtual TPM are in memory, with real keys; the collector, the metadata service
over HTTP and the verifier are the product's.
"""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from tests.doubles.azure_guest import Metadata
from tests.unit.attest.azure.mint import PCRS, REPORT_DATA, attest, hcl, rsa_key, runtime
from tests.unit.attest.tdx.mint import NOW, World, stapled

from confide.attest.factors import FactorSheet
from confide.attest.platforms.azure.collect import AzureTdxCollector, MetadataService
from confide.attest.platforms.azure.tpm import Quote
from confide.attest.platforms.azure.verifier import AzureTdxVerifier

WORLD = World()


class Guest:
    """A TPM whose paravisor takes our data at once."""

    def __init__(self):
        self.user_data = bytes(64)

    def write_index(self, index, content):
        self.user_data = content

    @property
    def runtime(self):
        return runtime(user_data=self.user_data)

    def read_index(self, index):
        td_report = bytes(128) + hashlib.sha256(self.runtime).digest()
        return hcl(self.runtime, kind=4, hardware=td_report.ljust(1184, b"\0"))

    def quote(self, key, data):
        message = attest(data)
        return Quote(message, rsa_key().sign(message, PKCS1v15(), SHA256()), PCRS)


@pytest.fixture
def metadata():
    service = Metadata()
    yield service
    service.close()


def test_collected_evidence_is_accepted_and_names_our_64_bytes(metadata):
    guest = Guest()
    guest.user_data = REPORT_DATA
    data = hashlib.sha256(guest.runtime).digest() + bytes(32)
    metadata.quote(WORLD.quote(report_data=data, attributes=0, trailing=bytes(70)))
    collector = AzureTdxCollector(
        guest, metadata=MetadataService(metadata.address, timeout_s=10), pause=lambda _: None
    )
    made = collector.report(REPORT_DATA)
    verifier = AzureTdxVerifier(WORLD.verifier())
    genuine = verifier.authenticate(
        made.report,
        aux=made.aux,
        endorsements=stapled(WORLD.collateral()),
        sheet=FactorSheet(verifier.factors),
        at=NOW,
    )
    assert genuine.report_data == REPORT_DATA
    assert genuine.claims["pcrs"]["23"] == PCRS[23].hex()
