"""T-31: an operator's machine runs an enclave that cannot prove itself, and a gateway that does
not care. T-32: someone hands out an older revocation list that is still in date.

Real verifier, gateway and transport; the processor is a test platform, because production roots
refuse every chain that a test can make.
"""

import json
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from tests.doubles.hardware_stack import HardwareStack, a_list
from tests.unit.attest.enclave_double import (
    CPU,
    FLOOR,
    MEASUREMENT,
    Enclave,
    TestPlatform,
)
from tests.unit.gateway.doubles import EnclaveDouble, Gateway, get, sealed, until
from tests.unit.gateway.test_vetting import checks, post

from confide.attest.collateral import EndorsementCache
from confide.attest.policy import AllOf, AppraisalPolicy, MeasurementIn, MinimumTcb, NotDebuggable
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.verifier import Verifier
from confide.client import EncryptedTransport
from confide.errors import AttestationError, EndorsementError
from confide.wire.directory import Directory


class ProvingEnclave(EnclaveDouble):
    """The gateway's socket double, with test hardware; `make` spoils what it shows."""

    make = staticmethod(lambda enclave: enclave)

    async def _plain(self, request):
        path, _, nonce = request.target.partition("?nonce=")
        if "/evidence/" not in path:
            return await super()._plain(request)
        genuine = Enclave(
            document=self.document.raw,
            nonce=bytes.fromhex(nonce),
            manifest_sha256=bytes.fromhex(self.document.manifest_sha256),
        )
        return await self.reply(request, 200, self.make(genuine).collect())


def operators_verifier(document):
    """The operator's policy, in force now."""
    end = datetime.now(UTC) + timedelta(days=30)
    manifest = bytes.fromhex(document.manifest_sha256)
    reference = ReferenceValues("r", end, (ReferenceValue("r", CPU, MEASUREMENT, manifest),))
    policy = AppraisalPolicy(
        AllOf(MeasurementIn(reference), MinimumTcb((FLOOR,)), NotDebuggable()),
        name="operator's",
        not_after=end,
    )
    return Verifier(policy, platforms={CPU: TestPlatform(CPU, expires_at=end)})


def simulated(_):
    """Evidence that says of itself that a program made it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from confide.attest.platforms.simulated.collect import SimulatedCollector

    class Shown:
        @staticmethod
        def collect():
            return SimulatedCollector(Ed25519PrivateKey.generate()).collect(
                document=_.document,
                client_nonce=_.nonce,
                manifest_sha256=_.manifest_sha256,
                now=time.time(),
            )

    return Shown


UNPROVEN = {
    "debuggable": lambda e: e.claiming(debuggable=True),
    "another program": lambda e: e.claiming(measurement="ff" * 48),
    "another key": lambda e: Enclave(nonce=e.nonce, manifest_sha256=e.manifest_sha256),
    "a replayed quote": lambda e: Enclave(
        document=e.document, nonce=bytes(32), manifest_sha256=e.manifest_sha256
    ),
    "simulated": simulated,
}


@pytest.mark.parametrize("name", UNPROVEN)
async def test_the_gateway_routes_nothing_to_an_enclave_that_cannot_prove_itself(tmp_path, name):
    async with ProvingEnclave().serve() as bad:
        bad.make = UNPROVEN[name]
        gateway = Gateway(tmp_path, enclaves=(bad.url,))
        gateway.api_key = gateway.key()
        async with gateway.serve(verifier=operators_verifier(bad.document)):
            await until(lambda: checks(gateway, "refused") >= 1)
            for document in (bad.document.sha256_hex, None):
                status, body = await post(gateway, document)
                assert status in (400, 503)
                assert json.loads(body)["code"] in ("ohttp-key", "no-enclave")
            keys = (await get(gateway.port, "/.well-known/confide/keys"))[2]
            assert Directory.parse(keys).replicas == ()
        assert bad.requests == []


async def test_a_proven_enclave_beside_it_serves_on(tmp_path):
    async with ProvingEnclave().serve() as good, ProvingEnclave(boot_id="cd" * 16).serve() as bad:
        bad.make = UNPROVEN["debuggable"]
        gateway = Gateway(tmp_path, enclaves=(good.url, bad.url))
        gateway.api_key = gateway.key()
        async with gateway.serve(verifier=operators_verifier(good.document)):
            await gateway.ready()
            await until(lambda: checks(gateway, "refused") >= 1)
            assert (await post(gateway, good.document.sha256_hex))[0] == 200
            assert (await post(gateway, bad.document.sha256_hex))[0] in (400, 503)
            assert (await post(gateway))[0] == 200  # both use key id 1; only one may be meant
        assert (len(good.requests), bad.requests) == (2, [])


@pytest.mark.parametrize("name", ["debuggable", "another program"])
def test_a_client_seals_nothing_when_the_gateway_offers_such_an_enclave(name):
    stack = HardwareStack()
    stack.enclave.make = UNPROVEN[name]
    transport = EncryptedTransport(
        stack.url,
        api_key="ck_test",
        verifier=stack.hardware(),
        transport=stack.transport,
        clock=stack.clock,
    )
    with (
        httpx2.Client(transport=transport, base_url="https://confide.invalid") as client,
        pytest.raises(AttestationError),
    ):
        client.post("/v1/chat/completions", content=sealed())
    assert stack.posts == []


def test_an_older_list_is_refused_by_every_later_process(tmp_path):
    stack = HardwareStack()

    def verify():
        transport = EncryptedTransport(
            stack.url,
            api_key="ck_test",
            verifier=stack.hardware(EndorsementCache(tmp_path)),
            transport=stack.transport,
            clock=stack.clock,
        )
        return transport.verify()

    stack.staples = [a_list(18, issued_h=-1)]
    assert len(verify()) == 1
    for older in (a_list(17, issued_h=0), a_list(18, issued_h=-2)):
        stack.staples = [older]
        with pytest.raises(EndorsementError) as caught:
            verify()
        assert caught.value.code == "collateral.rollback"
