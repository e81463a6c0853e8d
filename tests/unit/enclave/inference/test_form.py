"""Forms are read strictly and changed in one place only."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.enclave.inference.inference_bench import ISOLATION

from confide.enclave.inference.backend import Operation
from confide.enclave.inference.form import MAX_FIELDS, MAX_HEADER, MAX_PARTS, FormBody
from confide.enclave.inference.requests import prepare_request
from confide.errors import InvalidRequest

TYPE = "multipart/form-data; boundary=b"
LONG_HEADER = b"Content-Type: " + b"x" * (MAX_HEADER + 1)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


def part(disposition, value=b"", *headers):
    lines = [b"Content-Disposition: " + disposition, *headers]
    return b"--b\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + value + b"\r\n"


def field(name, value):
    return part(b'form-data; name="%s"' % name, value)


def form(*parts):
    return b"".join(parts) + b"--b--\r\n"


FILE = part(
    b'form-data; name="file"; filename="a.wav"', b"\x00\xff\r\n--", b"Content-Type: audio/wav"
)
MODEL = field(b"model", b"whisper")


def refused(body, content_type=TYPE):
    with pytest.raises(InvalidRequest) as refusal:
        FormBody(body, content_type)
    return refusal.value


def test_fields_and_files_are_told_apart():
    read = FormBody(form(field(b"x[]", b"1"), FILE, MODEL, field(b"x[]", b"2")), TYPE)
    assert dict(read.fields) == {"x[]": ["1", "2"], "model": "whisper"}
    assert read.files == ("file",)
    assert "whisper" not in repr(read)


@given(
    values=st.dictionaries(NAMES, st.text(max_size=40), max_size=8),
    recording=st.binary(max_size=300),
    model=st.text(max_size=20),
)
def test_a_form_with_another_model_differs_nowhere_else(values, recording, model):
    values = {k: v for k, v in values.items() if k not in ("model", "file")}

    def body(name):
        return form(
            *(field(k.encode(), v.encode()) for k, v in values.items()),
            part(b'form-data; name="file"; filename="a"', recording),
            field(b"model", name.encode()),
        )

    try:
        read = FormBody(body(model), TYPE)
    except InvalidRequest:  # a value holds the boundary, and so another form
        assert any("--b" in text for text in (*values.values(), model)) or b"--b" in recording
        return
    if b"\r\n--b" in recording or any("\r\n--b" in text for text in (*values.values(), model)):
        return
    assert dict(read.fields) == {**values, "model": model}
    assert read.with_fields({"model": "another"}) == body("another")
    assert read.raw == body(model)


@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(noise):
    for body in (noise, b"--b\r\n" + noise + b"\r\n--b--\r\n", form(FILE, MODEL)[:-7] + noise):
        try:
            FormBody(body, TYPE)
        except InvalidRequest:
            continue


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(form(MODEL, MODEL), id="a field twice"),
        pytest.param(form(FILE, FILE), id="a file twice"),
        pytest.param(form(FILE, field(b"file", b"x")), id="a file and a field of one name"),
        pytest.param(form(part(b"form-data", b"x")), id="no name"),
        pytest.param(form(part(b'attachment; name="model"', b"x")), id="no form data"),
        pytest.param(form(part(b'form-data; name="a"; name="model"')), id="two names"),
        pytest.param(form(part(b'form-data; name="a"; name*=model')), id="an extended name"),
        pytest.param(form(part(b'form-data; name="mo\\"del"')), id="an escaped quote"),
        pytest.param(form(part(b'form-data; name="mod%65l"')), id="a percent sign"),
        pytest.param(form(part(b'form-data; name="m\xc3\xb6del"')), id="a name beyond ASCII"),
        pytest.param(
            form(part(b'form-data; name="a"', b"eA==", b"Content-Transfer-Encoding: base64")),
            id="a coding",
        ),
        pytest.param(
            form(part(b'form-data; name="a"', b"x", b'Content-Disposition: form-data; name="b"')),
            id="two dispositions",
        ),
        pytest.param(form(part(b'form-data; name="a"', b"\xff")), id="no UTF-8"),
        pytest.param(b"preamble\r\n" + form(MODEL), id="a preamble"),
        pytest.param(form(MODEL) + b"epilogue", id="an epilogue"),
        pytest.param(form(MODEL) + form(MODEL), id="two forms"),
        pytest.param(form(MODEL)[:-4], id="no end"),
        pytest.param(form(*(field(b"f%d" % n, b"") for n in range(MAX_PARTS + 1))), id="parts"),
        pytest.param(form(part(b'form-data; name="a"', b"", LONG_HEADER)), id="a long header"),
    ],
)  # fmt: skip
def test_a_form_that_two_parsers_may_read_differently_is_refused(body):
    assert refused(body).status == 400


def test_fields_over_the_limit_are_refused_and_a_file_of_that_size_is_not():
    assert refused(form(field(b"a", b"x" * MAX_FIELDS), field(b"b", b"x"))).status == 413
    FormBody(form(part(b'form-data; name="f"; filename="f"', b"x" * (4 * MAX_FIELDS))), TYPE)


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=b",
     "multipart/form-data; boundary=" + "b" * 71, "multipart/form-data; boundary=b; boundary=c",
     'multipart/form-data; boundary="b', "multipart/form-data; charset=x; boundary=b"],
)  # fmt: skip
def test_a_media_type_that_names_no_single_boundary_is_refused(content_type):
    assert refused(form(MODEL), content_type).param == "content-type"


def test_the_parsers_own_log_lines_quote_nothing(caplog):
    with caplog.at_level(logging.DEBUG):
        refused(b"--b\r\nsecret-marker\r\n--b--\r\n")
        refused(form(MODEL) + b"secret-marker\r\n--b--")
    assert "secret-marker" not in caplog.text


def test_a_form_asks_for_a_stream_in_words():
    def prepared(value, stream):
        body = FormBody(form(FILE, MODEL, field(b"stream", value)), TYPE)
        return prepare_request(
            Operation.TRANSCRIPTIONS,
            body,
            stream=stream,
            backend_model="whisper",
            isolation=ISOLATION,
            refused_fields=(),
        ).request

    assert prepared(b"true", True).stream
    assert not prepared(b"False", False).stream
    assert prepared(b"true", True).body == form(FILE, MODEL, field(b"stream", b"true"))
    for value, stream in ((b"1", True), (b"", False), (b"true", False)):
        with pytest.raises(InvalidRequest):
            prepared(value, stream)


def test_an_engines_control_field_is_refused_in_a_form_too():
    body = FormBody(form(FILE, MODEL, field(b"cache_salt", json.dumps("x").encode())), TYPE)
    with pytest.raises(InvalidRequest) as refusal:
        prepare_request(
            Operation.TRANSLATIONS,
            body,
            stream=False,
            backend_model="whisper",
            isolation=ISOLATION,
            refused_fields=(),
        )
    assert refusal.value.param == "cache_salt"
