"""Every request leaves one signed line in an unbroken chain, or is not begun."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.enclave.inference.backend import Operation, Usage
from confide.enclave.usage_ledger import UsageLedger
from confide.errors import ModelUnavailable
from confide.wire.grants import Grant
from confide.wire.usage import FIRST_PREVIOUS, UsageStatement

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class Clock:
    at = 1000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return UsageLedger(KEY.sign, "ab" * 16, clock, capacity=3)


def grant(usage="exact", request_id="r-1"):
    return Grant.issue(
        domain="acme",
        key_id="key-1",
        models=("*",),
        operations=("chat",),
        request_id=request_id,
        envelope_digest=bytes(32),
        usage=usage,
        now=1000,
    )


def statements(ledger, after=0):
    return [UsageStatement.parse(signed.statement) for signed in ledger.after(after)]


def test_a_line_says_who_what_and_how_it_ended(ledger, clock):
    line = ledger.open_line(grant(), Operation.CHAT)
    clock.at += 1.5
    line.close("complete", Usage(7, 19, "exact"), "small")
    [statement] = statements(ledger)
    assert statement.seq == 1
    assert (statement.domain, statement.key_id, statement.request_id) == ("acme", "key-1", "r-1")
    assert (statement.prompt_tokens, statement.completion_tokens) == (7, 19)
    assert (statement.operation, statement.outcome) == ("chat", "complete")
    assert (statement.precision, statement.model_class) == ("exact", "small")
    assert (statement.started_at, statement.duration_ms) == (1000, 1500)
    assert statement.boot_id == "ab" * 16


@pytest.mark.parametrize(
    ("policy", "precision", "said", "prompt", "completion"),
    [
        ("exact", "exact", "exact", 17, 3),
        ("exact", "estimated", "estimated", 17, 3),
        ("bucketed", "exact", "bucketed", 32, 16),
        ("bucketed", "estimated", "bucketed", 32, 16),
    ],
)
def test_counts_are_as_exact_as_the_domain_wants(
    ledger, policy, precision, said, prompt, completion
):
    ledger.open_line(grant(policy), Operation.CHAT).close("complete", Usage(17, 3, precision), "x")
    [statement] = statements(ledger)
    assert (statement.precision, statement.prompt_tokens) == (said, prompt)
    assert statement.completion_tokens == completion


def test_a_request_that_reached_no_model_costs_nothing(ledger):
    ledger.open_line(grant(), Operation.CHAT).close("refused")
    [statement] = statements(ledger)
    assert (statement.prompt_tokens, statement.completion_tokens) == (0, 0)
    assert statement.model_class == "none"


def test_lines_are_chained_and_signed_in_the_order_they_close(ledger):
    first = ledger.open_line(grant(request_id="a"), Operation.CHAT)
    second = ledger.open_line(grant(request_id="b"), Operation.EMBEDDINGS)
    second.close("complete")
    first.close("failed")
    one, two = statements(ledger)
    assert (one.request_id, two.request_id) == ("b", "a")
    assert one.previous == FIRST_PREVIOUS
    assert two.previous == one.sha256
    for signed in ledger.after(0):
        KEY.public_key().verify(signed.signature, signed.signed_bytes)


def test_a_line_closes_once(ledger):
    line = ledger.open_line(grant(), Operation.CHAT)
    signed = line.close("complete", Usage(1, 1, "exact"))
    assert line.close("cancelled") is signed
    assert len(ledger) == 1


def test_a_full_ledger_refuses_to_begin_and_drops_nothing(ledger):
    lines = [ledger.open_line(grant(request_id=str(n)), Operation.CHAT) for n in range(3)]
    with pytest.raises(ModelUnavailable) as refusal:
        ledger.open_line(grant(), Operation.CHAT)
    assert refusal.value.code == "usage-ledger-full"
    for line in lines:
        line.close("complete")
    with pytest.raises(ModelUnavailable):
        ledger.open_line(grant(), Operation.CHAT)
    assert [s.request_id for s in statements(ledger)] == ["0", "1", "2"]
    assert ledger.acknowledge(2) == 2
    assert [s.seq for s in statements(ledger)] == [3]
    ledger.open_line(grant(), Operation.CHAT)


def test_after_skips_what_the_gateway_has_and_survives_gaps(ledger):
    for _ in range(3):
        ledger.open_line(grant(), Operation.CHAT).close("complete")
    assert [s.seq for s in statements(ledger, after=2)] == [3]
    assert statements(ledger, after=3) == []
    assert statements(ledger, after=99) == []
    ledger.acknowledge(1)
    assert [s.seq for s in statements(ledger, after=0)] == [2, 3]
    assert ledger.acknowledge(1) == 0
    assert ledger.acknowledge(99) == 2
    assert statements(ledger, after=0) == []


def test_a_batch_has_at_most_1000_lines(clock):
    ledger = UsageLedger(KEY.sign, "ab" * 16, clock, capacity=2000)
    for _ in range(1001):
        ledger.open_line(grant(), Operation.CHAT).close("complete")
    assert len(ledger.after(0)) == 1000
    assert [s.seq for s in statements(ledger, after=1000)] == [1001]


def test_a_clock_turned_back_makes_no_negative_duration(ledger, clock):
    line = ledger.open_line(grant(), Operation.CHAT)
    clock.at -= 100
    line.close("complete")
    assert statements(ledger)[0].duration_ms == 0
