"""One active KEK, retired ones behind it, and nothing lost by rotating or merging."""

import pytest
from tests.unit.client.keystore_bench import NOW

from confide.client.keystore import KeyEntry, KeySet, encode_kek, fingerprint, history
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeystoreError


def test_a_rotated_key_is_kept_as_retired():
    first = KeySet.create(NOW)
    second = first.rotate(NOW + 5)
    assert second.active.id != first.active.id
    assert second.active.created == NOW + 5
    assert second.find(first.active.id).kek == first.active.kek
    assert second.find(first.active.id).retired == NOW + 5


def test_a_retired_key_keeps_its_first_date():
    keys = KeySet.create(NOW).rotate(NOW + 1).rotate(NOW + 2)
    assert [label.retired for label in keys.labels] == [None, NOW + 2, NOW + 1]


def test_merging_another_set_makes_its_key_active_and_keeps_ours():
    ours, theirs = KeySet.create(NOW), KeySet.create(NOW).rotate(NOW)
    merged = ours.merge(theirs, NOW + 9)
    assert merged.ids == (*theirs.ids, *ours.ids)
    assert merged.find(ours.active.id).retired == NOW + 9


def test_merging_an_older_backup_does_not_bring_back_its_active_key():
    before = KeySet.create(NOW)
    now = before.rotate(NOW + 1)
    assert now.merge(before, NOW + 2) == now


def test_merging_the_backup_of_another_machine_loses_no_key():
    base = KeySet.create(NOW)
    here, there = base.rotate(NOW + 1), base.rotate(NOW + 2)
    merged = here.merge(there, NOW + 3)
    assert merged.active.id == there.active.id
    assert set(merged.ids) == set(here.ids) | set(there.ids)


def test_a_set_is_read_as_it_was_written():
    keys = KeySet.create(NOW).rotate(NOW + 1)
    assert KeySet.from_json(keys.to_json()) == keys


def entry(fill, **times):
    kek = SecretBytes(bytes([fill]) * 32)
    item = {"id": fingerprint(kek), "created": 1, "retired": None, "kek": encode_kek(kek)}
    return {**item, **times}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        ["text"],
        [{"id": "0" * 16}],
        [entry(1), entry(2)],
        [entry(1, retired=5)],
        [entry(1, retired=5), entry(2)],
        [entry(1), entry(1, retired=5)],
        [entry(1, id=entry(2)["id"])],
        [entry(1, id="no fingerprint!!")],
        [entry(1, id=7)],
        [entry(1, created=True)],
        [entry(1, created="2026")],
        [entry(1, kek=entry(2)["kek"])],
        [entry(1, kek=entry(1)["kek"][:-4])],
        [entry(1, kek=None)],
        [entry(1, more=1)],
        [entry(1)] * 1001,
    ],
)
def test_what_is_no_set_of_keys_is_refused_without_repeating_it(value):
    with pytest.raises(KeystoreError) as caught:
        KeySet.from_json(value)
    assert entry(1)["kek"] not in str(caught.value)


def test_a_key_that_is_not_there_is_an_error():
    with pytest.raises(KeystoreError):
        KeySet.create(NOW).find("0" * 16)


def test_a_set_does_not_show_its_keys():
    keys = KeySet((KeyEntry(SecretBytes(b"K" * 32)),))
    assert "KKKK" not in f"{keys!r} {keys} {keys.labels}"


def test_the_history_keeps_the_newest_hundred_entries(tmp_path):
    store = tmp_path / "kek"
    for at in range(105):
        history.note(store, "drill", now=at, file=store, data=b"x", keys=["0" * 16])
    assert history.last(store, "drill")["at"] == 104
    assert history.path_for(store).read_bytes().count(b'"at"') == history.MAX_ENTRIES
    assert history.path_for(store).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"entries":7}', '{"entries":[7,{"at":"x"}]}', "\xff"])
def test_an_unreadable_history_is_an_empty_one(tmp_path, text):
    store = tmp_path / "kek"
    history.path_for(store).write_bytes(text.encode("latin-1"))
    history.path_for(store).chmod(0o600)
    assert history.last(store, "drill") is None
