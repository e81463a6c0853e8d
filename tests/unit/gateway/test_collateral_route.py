"""The gateway hands out what lies in its directory: bounded, current, and believed by nobody."""

from pathlib import Path

import pytest
from tests.unit.gateway.doubles import Client, Gateway, get

from confide.attest.collateral import EndorsementCache, read_bundle
from confide.attest.endorsements import MAX_ENDORSEMENT, Endorsement, EndorsementKey
from confide.gateway.collateral import MAX_STAPLED

PATH = "/.well-known/confide/collateral"
VECTORS = Path(__file__).parents[2] / "vectors" / "attestation"
CRL = EndorsementKey("snp/crl", "Genoa")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "staples"


@pytest.fixture
async def served(tmp_path, folder):
    gateway = Gateway(tmp_path, endorsements=folder, evidence_per_minute=1_000)
    async with gateway.serve():
        yield gateway


def put(folder, content, key=CRL):
    EndorsementCache(folder).add(Endorsement(key, content, "test"), at=0)


async def staples(gateway):
    status, headers, body = await get(gateway.port, PATH)
    assert status == 200
    assert headers["content-type"] == "application/vnd.confide.collateral+json"
    return read_bundle(body, source="gateway")


async def test_without_a_directory_there_is_nothing_to_hand_out(served):
    assert len(await staples(served)) == 0


async def test_real_endorsements_are_handed_out_byte_for_byte(served, folder):
    content = (VECTORS / "snp/crl/genoa.crl.der").read_bytes()
    put(folder, content)
    (found,) = (await staples(served)).find(CRL)
    assert found.content == content


async def test_a_change_of_the_directory_is_seen_without_a_restart(served, folder):
    assert len(await staples(served)) == 0
    put(folder, b"one")
    assert len(await staples(served)) == 1
    put(folder, b"two", EndorsementKey("snp/crl", "Milan"))
    assert len(await staples(served)) == 2


async def test_what_was_changed_on_disk_is_not_handed_out(served, folder):
    put(folder, b"genuine")
    for path in (folder / "objects").iterdir():
        path.write_bytes(b"poison")
    assert len(await staples(served)) == 0


async def test_more_than_a_mebibyte_is_not_handed_out_and_the_newest_are(served, folder):
    for n in range(6):
        put(folder, bytes([n]) * MAX_ENDORSEMENT, EndorsementKey("snp/crl", str(n)))
    found = await staples(served)
    assert sum(len(one.content) for one in found) <= MAX_STAPLED
    assert {one.key.subject for one in found} == {"5", "4", "3", "2"}


async def test_asking_too_often_is_refused(tmp_path, folder):
    gateway = Gateway(tmp_path, endorsements=folder, evidence_per_minute=2)
    async with gateway.serve():
        assert [(await get(gateway.port, PATH))[0] for _ in range(3)] == [200, 200, 429]


async def test_it_answers_get_only(served):
    client = await Client.connect(served.port)
    client.head("POST", PATH, [("content-length", "0")])
    assert await client.status() == 405
    client.close()
