"""Whole answers, errors and lists of models in Anthropic's shape."""

import json
from pathlib import Path

import pytest
from tests.unit.dialects.anthropic.streams import MESSAGE_ID, request_for

from confide.dialects.anthropic import (
    anthropic_error,
    count_answer,
    translate_answer,
    translate_error,
    translate_model,
    translate_models,
)
from confide.errors import (
    AuthenticationError,
    BindingError,
    ConfigError,
    ContextTooLong,
    EnclaveError,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    ModelUnavailable,
    NoEnclaveAvailable,
    RateLimited,
    RequestTooLarge,
    RouteNotFound,
    StreamTruncated,
    TransportError,
)

VECTORS = Path(__file__).parents[3] / "vectors" / "dialects"


def answer(message, reason="stop", request=None, **members):
    choice = {"index": 0, "message": message, "finish_reason": reason}
    choice |= {name: members.pop(name) for name in ("stop_reason",) if name in members}
    body = json.dumps({"id": "chatcmpl-1", "choices": [choice], **members}).encode()
    return json.loads(translate_answer(body, request or request_for(), MESSAGE_ID))


def tool(arguments, identity="call_1", name="f"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_text_is_one_block():
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    assert answer({"content": "Hello"}, usage=usage) == {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 2,
        },
    }


def test_thoughts_text_and_calls_keep_their_order():
    found = answer(
        {"reasoning": "hm", "content": "Look:", "tool_calls": [tool('{"a":1}'), tool("")]}
    )
    assert [block["type"] for block in found["content"]] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert [block["input"] for block in found["content"][2:]] == [{"a": 1}, {}]
    assert found["stop_reason"] == "tool_use"
    assert found["content"][0]["signature"]


def test_a_call_whose_arguments_are_no_object_is_refused_and_never_run_with_others():
    for arguments in ("not json", "[1]", '"text"'):
        with pytest.raises(EnclaveError):
            answer({"tool_calls": [tool(arguments)]})


def test_a_call_cut_by_the_limit_is_left_out():
    found = answer({"content": "a", "tool_calls": [tool('{"x":'), tool("{}")]}, "length")
    assert [block["type"] for block in found["content"]] == ["text"]
    assert found["stop_reason"] == "max_tokens"


def test_a_matched_stop_string_is_named():
    request = request_for(stop_sequences=["END"])
    found = answer({"content": "a"}, request=request, stop_reason="END")
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    # A string that the engine's own settings add is an end, and none of the client's.
    found = answer({"content": "a"}, request=request, stop_reason="<|user|>")
    assert (found["stop_reason"], found["stop_sequence"]) == ("end_turn", None)


def test_a_filtered_answer_is_a_refusal():
    assert answer({"content": ""}, "content_filter")["stop_reason"] == "refusal"
    assert answer({"refusal": "no"})["stop_reason"] == "refusal"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"choices":[]}', b"[" * 99999])
def test_an_answer_that_is_no_completion_is_an_error(body):
    with pytest.raises(EnclaveError):
        translate_answer(body, request_for(), MESSAGE_ID)


def test_a_forced_call_recorded_from_vllm_stops_for_the_tool():
    recorded = json.loads((VECTORS / "vllm_0.32.0.json").read_text())["tool named"]
    body = json.loads(recorded)
    # A random model wrote the arguments; any object will do here.
    body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"city":"Oslo"}'
    request = request_for()
    found = json.loads(translate_answer(json.dumps(body).encode(), request, MESSAGE_ID))
    assert found["stop_reason"] == "tool_use"
    assert found["content"][0]["id"].startswith("toolu_raw_")
    with pytest.raises(EnclaveError):
        translate_answer(recorded.encode(), request, MESSAGE_ID)


@pytest.mark.parametrize("engine", ["vllm_0.32.0", "llamacpp_2026.10"])
def test_a_message_has_every_field_that_the_engines_own_endpoint_gives(engine):
    theirs = json.loads(json.loads((VECTORS / f"{engine}.json").read_text())["messages"])
    ours = answer({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": 1})
    assert theirs.keys() <= ours.keys()
    assert theirs["usage"].keys() <= ours["usage"].keys()
    assert theirs["content"][0].keys() == ours["content"][0].keys()


def test_a_count_is_the_number_alone():
    told = count_answer(b'{"input_tokens": 7, "context_length": 99}')
    assert json.loads(told) == {"input_tokens": 7}
    with pytest.raises(EnclaveError):
        count_answer(b"{}")


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (AuthenticationError("no"), 401, "authentication_error", "invalid_api_key"),
        (ModelNotAllowed("no"), 403, "permission_error", "model_not_allowed"),
        (ModelNotFound("no"), 404, "not_found_error", "model_not_found"),
        (RouteNotFound("no"), 404, "not_found_error", "unknown_url"),
        (RequestTooLarge("no"), 413, "request_too_large", "request_too_large"),
        (RateLimited("no", retry_after=2.5), 429, "rate_limit_error", "rate_limit_exceeded"),
        (InvalidRequest("no"), 400, "invalid_request_error", "invalid_request"),
        (ContextTooLong("no"), 400, "invalid_request_error", "context_length_exceeded"),
        (NoEnclaveAvailable("no"), 529, "overloaded_error", "no_enclave"),
        (ModelUnavailable("no"), 529, "overloaded_error", "model_unavailable"),
        (BindingError("no"), 502, "api_error", "binding.report_data"),
        (StreamTruncated(1), 502, "api_error", "stream_truncated"),
        (TransportError("no"), 503, "api_error", "gateway_unreachable"),
        (TransportError("no", code="timeout"), 504, "timeout_error", "gateway_timeout"),
        (ConfigError("no"), 500, "api_error", "config_invalid"),
    ],
)
def test_each_error_has_anthropics_type_and_status(error, status, kind, code):
    told = anthropic_error(error, origin="proxy")
    body = json.loads(told.body)
    assert (told.status, body["type"]) == (status, "error")
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert dict(told.headers)["x-confide-origin"] == "proxy"


def test_a_refused_enclave_names_the_check_that_failed():
    told = anthropic_error(BindingError("the report is about another key"))
    message = json.loads(told.body)["error"]["message"]
    assert message == ("attestation refused (binding.report_data): the report is about another key")
    assert dict(told.headers)["x-should-retry"] == "false"


def test_a_limit_says_when_to_come_back_and_a_gateways_id_is_the_requests():
    told = anthropic_error(RateLimited("no", retry_after=2.5, request_id="01J"))
    headers = dict(told.headers)
    assert (headers["retry-after"], headers["request-id"]) == ("3", "01J")
    assert json.loads(told.body)["request_id"] == "01J"


def test_a_prompt_that_is_too_long_is_said_in_the_words_clients_look_for():
    body = b'{"error":{"message":"2048 fit","code":"context_length_exceeded"}}'
    told = json.loads(translate_error(400, body, ()).body)
    assert told["error"]["message"] == "prompt is too long: 2048 fit"


def test_an_error_body_of_another_shape_becomes_a_plain_sentence():
    for body in (b"", b"<html>", b"[]", b'{"error":"text"}'):
        told = json.loads(translate_error(500, body, ()).body)
        assert told["error"] == {"type": "api_error", "message": "the request failed"}


MODELS = json.dumps(
    {"data": [{"id": name, "object": "model", "created": 0} for name in ("a", "b", "c")]}
).encode()


def test_models_have_anthropics_fields():
    listing = json.loads(translate_models(MODELS, ""))
    assert listing["data"][0] == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "1970-01-01T00:00:00Z",
    }
    assert (listing["has_more"], listing["first_id"], listing["last_id"]) == (False, "a", "c")
    assert json.loads(translate_model(b'{"id":"a"}'))["display_name"] == "a"


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("limit=2", ["a", "b"], True),
        ("limit=2&after_id=b", ["c"], False),
        ("limit=1&before_id=c", ["b"], True),
        ("after_id=unknown", ["a", "b", "c"], False),
    ],
)
def test_models_come_in_pages(query, ids, more):
    listing = json.loads(translate_models(MODELS, query))
    assert ([model["id"] for model in listing["data"]], listing["has_more"]) == (ids, more)


def test_an_empty_list_and_an_impossible_page():
    assert json.loads(translate_models(b'{"data":[]}', ""))["first_id"] is None
    for query in ("limit=0", "limit=1001", "limit=x"):
        with pytest.raises(InvalidRequest):
            translate_models(MODELS, query)
    for body in (b"{}", b"[]", b"x", b'{"data":[{}]}'):
        with pytest.raises(EnclaveError):
            translate_models(body, "")
