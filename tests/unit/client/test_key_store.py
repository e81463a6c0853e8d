"""Three kinds of store behind one file; a failure leaves the old one as it was."""

import base64
import errno
import os
import stat

import keyring
import pytest
from tests.unit.client.keystore_bench import NOW, WORDS, never_asked, passphrase

from confide.client.keystore import (
    KeySet,
    StoreKind,
    create_kek,
    create_keys,
    describe,
    encode_kek,
    ensure_kek,
    existing_passphrase,
    load_kek,
    load_keys,
    locked,
    move_keys,
    os_keyring,
    replace_keys,
)
from confide.client.keystore.files import MAX_FILE, write_new
from confide.errors import KeystoreError, PassphraseError

pytestmark = pytest.mark.usefixtures("memory_keyring", "cheap")

KINDS = list(StoreKind)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kek"


def make(path, kind, keys=None):
    keys = keys or KeySet.create(NOW)
    create_keys(path, keys, kind, passphrase)
    return keys


def forms(kek):
    """A KEK in every spelling that a search should look for."""
    raw = kek.reveal()
    texts = (raw.hex(), encode_kek(kek), base64.urlsafe_b64encode(raw).decode())
    return [raw, *(text.rstrip("=").encode() for text in texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_back_what_it_got(path, kind):
    keys = make(path, kind)
    assert load_keys(path, passphrase) == keys
    assert load_kek(path, passphrase) == keys.active.kek
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", KINDS)
def test_describing_a_store_asks_for_nothing(path, kind):
    keys = make(path, kind)
    keyring.get_keyring().locked = True
    assert describe(path).kind is kind
    assert describe(path).labels == keys.labels


@pytest.mark.parametrize("kind", [StoreKind.PASSPHRASE, StoreKind.KEYRING])
def test_a_protected_store_has_no_key_in_its_file(path, kind):
    keys = make(path, kind)
    assert not any(form in path.read_bytes() for form in forms(keys.active.kek))


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_store_is_never_replaced(path, kind):
    keys = make(path, StoreKind.FILE)
    with pytest.raises(KeystoreError):
        make(path, kind)
    assert load_keys(path) == keys
    assert keyring.get_keyring().entries == {}


def test_a_store_that_appears_meanwhile_wins_and_the_keyring_is_tidied(path, monkeypatch):
    def overtaken(place, content):
        raise FileExistsError

    monkeypatch.setattr("confide.client.keystore.store.write_new", overtaken)
    with pytest.raises(KeystoreError):
        make(path, StoreKind.KEYRING)
    assert keyring.get_keyring().entries == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotated_store_still_has_the_old_key(path, kind):
    before = make(path, kind)
    after = before.rotate(NOW + 1)
    with locked(path):
        replace_keys(path, after, passphrase)
    assert load_keys(path, passphrase) == after
    assert describe(path).kind is kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("then", KINDS)
def test_keys_move_between_any_two_kinds(path, kind, then):
    keys = make(path, kind, KeySet.create(NOW).rotate(NOW))
    move_keys(path, then, passphrase=passphrase, new_passphrase=passphrase)
    assert load_keys(path, passphrase) == keys
    assert describe(path).kind is then
    expected = len(keys.ids) if then is StoreKind.KEYRING else 0
    assert len(keyring.get_keyring().entries) == expected


def test_a_changed_passphrase_replaces_the_old_one(path):
    keys = make(path, StoreKind.PASSPHRASE)
    other = existing_passphrase("quite another passphrase")
    move_keys(path, StoreKind.PASSPHRASE, passphrase=passphrase, new_passphrase=lambda: other)
    assert load_keys(path, lambda: other) == keys
    with pytest.raises(PassphraseError):
        load_keys(path, passphrase)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_store_and_no_scraps(path, monkeypatch, kind, step):
    keys = make(path, kind)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(KeystoreError):
        replace_keys(path, keys.rotate(NOW), passphrase)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert load_keys(path, passphrase) == keys
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_creates_nothing(path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for kind in KINDS:
        with pytest.raises(KeystoreError):
            make(path, kind)
    assert os.listdir(path.parent) == []
    assert keyring.get_keyring().entries == {}


def test_a_medium_without_links_gets_the_file_all_the_same(path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_new(path, b"first")
    with pytest.raises(FileExistsError):
        write_new(path, b"second")
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_two_changes_at_a_time_are_refused(path):
    with locked(path), pytest.raises(KeystoreError), locked(path):
        pass
    with locked(path):
        pass


def test_nobody_is_asked_to_type_for_a_file_that_will_be_refused(path):
    make(path, StoreKind.PASSPHRASE)
    path.write_bytes(path.read_bytes().replace(b'"iterations":3', b'"iterations":1'))
    with pytest.raises(KeystoreError):
        load_keys(path, never_asked)


def test_a_passphrase_store_without_a_passphrase_is_an_error(path):
    make(path, StoreKind.PASSPHRASE)
    with pytest.raises(KeystoreError):
        load_kek(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"{",
        b'{"v":1,"kind":"something else","keys":[]}',
        b'{"v":2,"kind":"confide-keys","keys":[]}',
        b'{"v":1,"kind":"confide-keys","keys":[]}',
        b'{"v":1,"kind":"confide-keys"}',
        b'{"v":1,"kind":"confide-keys","keys":[],"more":1}',
        b'{"v":1,"kind":"confide-keys-keyring","keys":[]}',
        b'{"v":1,"kind":["confide-keys"],"keys":[]}',
        b"\xff" * 32,
        b"x" * (MAX_FILE + 1),
    ],
)
def test_what_is_no_store_is_refused(path, content):
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeystoreError):
        describe(path)
    with pytest.raises(KeystoreError):
        load_keys(path, passphrase)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_others_can_touch_is_refused(path, kind, mode):
    make(path, kind)
    path.chmod(mode)
    with pytest.raises(KeystoreError):
        load_keys(path, passphrase)


def test_the_file_of_the_first_version_is_read_and_rotates(path):
    kek = create_kek(path)
    keys = load_keys(path)
    assert keys.active.kek == kek
    replace_keys(path, keys.rotate(NOW))
    assert load_keys(path).find(keys.active.id).kek == kek


@pytest.mark.parametrize("kind", KINDS)
def test_starting_the_stack_leaves_any_store_alone(path, kind):
    make(path, kind)
    before = path.read_bytes()
    ensure_kek(path)
    assert path.read_bytes() == before


def test_starting_the_stack_creates_a_key_once(path):
    ensure_kek(path)
    before = path.read_bytes()
    ensure_kek(path)
    assert path.read_bytes() == before


class TestKeyring:
    def test_each_key_is_one_entry_named_by_its_fingerprint(self, path):
        keys = make(path, StoreKind.KEYRING)
        assert keyring.get_keyring().entries == {
            ("confide", f"kek {keys.active.id}"): encode_kek(keys.active.kek)
        }

    def test_a_machine_without_one_is_told_the_other_ways(self, path):
        from keyring.backends import fail, null

        for backend in (fail.Keyring(), null.Keyring()):
            keyring.set_keyring(backend)
            with pytest.raises(KeystoreError) as caught:
                make(path, StoreKind.KEYRING)
            assert "--store passphrase" in caught.value.hint
            assert "--store file" in caught.value.hint
        assert not path.exists()

    def test_one_that_was_chosen_by_hand_and_cannot_work_is_none(self, monkeypatch):
        def refuse():
            raise RuntimeError("no session bus")

        monkeypatch.setattr(keyring, "get_keyring", refuse)
        with pytest.raises(KeystoreError) as caught:
            os_keyring.require()
        assert "--store passphrase" in caught.value.hint

    def test_the_missing_extra_is_named(self, path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "keyring", None)
        with pytest.raises(KeystoreError) as caught:
            os_keyring.require()
        assert "confide[keyring]" in caught.value.hint

    def test_one_that_keeps_nothing_is_noticed(self, path):
        keyring.get_keyring().forgetful = True
        with pytest.raises(KeystoreError):
            make(path, StoreKind.KEYRING)
        assert not path.exists()

    def test_a_locked_one_is_an_error_of_ours(self, path):
        keys = make(path, StoreKind.KEYRING)
        keyring.get_keyring().locked = True
        with pytest.raises(KeystoreError):
            load_keys(path)
        with pytest.raises(KeystoreError):
            replace_keys(path, keys.rotate(NOW))
        with pytest.raises(KeystoreError):
            os_keyring.forget(keys.ids)

    @pytest.mark.parametrize("text", [None, "not a key", encode_kek(KeySet.create(1).active.kek)])
    def test_an_entry_that_is_lost_or_swapped_is_noticed(self, path, text):
        keys = make(path, StoreKind.KEYRING)
        name = ("confide", f"kek {keys.active.id}")
        if text is None:
            del keyring.get_keyring().entries[name]
        else:
            keyring.get_keyring().entries[name] = text
        with pytest.raises(KeystoreError):
            load_keys(path)

    def test_forgetting_what_is_not_there_is_no_error(self):
        os_keyring.forget(["0" * 16])


def test_no_error_repeats_the_passphrase(path):
    make(path, StoreKind.PASSPHRASE)
    with pytest.raises(PassphraseError) as caught:
        load_keys(path, lambda: existing_passphrase(WORDS + "!"))
    assert WORDS not in f"{caught.value} {caught.value.hint}"
