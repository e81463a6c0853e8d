"""Whatever bytes arrive, the layouts anyone may read are read or refused, never crashed on."""

import json

from hypothesis import given
from hypothesis import strategies as st

from confide.errors import ConfideError, GatewayError, KeyConfigError, SealingError
from confide.wire.directory import Directory
from confide.wire.frames import FrameReader
from confide.wire.key_document import KeyDocument
from confide.wire.problems import Problem, error_for
from confide.wire.usage import SignedStatement, UsageStatement, bucket_tokens, parse_batch

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
raw = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode())


@given(raw)
def test_any_bytes_are_a_document_or_refused(data):
    for parse, error in (
        (KeyDocument.parse, KeyConfigError),
        (Directory.parse, KeyConfigError),
        (UsageStatement.parse, SealingError),
        (parse_batch, SealingError),
        (Problem.parse, GatewayError),
    ):
        try:
            parse(data)
        except error:
            continue


@given(
    st.dictionaries(
        st.sampled_from(["type", "title", "status", "code", "detail", "retry_after_s"]), values
    )
)
def test_any_problem_document_becomes_an_error_of_ours(members):
    try:
        problem = Problem.parse(json.dumps(members).encode())
    except GatewayError:
        return
    assert isinstance(error_for(problem), ConfideError)


@given(st.text(max_size=60))
def test_any_text_is_a_signed_statement_or_refused(text):
    try:
        SignedStatement.parse(text)
    except SealingError:
        return


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_stream_is_frames_or_refused(pieces):
    reader = FrameReader(max_plaintext=64)
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
    except SealingError:
        return


@given(st.integers(0, 1 << 40))
def test_a_token_bucket_is_never_below_the_count_nor_twice_above(count):
    assert count <= bucket_tokens(count) <= max(16, 2 * count)
