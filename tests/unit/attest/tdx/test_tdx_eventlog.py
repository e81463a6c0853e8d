"""An event log explains the registers or is refused; what it says counts once it is proved."""

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.tdx.mint import World

from confide.attest.platforms.tdx.eventlog import MAX_LOG, check_log, read_log, replay
from confide.attest.platforms.tdx.quote import Quote
from confide.errors import EvidenceError

VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "tdx"
SPEC_ID = b"Spec ID Event03\0" + bytes(8) + b"\1\0\0\0\x0c\0\x30\0\0"
DSTACK = 0x08000001


def sha384(content):
    return hashlib.sha384(content).digest()


def number(value, length=4):
    return value.to_bytes(length, "little")


def ccel_entry(index, content, *, kind=0x80000001, digest=None, algorithms=(0x0C,)):
    digests = b"".join(
        number(one, 2) + ((digest or sha384(content)) if one == 0x0C else bytes(32))
        for one in algorithms
    )
    head = number(index) + number(kind) + number(len(algorithms))
    return head + digests + number(len(content)) + content


def ccel(*entries, first=None, rest=b"\xff" * 64):
    first = first or number(1) + number(3) + bytes(20) + number(len(SPEC_ID)) + SPEC_ID
    return first + b"".join(entries) + rest


def json_entry(register, content, *, kind=4, name="", digest=None):
    hashed = content if kind != DSTACK else number(kind) + b":" + name.encode() + b":" + content
    return {
        "imr": register,
        "event_type": kind,
        "digest": (digest or sha384(hashed)).hex(),
        "event": name,
        "event_payload": content.hex(),
    }


def as_json(*entries):
    return json.dumps(entries).encode()


def refused(raw, rtmrs=(bytes(48),) * 4):
    with pytest.raises(EvidenceError) as error:
        check_log(raw, rtmrs)
    assert error.value.code == "tdx.eventlog_mismatch"


def folded(*contents):
    register = bytes(48)
    for content in contents:
        register = sha384(register + sha384(content))
    return register


@pytest.mark.parametrize(
    "make",
    [
        lambda: ccel(ccel_entry(1, b"a"), ccel_entry(3, b"b"), ccel_entry(1, b"c")),
        lambda: as_json(json_entry(0, b"a"), json_entry(2, b"b"), json_entry(0, b"c")),
    ],
    ids=["ccel", "json"],
)
def test_a_log_folds_its_digests_into_the_registers(make):
    registers = (folded(b"a", b"c"), bytes(48), folded(b"b"), bytes(48))
    entries = check_log(make(), registers)
    assert [entry.content for entry in entries] == [b"a", b"b", b"c"]
    for changed in range(4):
        refused(make(), tuple(b"\1" * 48 if n == changed else r for n, r in enumerate(registers)))


@pytest.mark.parametrize("name", ["v4-ccel", "v4-ccel-2"])
def test_recorded_firmware_logs_replay(name):
    quote = Quote.parse((VECTORS / name / "quote.bin").read_bytes())
    entries = check_log((VECTORS / name / "ccel.bin").read_bytes(), quote.report.rtmrs)
    assert len(entries) >= 20


def test_the_log_of_another_boot_is_refused():
    quote = Quote.parse((VECTORS / "v4-ccel-2" / "quote.bin").read_bytes())
    refused((VECTORS / "v4-ccel-2" / "ccel-other-boot.bin").read_bytes(), quote.report.rtmrs)


def test_a_recorded_log_of_dstack_replays_and_its_own_events_are_proved():
    recorded = json.loads((VECTORS / "v4-eventlog-json" / "quote-report.json").read_text())
    quote = Quote.parse(bytes.fromhex(recorded["quote"]))
    entries = check_log(recorded["event_log"].encode(), quote.report.rtmrs)
    named = {entry.name: entry.content for entry in entries if entry.register == 3}
    assert {"app-id", "compose-hash", "key-provider"} <= named.keys()
    assert None not in named.values()


def test_content_counts_only_if_its_digest_can_be_computed():
    (entry,) = read_log(ccel(ccel_entry(1, b"what was said", digest=sha384(b"what was hashed"))))
    assert entry.content is None
    (entry,) = read_log(as_json(json_entry(1, b"what was said", digest=sha384(b"hashed"))))
    assert entry.content is None


def test_an_event_of_dstack_with_other_content_than_its_digest_is_refused():
    good = json_entry(3, b"value", kind=DSTACK, name="app-id")
    assert read_log(as_json(good))[0].content == b"value"
    refused(as_json(good | {"event_payload": b"other".hex()}))
    refused(as_json(good | {"event": "compose-hash"}))


def test_entries_that_extend_nothing_are_skipped():
    log = ccel(ccel_entry(0, b"note", kind=3), ccel_entry(1, b"a"), ccel_entry(1, b"b", kind=3))
    assert [entry.content for entry in read_log(log)] == [b"a"]
    assert read_log(as_json(json_entry(0, b"note", kind=3))) == ()


def test_further_digests_of_an_entry_are_passed_over():
    (entry,) = read_log(ccel(ccel_entry(4, b"a", algorithms=(0x0B, 0x0C))))
    assert (entry.register, entry.content) == (3, b"a")


@pytest.mark.parametrize("rest", [b"", b"\0" * 64, b"\xff" * 64, b"\xff" * 4])
def test_a_log_ends_where_the_table_is_unused(rest):
    assert len(read_log(ccel(ccel_entry(1, b"a"), rest=rest))) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 64,
        ccel(first=number(1) + number(4) + bytes(20) + number(len(SPEC_ID)) + SPEC_ID),
        ccel(first=number(1) + number(3) + bytes(20) + number(4) + b"Spec"),
        ccel(ccel_entry(0, b"a")),
        ccel(ccel_entry(5, b"a")),
        ccel(ccel_entry(1, b"a", algorithms=(0x0B,))),
        ccel(ccel_entry(1, b"a", algorithms=())),
        ccel(ccel_entry(1, b"a", algorithms=(0x0C, 0x0C))),
        ccel(ccel_entry(1, b"a", algorithms=(0x7777,))),
        ccel(number(1) + number(4) + number(0xFFFF_FFFF)),
        ccel(ccel_entry(1, b"a")[:-5] + number(0xFFFF_FFFF), rest=b""),
        bytes(MAX_LOG + 1),
        b"[" * 10_000,
        b'[{"imr":0}]',
        b"[7]",
        b"[] x",
    ],
)
def test_a_log_of_another_form_is_refused(raw):
    refused(raw, replay(()) if raw else (bytes(48),) * 4)


@pytest.mark.parametrize(
    "change",
    [
        {"imr": 4},
        {"imr": -1},
        {"imr": True},
        {"imr": "0"},
        {"event_type": -1},
        {"event_type": 2**32},
        {"digest": "00"},
        {"digest": "zz" * 48},
        {"digest": "\u0660" * 96},
        {"digest": None},
        {"event": 7},
        {"event_payload": "0"},
        {"event_payload": 0},
    ],
)
def test_an_entry_of_another_form_is_refused(change):
    refused(as_json(json_entry(0, b"a") | change))


def test_a_lone_surrogate_in_a_name_is_refused_and_ends_nothing():
    entry = json_entry(3, b"a", kind=DSTACK, name="x") | {"event": "\ud800"}
    refused(json.dumps([entry]).encode())


def test_a_log_cut_anywhere_is_refused_or_does_not_replay():
    whole = ccel(ccel_entry(1, b"abc"), ccel_entry(2, b"def"), rest=b"")
    registers = (folded(b"abc"), folded(b"def"), bytes(48), bytes(48))
    check_log(whole, registers)
    for length in range(len(whole)):
        refused(whole[:length], registers)


def test_more_entries_than_a_boot_has_are_refused():
    refused(as_json(*[json_entry(0, b"") for _ in range(4097)])[:MAX_LOG])
    refused(ccel(*[ccel_entry(1, b"", kind=4)] * 4097)[:MAX_LOG])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_log_or_an_error_of_this_package(raw):
    for candidate in (raw, ccel(raw), b"[" + raw):
        with contextlib.suppress(EvidenceError):
            read_log(candidate)


def test_the_verifier_says_whether_a_log_was_sent_and_what_the_application_extended():
    world = World()
    log = as_json(json_entry(3, b"1234", kind=DSTACK, name="app-id"), json_entry(0, b"boot"))
    entries = read_log(log)
    quote = world.quote(rtmrs=replay(entries))
    claims = world.authenticate(quote, aux={"eventlog": log}).claims
    assert claims["eventlog"] == "replayed"
    assert claims["events"] == ({"name": "app-id", "type": DSTACK, "content": b"1234".hex()},)
    claims = world.authenticate(quote).claims
    assert (claims["eventlog"], claims["events"]) == ("absent", ())
    with pytest.raises(EvidenceError) as error:
        world.authenticate(world.quote(), aux={"eventlog": log})
    assert error.value.code == "tdx.eventlog_mismatch"
