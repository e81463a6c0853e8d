"""Only statements that the enclave signed, in an unbroken chain, are booked; the rest is shown."""

from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.gateway.doubles import EnclaveDouble, make_document, until

from confide.gateway.accounts import Accounts
from confide.gateway.ledger import ChainRow
from confide.gateway.metering import verify
from confide.wire.usage import FIRST_PREVIOUS, SignedStatement


@pytest.fixture
def double():
    return EnclaveDouble()


@pytest.fixture
def chain(double):
    document = double.document
    return ChainRow(document.boot_id, "http://e:1", document.usage_key, 0, FIRST_PREVIOUS, None)


def test_a_chain_is_followed_to_its_end(double, chain):
    batch = [double.sign(f"r{number}") for number in range(5)]
    verified = verify(batch, chain)
    assert [row.request_id for row in verified.rows] == ["r0", "r1", "r2", "r3", "r4"]
    assert (verified.chain.through, verified.chain.problem) == (5, None)
    assert verified.rows[0].statement == batch[0].statement


def test_what_was_followed_before_is_skipped(double, chain):
    batch = [double.sign() for _ in range(5)]
    first = verify(batch[:3], chain)
    assert [row.seq for row in verify(batch, first.chain).rows] == [4, 5]
    assert verify(batch, verify(batch, chain).chain).rows == ()


def flip(signed):
    return replace(signed, signature=bytes([signed.signature[0] ^ 1]) + signed.signature[1:])


def edit(signed):
    changed = signed.statement.replace(b'"completion_tokens":32', b'"completion_tokens":16')
    assert changed != signed.statement
    return replace(signed, statement=changed)


@pytest.mark.parametrize("tamper", [flip, edit])
def test_a_statement_that_was_changed_is_refused_with_all_after_it(double, chain, tamper):
    batch = [double.sign() for _ in range(4)]
    batch[2] = tamper(batch[2])
    verified = verify(batch, chain)
    assert [row.seq for row in verified.rows] == [1, 2]
    assert (verified.chain.through, verified.chain.problem) == (2, "bad-signature")


def test_another_key_is_refused(double, chain):
    verified = verify([double.sign(key=Ed25519PrivateKey.generate())], chain)
    assert (verified.rows, verified.chain.problem) == ((), "bad-signature")


def test_a_signature_without_the_label_is_refused(double, chain):
    signed = double.sign()
    bare = replace(signed, signature=double.usage_key.sign(signed.statement))
    assert verify([bare], chain).chain.problem == "bad-signature"


def test_a_dropped_statement_breaks_the_chain(double, chain):
    batch = [double.sign() for _ in range(3)]
    verified = verify([batch[0], batch[2]], chain)
    assert (verified.chain.through, verified.chain.problem) == (1, "broken-chain")


def test_a_statement_that_names_another_predecessor_breaks_the_chain(double, chain):
    batch = [double.sign(), double.sign(previous="11" * 32)]
    verified = verify(batch, chain)
    assert (verified.chain.through, verified.chain.problem) == (1, "broken-chain")


def test_a_skipped_number_breaks_the_chain(double, chain):
    batch = [double.sign(), double.sign(seq=3)]
    verified = verify(batch, chain)
    assert (verified.chain.through, verified.chain.problem) == (1, "broken-chain")


def test_a_statement_of_another_boot_is_refused(double, chain):
    verified = verify([double.sign(boot_id="cd" * 16)], chain)
    assert verified.chain.problem == "other-boot"


def test_a_statement_that_cannot_be_read_is_refused(double, chain):
    raw = b'{"seq":1}'
    verified = verify([SignedStatement(raw, double.usage_key.sign(raw))], chain)
    assert verified.chain.problem == "malformed"


async def test_statements_are_booked_then_acknowledged(gateway, enclave):
    for number in range(3):
        enclave.sign(f"r{number}")
    await until(lambda: enclave.acknowledged == 3)
    assert gateway.rows("SELECT seq, request_id FROM usage_statements ORDER BY seq") == [
        (1, "r0"), (2, "r1"), (3, "r2")
    ]  # fmt: skip
    assert gateway.rows("SELECT statements, prompt_tokens, completion_tokens FROM usage_daily") == [
        (3, 48, 96)
    ]
    enclave.sign("r3")
    await until(lambda: enclave.acknowledged == 4)


async def test_the_enclave_is_asked_with_a_token_of_the_gateway(gateway, enclave):
    enclave.sign()
    await until(lambda: enclave.acknowledged == 1)
    token = enclave.token.removeprefix("Bearer ")
    claims = jwt.decode(
        token,
        gateway.state.grant_key.public_key(),
        algorithms=["EdDSA"],
        audience="confide-enclave",
        issuer="confide-gateway",
    )
    assert jwt.get_unverified_header(token)["typ"] == "confide-usage+jwt"
    assert claims["exp"] - claims["iat"] == 60


async def test_a_restarted_gateway_goes_on_where_it_stopped(gateway, enclave):
    for _ in range(2):
        enclave.sign()
    await until(lambda: enclave.acknowledged == 2)
    gateway.server.should_exit = True
    await until(lambda: not gateway.parts.ledger._thread.is_alive())
    enclave.acknowledged = 0
    enclave.sign()
    async with gateway.serve():
        await until(lambda: enclave.acknowledged == 3)
    assert gateway.rows("SELECT statements FROM usage_daily") == [(3,)]


async def test_a_bad_statement_is_shown_and_never_acknowledged(gateway, enclave):
    enclave.sign("good")
    enclave.sign("bad", key=Ed25519PrivateKey.generate())
    enclave.sign("after")

    def problem():
        return [row[0] for row in gateway.rows("SELECT problem FROM chains")]

    await until(lambda: problem() == ["bad-signature"])
    await until(lambda: enclave.acknowledged == 1)
    assert gateway.rows("SELECT request_id FROM usage_statements") == [("good",)]
    (shown,) = Accounts(gateway.settings.database).chains()
    assert (shown["through"], shown["problem"]) == (1, "bad-signature")
    assert b'outcome="bad-signature"} 1' in gateway.parts.instruments.render()


async def test_another_usage_key_in_the_same_boot_is_not_believed(gateway, enclave):
    enclave.sign()
    await until(lambda: enclave.acknowledged == 1)
    enclave.usage_key = Ed25519PrivateKey.generate()
    enclave.document = make_document(enclave.usage_key)
    registry = gateway.parts.registry
    await until(lambda: registry.enclaves[0].document.sha256 == enclave.document.sha256)
    enclave.sign("forged")
    await until(lambda: gateway.rows("SELECT through, problem FROM chains") == [(1, "other-key")])
    assert gateway.rows("SELECT count(*) FROM usage_statements") == [(1,)]


async def test_a_restarted_enclave_begins_a_new_chain(gateway, enclave):
    enclave.sign()
    await until(lambda: enclave.acknowledged == 1)
    enclave.usage_key = Ed25519PrivateKey.generate()
    enclave.document = make_document(enclave.usage_key, boot_id="cd" * 16)
    enclave.texts, enclave._seq, enclave._previous = [], 0, FIRST_PREVIOUS
    registry = gateway.parts.registry
    await until(lambda: registry.enclaves[0].document.boot_id == "cd" * 16)
    enclave.sign("second boot")
    await until(
        lambda: (
            gateway.rows("SELECT boot_id, through FROM chains ORDER BY boot_id")
            == [("ab" * 16, 1), ("cd" * 16, 1)]
        )
    )
