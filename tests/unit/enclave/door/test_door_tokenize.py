"""`/v1/tokenize` inside the seal: who may count, and what it costs."""

import pytest
from tests.unit.enclave.door.door_bench import MESSAGES

PATH = "/v1/tokenize"


async def test_a_prompt_is_counted_under_the_seal_and_costs_nothing(bench):
    got = await bench.ask({"model": "echo", "messages": MESSAGES}, path=PATH)
    assert got.head.status == 200
    assert got.json == {"input_tokens": 4, "context_length": 4096}
    assert b"confide-usage" not in got.trailers


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"messages": MESSAGES}, 400, "invalid_request_error"),
        ({"model": "echo"}, 400, "invalid_request_error"),
        ({"model": "echo", "messages": "x"}, 400, "invalid_request_error"),
        ({"model": "absent", "messages": MESSAGES}, 404, "model_not_found"),
    ],
)
async def test_a_malformed_count_is_refused(bench, body, status, code):
    got = await bench.ask(body, path=PATH)
    assert (got.head.status, got.error["code"]) == (status, code)


@pytest.mark.parametrize("grant", [{"operations": ("models",)}, {"models": ("second",)}])
async def test_counting_needs_a_grant_for_chats_with_the_model(bench, grant):
    got = await bench.ask({"model": "echo", "messages": MESSAGES}, path=PATH, grant=grant)
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")
