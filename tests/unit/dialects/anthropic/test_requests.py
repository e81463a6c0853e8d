"""Messages requests become chat requests; each point here was a bug in some translator."""

import json
from pathlib import Path

import pytest

from confide.dialects.anthropic import count_request, translate_request
from confide.dialects.anthropic.ids import call_id, tool_use_id
from confide.errors import InvalidRequest

VECTORS = Path(__file__).parents[3] / "vectors" / "dialects"
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE = {"type": "image", "source": PNG}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}


def asked(**fields):
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({**body, **fields}).encode()


def chat(**fields):
    return json.loads(translate_request(asked(**fields)).body)


def messages(*turns, **fields):
    return chat(messages=[{"role": role, "content": content} for role, content in turns], **fields)[
        "messages"
    ]


def refused(**fields):
    with pytest.raises(InvalidRequest) as caught:
        translate_request(asked(**fields))
    return caught.value.param


def test_a_plain_question_is_a_plain_question():
    assert chat() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
    }


def test_system_blocks_are_joined_with_a_separator():
    system = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert chat(system=system)["messages"][0] == {"role": "system", "content": "One.\n\nTwo."}
    assert chat(system="One.")["messages"][0] == {"role": "system", "content": "One."}
    assert chat(system=[])["messages"][0]["role"] == "user"


def test_the_billing_header_is_dropped_and_what_follows_it_is_kept():
    header = "x-anthropic-billing-header: cc_version=2.1; cch=12345;"
    system = [{"type": "text", "text": header}, {"type": "text", "text": "Stay."}]
    assert chat(system=system)["messages"][0]["content"] == "Stay."
    assert chat(system=f"{header}\nStay.")["messages"][0]["content"] == "Stay."
    assert chat(system=header)["messages"][0]["role"] == "user"


def test_instructions_in_mid_conversation_go_to_the_front():
    found = messages(("user", "a"), ("system", "Be brief."), ("user", "b"), system="First.")
    assert found == [
        {"role": "system", "content": "First.\n\nBe brief."},
        {"role": "user", "content": "a\nb"},
    ]


def test_results_of_tools_come_before_the_text_of_their_turn():
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 C"}
    second = {"type": "tool_result", "tool_use_id": "toolu_2", "content": [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}  # fmt: skip
    text = {"type": "text", "text": "and now?"}
    assert messages(("user", [text, result, second])) == [
        {"role": "tool", "tool_call_id": "call_1", "content": "12 C"},
        {"role": "tool", "tool_call_id": "call_2", "content": "a\nb"},
        {"role": "user", "content": "and now?"},
    ]


def test_images_in_a_result_follow_in_the_users_message():
    content = [{"type": "text", "text": "seen"}, IMAGE]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    assert messages(("user", [result, {"type": "text", "text": "what is it?"}])) == [
        {"role": "tool", "tool_call_id": "call_1", "content": "seen"},
        {"role": "user", "content": [IMAGE_PART, {"type": "text", "text": "what is it?"}]},
    ]


@pytest.mark.parametrize(
    ("content", "is_error", "text"),
    [
        ("disk full", True, "Error: disk full"),
        ("fine", False, "fine"),
        (None, True, "Error"),
        (None, False, ""),
        ([], False, ""),
        ("", False, ""),
    ],
)
def test_an_error_of_a_tool_reaches_the_model(content, is_error, text):
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": is_error}
    if content is not None:
        result["content"] = content
    assert messages(("user", [result])) == [
        {"role": "tool", "tool_call_id": "call_1", "content": text}
    ]


def test_text_and_calls_of_one_turn_stay_together_and_thoughts_are_no_text():
    found = messages(
        ("user", "q"),
        (
            "assistant",
            [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "redacted_thinking", "data": "AAAA"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"é": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "g"},
            ],
        ),
    )
    assert found[1] == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"é":1}'}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_an_answer_of_calls_alone_has_no_content_and_an_empty_one_is_an_empty_string():
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    assert messages(("user", "q"), ("assistant", [call]))[1]["content"] is None
    assert messages(("user", "q"), ("assistant", []))[1] == {"role": "assistant", "content": ""}


def test_turns_of_one_role_in_a_row_become_one():
    assert messages(("user", "a"), ("user", [IMAGE]), ("assistant", "b"), ("assistant", "c")) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE_PART]},
        {"role": "assistant", "content": "bc"},
    ]


def test_a_long_or_odd_tool_name_is_shortened_and_mapped_back():
    long, odd = "mcp__" + "a" * 90, "read.file"
    tools = [{**TOOL, "name": long}, {**TOOL, "name": odd}, TOOL]
    request = translate_request(asked(tools=tools, tool_choice={"type": "tool", "name": long}))
    fields = json.loads(request.body)
    names = [tool["function"]["name"] for tool in fields["tools"]]
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in names)
    assert [request.names.restore(name) for name in names] == [long, odd, "get_weather"]
    assert fields["tool_choice"]["function"]["name"] == names[0]
    assert len(set(names)) == 3
    call = {"type": "tool_use", "id": "toolu_1", "name": long, "input": {}}
    assert messages(("assistant", [call]))[0]["tool_calls"][0]["function"]["name"] == names[0]


def test_a_schema_without_a_type_is_an_object_and_the_tools_type_is_no_part_of_it():
    tool = {"type": "custom", "name": "f", "description": "d", "input_schema": {"properties": {}}}
    assert chat(tools=[tool])["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"properties": {}, "type": "object"},
            },
        }
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "get_weather"},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_the_choice_of_a_tool_keeps_its_meaning(choice, expected):
    fields = chat(tools=[TOOL], tool_choice=choice)
    found = {k: fields[k] for k in ("tool_choice", "parallel_tool_calls") if k in fields}
    assert found == expected


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages.0.content.0"),
        ({"system": [{"type": "image"}]}, "system.0"),
        ({"tools": [{"name": "f"}]}, "tools.0"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0"),
        ({"tools": [TOOL, TOOL]}, "tools.1.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "odd"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "loud"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ],
)
def test_a_malformed_field_is_refused_by_its_place(fields, place):
    assert refused(**fields) == place


@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": "https://example.org/a.png"},
        {"type": "file", "file_id": "file_1"},
        {"type": "base64", "media_type": "image/tiff", "data": "AAAA"},
        {"type": "base64", "media_type": "image/png", "data": "not base64!"},
    ],
)
def test_an_image_that_would_have_to_be_fetched_or_cannot_be_read_is_refused(source):
    image = {"type": "image", "source": source}
    assert refused(messages=[{"role": "user", "content": [image]}])


def test_a_document_of_text_is_text_and_a_pdf_is_refused_clearly():
    text = {"type": "text", "media_type": "text/plain", "data": "Body."}
    document = {"type": "document", "title": "Report", "source": text}
    assert messages(("user", [document]))[0]["content"] == "Report\nBody."
    nested = {"type": "content", "content": [{"type": "text", "text": "Body."}, IMAGE]}
    found = messages(("user", [{"type": "document", "source": nested}]))[0]["content"]
    assert found == [{"type": "text", "text": "Body."}, IMAGE_PART]
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    place = refused(messages=[{"role": "user", "content": [{"type": "document", "source": pdf}]}])
    assert place == "messages.0.content.0.source"


def test_a_search_result_is_text():
    result = {
        "type": "search_result",
        "title": "T",
        "source": "https://example.org",
        "content": [{"type": "text", "text": "found"}],
    }
    assert messages(("user", [result]))[0]["content"] == "T\nhttps://example.org\nfound"


def test_no_refusal_repeats_what_the_user_wrote():
    secret = "correct horse battery staple"
    for fields in (
        {"messages": [{"role": secret, "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": secret}]}]},
        {"tools": [{"type": secret, "name": secret}]},
        {"thinking": {"type": secret}},
        {"stop_sequences": [secret, 1]},
    ):
        with pytest.raises(InvalidRequest) as caught:
            translate_request(asked(**fields))
        assert secret not in str(caught.value) + str(caught.value.param)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"model":"m","model":"n"}', b'{"max_tokens": NaN}', b"[" * 99999],
)
def test_a_body_that_is_not_one_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        translate_request(body)


def test_what_only_anthropics_servers_use_is_accepted_and_left_out():
    fields = chat(
        metadata={"user_id": "device"},
        context_management={"edits": []},
        container="c",
        service_tier="auto",
        speed="fast",
        cache_control={"type": "ephemeral"},
        output_config={"effort": "high"},
        thinking={"type": "adaptive"},
    )
    assert fields == chat()


def test_sampling_and_stop_strings_go_on():
    fields = chat(temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["END"])
    assert {name: fields[name] for name in ("temperature", "top_p", "top_k", "stop")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
    }


def test_a_stream_always_asks_for_its_usage():
    assert chat(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream" not in chat(stream=False)


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "adaptive"}, {}),
        ({"type": "disabled"}, {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            {"type": "enabled", "budget_tokens": 1024},
            {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}},
        ),
        (
            {"type": "enabled", "budget_tokens": 32000},
            {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": True}},
        ),
    ],
)
def test_a_budget_for_thinking_becomes_an_effort(thinking, expected):
    fields = chat(thinking=thinking)
    assert {k: v for k, v in fields.items() if k not in chat()} == expected


def test_a_wanted_format_is_a_strict_schema_without_other_members():
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
    described = chat(output_config={"format": form})["response_format"]["json_schema"]
    assert described["strict"] is True
    assert described["schema"]["additionalProperties"] is False


def test_counting_needs_no_limit_and_sends_what_the_model_reads():
    body = json.dumps(
        {"model": "m", "system": "S", "messages": [{"role": "user", "content": "q"}]}
    ).encode()
    assert json.loads(count_request(body)) == {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "q"}],
    }


def test_ids_of_any_engine_come_back_as_they_were():
    for upstream in ("call_1", "chatcmpl-tool-b9f1", "call_raw_6f", "call_ü", "0", "call_"):
        given = tool_use_id(upstream)
        assert given.startswith("toolu_")
        assert given.replace("_", "").replace("-", "").isalnum()
        assert call_id(given) == upstream
    assert call_id("from_elsewhere") == "from_elsewhere"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_claude_code_sends_is_understood(number):
    recorded = json.loads((VECTORS / "claude_code_2.1.197.json").read_text())[number]["body"]
    request = translate_request(json.dumps(recorded).encode())
    fields = json.loads(request.body)
    assert request.stream
    assert fields["max_tokens"] == 32000
    assert [turn["role"] for turn in fields["messages"]][:2] == ["system", "user"]
    text = request.body.decode()
    for gone in ("billing", "cache_control", "device_id", "context_management", "effort"):
        assert gone not in text
    if number == 1:
        assert fields["messages"][-2]["tool_calls"][0]["id"] == "call_01mock"
        assert fields["messages"][-1] == {
            "role": "tool",
            "tool_call_id": "call_01mock",
            "content": "tool-ran-42",
        }
