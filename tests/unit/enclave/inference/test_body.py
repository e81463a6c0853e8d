import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.enclave.inference.body import JSONBody, add_fields
from confide.errors import InvalidRequest

RAW = (
    b' { "model" : "a" ,\n "temperature":1.0e-1, "x":[1,{"y":"\xc3\xa9\\u00e9"}],"stream":true } \n'
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=6), values, max_size=6)


def test_a_changed_field_keeps_its_place_and_every_other_byte():
    assert JSONBody(RAW).with_fields({"model": "bb"}) == RAW.replace(b'"a"', b'"bb"')


def test_a_new_field_comes_first():
    assert JSONBody(b'{ "a":1}').with_fields({"z": {"q": True}}) == b'{"z":{"q":true}, "a":1}'
    assert JSONBody(b"{}").with_fields({"z": 1}) == b'{"z":1}'


def test_changes_and_additions_go_together():
    changed = JSONBody(RAW).with_fields({"stream": False, "model": "b", "new": None})
    assert json.loads(changed) == {**json.loads(RAW), "stream": False, "model": "b", "new": None}
    assert b"1.0e-1" in changed


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (b'{"a":1,"u":2,"b":3}', b'{"a":1,"b":3}'),
        (b'{"u":2,"b":3}', b'{"b":3}'),
        (b'{"a":1, "u":{"x":[]} }', b'{"a":1 }'),
        (b'{"u":null}', b"{}"),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
def test_a_field_is_taken_out_with_its_comma(raw, left):
    assert JSONBody(raw).without("u") == left


@given(objects, objects)
def test_what_is_set_is_what_is_parsed(original, changes):
    raw = json.dumps(original).encode()
    assert json.loads(JSONBody(raw).with_fields(changes)) == {**original, **changes}


@given(objects, st.data())
def test_what_is_taken_out_is_gone_and_nothing_else(original, draw):
    raw = json.dumps(original, indent=1).encode()
    name = draw.draw(st.sampled_from([*original, "absent"]))
    rest = {key: value for key, value in original.items() if key != name}
    assert json.loads(JSONBody(raw).without(name)) == rest


@pytest.mark.parametrize(
    "raw",
    [
        b'{"stream":false,"stream":true}',
        b'{"stream":false,"str\\u0065am":true}',
        b'{"messages":[{"content":[{"image_url":{"url":"data:,","url":"http://x"}}]}]}',
    ],
)
def test_a_name_given_twice_is_refused_at_every_depth(raw):
    with pytest.raises(InvalidRequest):
        JSONBody(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b'"x"', b"null", b"{}{}", b'{"a":1,}', b'{"a" 1}', b"{1:2}", b"\xff{}",
        b"\xef\xbb\xbf{}", b'{"a":' + b"[" * 100_000, b'{"a":1} x', b'{"a":' + b"1" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused_without_being_quoted(raw):
    with pytest.raises(InvalidRequest) as refusal:
        JSONBody(raw)
    assert str(refusal.value) == "the body is not a JSON object"
    assert refusal.value.__cause__ is None


def test_a_body_shows_its_length_only():
    assert "secret" not in repr(JSONBody(b'{"prompt":"secret"}'))


def test_adding_a_field_that_is_there_is_an_error():
    with pytest.raises(ValueError):
        add_fields(b'{"a":1}', {"a"}, {"a": 2})
