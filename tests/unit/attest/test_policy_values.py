"""Every reader of a policy value refuses what it does not understand, with one code."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.attest import policy_values as values
from confide.errors import ConfigError

MOMENT = datetime(2027, 1, 1, tzinfo=UTC)
READERS = {
    "table": (values.read_table, {"a": 1}),
    "text": (values.read_text, "a name"),
    "choice": (lambda v, w: values.read_choice(v, w, ("SPT", "PPCIE")), "SPT"),
    "integer": (lambda v, w: values.read_integer(v, w, low=0, high=255), 7),
    "flag": (values.read_flag, False),
    "hex": (lambda v, w: values.read_hex(v, w, 2, 4), "00Ff"),
    "digest": (lambda v, w: values.read_digest(v, w, 2, 4), "00Ff"),
    "version": (values.read_version, "1.55"),
    "moment": (values.read_moment, MOMENT),
    "each": (lambda v, w: values.read_each(v, w, values.read_text), ["a", "b"]),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refused(read, value):
    with pytest.raises(ConfigError) as caught:
        read(value, "the value")
    assert "the value" in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("kind", READERS)
def test_a_good_value_is_read(kind):
    read, good = READERS[kind]
    read(good, "the value")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("value", [None, "", [], {}, b"", 1.0, object(), "*"], ids=repr)
def test_what_is_absent_empty_or_of_another_kind_is_refused(kind, value):
    assert refused(READERS[kind][0], value) == "policy.invalid"


@given(st.sampled_from(sorted(READERS)), ANYTHING)
def test_only_the_error_of_a_policy_escapes(kind, value):
    try:
        READERS[kind][0](value, "the value")
    except ConfigError as error:
        assert error.code == "policy.invalid"  # noqa: PT017 - hypothesis decides which it is


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "x" * 129),
        ("text", "a\x1bb"),
        ("text", "any"),
        ("text", " * "),
        ("text", "ALL"),
        ("choice", "spt"),
        ("integer", True),
        ("integer", -1),
        ("integer", 256),
        ("flag", 0),
        ("flag", 1),
        ("hex", "00f"),
        ("hex", "00fg"),
        ("hex", "00ff00"),
        ("hex", "0x00ff"),
        ("digest", "0000"),
        ("digest", "ffffffff"),
        ("version", "1"),
        ("version", "1.5.5"),
        ("version", "v1.5"),
        ("version", "1.\u0665"),
        ("moment", MOMENT.replace(tzinfo=None)),
        ("moment", MOMENT.date()),
        ("each", ["a", "a"]),
        ("each", ["a", 1]),
        ("each", ["a"] * 5000),
        ("each", ("a",)),
        ("each", "a"),
    ],
)
def test_a_value_out_of_bounds_is_refused(kind, value):
    assert refused(READERS[kind][0], value) == "policy.invalid"


def test_an_unknown_key_is_named_and_the_known_ones_are_the_hint():
    with pytest.raises(ConfigError) as caught:
        values.only({"a": 1, "zz": 2}, "[snp]", ("b", "a"))
    assert caught.value.code == "policy.unknown_key"
    assert "zz" in str(caught.value)
    assert caught.value.hint == "known: a, b"
    values.only({"a": 1}, "[snp]", ("b", "a"))
