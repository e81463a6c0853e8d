"""A release counts while it is signed, in its dates, understood, and not older than one seen."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attest.enclave_double import MANIFEST_SHA256, MEASUREMENT, NOW
from tests.unit.attest.releases.publisher import (
    ALICE,
    BOB,
    CAROL,
    END,
    KEYS,
    MALLORY,
    WORKLOAD,
    keys_file,
    next_keys,
    release,
)

from confide.attest.reference_values import ReferenceValue
from confide.attest.releases.dsse import Envelope
from confide.attest.releases.history import ReleaseStore
from confide.attest.releases.manifest import read_release
from confide.errors import AttestationError, ConfigError

FULL = release()
FIRST = keys_file()
DIGEST = hashlib.sha256(FIRST).digest()


def load(raw, *, keys=KEYS, at=NOW):
    return read_release(raw, keys=keys, at=at)


def code(call, *arguments, **options):
    with pytest.raises((AttestationError, ConfigError)) as caught:
        call(*arguments, **options)
    return caught.value.code


def resigned(**changes):
    envelope = Envelope.parse(FULL)
    members = json.loads(envelope.payload) | changes
    payload = json.dumps({k: v for k, v in members.items() if v is not ...}).encode()
    return BOB.sign(ALICE.sign(replace(envelope, payload=payload))).encode()


def test_a_signed_release_is_read():
    found = load(FULL)
    assert (found.name, found.version, found.counter) == ("confide", "0.2.0", 7)
    assert found.signers == (ALICE.public.id, BOB.public.id)
    expected = ReferenceValue("confide-0.2.0", "sev-snp", MEASUREMENT, MANIFEST_SHA256, "Genoa")
    assert found.reference_values().values == (expected,)
    assert found.reference_values().not_after == found.not_after == NOW + timedelta(days=90)


def test_a_release_of_too_few_or_other_signers_is_refused():
    assert code(load, release(signers=(ALICE,))) == "reference.threshold"
    assert code(load, release(signers=(MALLORY,))) == "reference.signature"
    assert code(load, release(signers=())) == "reference.signature"


def test_the_signatures_are_checked_before_anything_else():
    assert code(load, release(signers=(MALLORY,)), at=NOW + timedelta(days=999)) == (
        "reference.signature"
    )


def test_a_changed_release_is_refused():
    envelope = Envelope.parse(FULL)
    changed = envelope.payload.replace(b'"counter":7', b'"counter":8')
    assert code(load, replace(envelope, payload=changed).encode()) == "reference.signature"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW + timedelta(days=90), "reference.expired"),
        (NOW - timedelta(seconds=1), "reference.not_yet_valid"),
        (END, "reference.keys_expired"),
    ],
)
def test_a_release_outside_its_dates_is_refused(at, expected):
    assert code(load, FULL, at=at) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"name": ...},
        {"counter": ...},
        {"counter": -1},
        {"counter": 1.5},
        {"not_after": None},
        {"v": 2},
        {"workloads": {}},
        {"workloads": [5]},
        {"workloads": []},
        {"workloads": [{}]},
        {"workloads": [WORKLOAD | {"x": 1}]},
        {"workloads": [WORKLOAD | {"snp": []}]},
        {"workloads": [{k: v for k, v in WORKLOAD.items() if k != "snp"}]},
        {"workloads": [WORKLOAD, WORKLOAD]},
        {"workloads": [WORKLOAD | {"manifest_sha256": "*"}]},
    ],
)
def test_a_signed_release_that_is_not_understood_is_refused(changes):
    load(resigned())
    assert code(load, resigned(**changes))


def test_a_release_that_clients_would_refuse_cannot_be_written():
    assert code(release, workloads=[WORKLOAD | {"manifest_sha256": "0" * 64}]) == "policy.invalid"
    assert code(release, workloads=[]) == "policy.no_workload"


def test_a_release_without_end_in_this_calendar_is_cut_to_it():
    assert load(resigned(not_after=2**52)).not_after.year == 9999


def test_a_list_of_signers_is_no_release():
    assert code(load, keys_file()) == "envelope.type"


@given(st.binary(max_size=300))
def test_only_refusals_escape(raw):
    assert code(load, raw)


# What was seen before.


@pytest.fixture
def store(tmp_path):
    found = ReleaseStore(tmp_path / "releases")
    found.trust(FIRST, sha256=DIGEST, at=NOW)
    return found


def test_nothing_is_trusted_before_the_user_said_whom(tmp_path):
    empty = ReleaseStore(tmp_path)
    assert code(empty.accept, FULL, at=NOW) == "reference.untrusted"
    assert code(empty.trust, FIRST, sha256=None, at=NOW) == "reference.untrusted"
    assert code(empty.trust, FIRST, sha256=bytes(32), at=NOW) == "reference.untrusted"
    assert code(empty.trust, FIRST, sha256=DIGEST, at=END) == "reference.keys_expired"
    assert code(empty.accept, FULL, at=NOW) == "reference.untrusted"
    assert list(tmp_path.iterdir()) == []


def test_the_same_and_a_newer_release_are_accepted(store):
    assert store.accept(FULL, at=NOW).counter == 7
    assert store.accept(FULL, at=NOW).counter == 7
    assert store.accept(release(9), at=NOW).counter == 9


def test_an_older_release_is_refused(store):
    store.accept(release(8), at=NOW)
    assert code(store.accept, FULL, at=NOW) == "reference.rollback"
    assert code(ReleaseStore(store.folder).accept, FULL, at=NOW) == "reference.rollback"


def test_two_releases_with_one_counter_are_refused(store):
    store.accept(FULL, at=NOW)
    assert code(store.accept, release(version="0.2.1"), at=NOW) == "reference.rollback"


def test_each_name_has_its_own_counter(store):
    store.accept(release(8), at=NOW)
    assert store.accept(release(1, name="other"), at=NOW).counter == 1
    assert code(store.accept, FULL, at=NOW) == "reference.rollback"


def test_a_refused_release_leaves_no_trace(store):
    store.accept(FULL, at=NOW)
    before = (store.folder / "history.json").read_bytes()
    assert code(store.accept, release(9, signers=(ALICE,)), at=NOW) == "reference.threshold"
    assert (store.folder / "history.json").read_bytes() == before
    assert {path.name for path in store.folder.iterdir()} == {"keys.json", "history.json"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"v":2,"releases":{}}', b'{"v":1,"releases":[]}', b'{"v":1,"releases":{"a":1}}'],
)
def test_a_damaged_history_is_no_empty_history(store, content):
    store.accept(release(8), at=NOW)
    (store.folder / "history.json").write_bytes(content)
    with pytest.raises(ConfigError):
        store.accept(FULL, at=NOW)


def test_signers_hand_over_and_never_back(store):
    second = keys_file(next_keys(), BOB, CAROL)
    assert store.trust(second, sha256=None, at=NOW).version == 2
    assert store.trust(second, sha256=None, at=NOW).version == 2
    assert code(store.trust, FIRST, sha256=DIGEST, at=NOW) in (
        "reference.rotation",
        "reference.signature",
        "reference.threshold",
    )
    assert store.keys().version == 2
    with pytest.raises(ConfigError):
        store.trust(second, sha256=bytes(32), at=NOW)
    # Alice is no signer any more, and Carol and Mallory are.
    assert code(store.accept, release(), at=NOW) == "reference.threshold"
    assert store.accept(release(signers=(CAROL, MALLORY)), at=NOW).counter == 7


def test_a_damaged_list_of_signers_is_no_empty_list(store):
    (store.folder / "keys.json").write_bytes(b"{}")
    with pytest.raises(ConfigError):
        store.accept(FULL, at=NOW)
    with pytest.raises(ConfigError):
        store.trust(FIRST, sha256=DIGEST, at=NOW)
