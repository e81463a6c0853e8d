"""A backup has two recipients, comes back whole, and a drill says what it proved."""

import itertools
import json
import os
from pathlib import Path

import pytest
import shamir_mnemonic
from tests.unit.client.keystore_bench import NOW

from confide.client.keystore import KeySet, drill, encode_kek, open_backup, seal_backup, shares
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import AgeFileError, KeystoreError, NoMatchingIdentity
from confide.sealing import age

pytestmark = pytest.mark.usefixtures("cheap")

FIRST, SECOND, STRANGER = (age.HybridIdentity.generate() for _ in range(3))
CLASSICAL = [age.X25519Identity.generate() for _ in range(2)]
KEYS = KeySet.create(NOW).rotate(NOW + 1)
BACKUP = seal_backup(KEYS, [FIRST.recipient, SECOND.recipient], now=NOW)


def test_each_identity_gives_every_key_back_retired_ones_too():
    assert open_backup(BACKUP, [FIRST]) == open_backup(BACKUP, [SECOND]) == KEYS


def test_a_stranger_gets_nothing():
    with pytest.raises(NoMatchingIdentity):
        open_backup(BACKUP, [STRANGER])


def test_the_file_shows_no_key():
    for entry in KEYS.entries:
        assert encode_kek(entry.kek).encode() not in BACKUP
        assert entry.id.encode() not in BACKUP


def test_the_stock_tool_gets_text_that_explains_itself():
    document = json.loads(age.decrypt(BACKUP, [FIRST]))
    assert document["keys"][0]["kek"] == encode_kek(KEYS.active.kek)
    assert "confide keys restore" in document["about"]


@pytest.mark.parametrize(
    "recipients",
    [[], [FIRST.recipient], [FIRST.recipient, age.parse_recipient(str(FIRST.recipient))]],
    ids=["none", "one", "one twice"],
)
def test_fewer_than_two_recipients_are_refused(recipients):
    with pytest.raises(KeystoreError):
        seal_backup(KEYS, recipients, now=NOW)


def test_classical_recipients_need_a_word_and_no_company():
    classical = [identity.recipient for identity in CLASSICAL]
    with pytest.raises(KeystoreError):
        seal_backup(KEYS, classical, now=NOW)
    with pytest.raises(KeystoreError):
        seal_backup(KEYS, [FIRST.recipient, classical[0]], now=NOW)
    with pytest.raises(AgeFileError):
        seal_backup(KEYS, [FIRST.recipient, classical[0]], now=NOW, allow_classical=True)
    allowed = seal_backup(KEYS, classical, now=NOW, allow_classical=True)
    assert open_backup(allowed, CLASSICAL[1:]) == KEYS


DOCUMENT = json.loads(age.decrypt(BACKUP, [FIRST]))


@pytest.mark.parametrize(
    "content",
    [
        b"holiday photos",
        b"{}",
        json.dumps({**DOCUMENT, "v": 2}).encode(),
        json.dumps({**DOCUMENT, "kind": "something else"}).encode(),
        json.dumps({**DOCUMENT, "more": 1}).encode(),
        json.dumps({**DOCUMENT, "keys": []}).encode(),
    ],
)
def test_another_age_file_is_not_taken_for_a_backup(content):
    with pytest.raises(KeystoreError):
        open_backup(age.encrypt(content, [FIRST.recipient]), [FIRST])


class TestDrill:
    def test_it_names_what_came_back_and_with_whom(self, tmp_path):
        report = drill(BACKUP, [FIRST, SECOND], KEYS.ids, folder=tmp_path)
        assert report.proven == KEYS.ids
        assert (report.missing, report.unknown, report.recipients) == ((), (), 2)
        assert report.opened_with == (str(FIRST.recipient), str(SECOND.recipient))

    def test_it_leaves_nothing_and_never_writes_a_key(self, tmp_path, monkeypatch):
        seen = []

        def look(descriptor):
            seen.extend(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

        monkeypatch.setattr(os, "fsync", look)  # every file is flushed before it has its name
        drill(BACKUP, [FIRST], KEYS.ids, folder=tmp_path)
        assert any(seen)
        for content, entry in itertools.product(seen, KEYS.entries):
            assert encode_kek(entry.kek).encode() not in content
        assert list(tmp_path.iterdir()) == []

    def test_a_backup_from_before_a_rotation_lacks_the_new_key(self, tmp_path):
        after = KEYS.rotate(NOW + 2)
        report = drill(BACKUP, [FIRST], after.ids, folder=tmp_path)
        assert report.missing == (after.active.id,)
        assert report.proven == KEYS.ids

    def test_keys_of_another_store_are_named_as_unknown(self, tmp_path):
        report = drill(BACKUP, [FIRST], ["0" * 16], folder=tmp_path)
        assert (report.proven, report.missing, report.unknown) == ((), ("0" * 16,), KEYS.ids)

    def test_one_identity_that_does_not_open_fails_it(self, tmp_path):
        with pytest.raises(NoMatchingIdentity):
            drill(BACKUP, [FIRST, STRANGER], KEYS.ids, folder=tmp_path)
        with pytest.raises(KeystoreError):
            drill(BACKUP, [], KEYS.ids, folder=tmp_path)

    def test_a_damaged_file_fails_it(self, tmp_path):
        with pytest.raises(AgeFileError):
            drill(BACKUP.replace(b"A", b"B"), [FIRST], KEYS.ids, folder=tmp_path)


VECTORS = json.loads(Path("tests/vectors/crypto/slip39_vectors.json").read_text())


class TestShares:
    KEK = KEYS.active.kek

    @pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0][:40])
    def test_the_library_passes_the_vectors_of_slip_39(self, vector):
        _, mnemonics, secret, _ = vector
        if secret:
            assert shamir_mnemonic.combine_mnemonics(mnemonics, b"TREZOR").hex() == secret
            return
        with pytest.raises(shamir_mnemonic.MnemonicError):
            shamir_mnemonic.combine_mnemonics(mnemonics, b"TREZOR")
        with pytest.raises(KeystoreError):
            shares.combine(mnemonics)

    def test_there_are_45_vectors(self):
        assert len(VECTORS) == 45

    def test_any_two_of_three_give_the_key_back(self):
        made = shares.split(self.KEK)
        assert len(made) == 3
        for pair in itertools.permutations(made, 2):
            assert shares.combine(pair) == self.KEK

    def test_one_share_gives_nothing(self):
        with pytest.raises(KeystoreError):
            shares.combine(shares.split(self.KEK)[:1])

    def test_shares_of_two_sets_do_not_mix(self):
        one, other = shares.split(self.KEK), shares.split(self.KEK)
        with pytest.raises(KeystoreError):
            shares.combine([one[0], other[1]])

    def test_a_mistyped_word_is_noticed_and_not_repeated(self):
        first, second, _ = shares.split(self.KEK)
        words = first.split()
        words[10] = "academic" if words[10] != "academic" else "acid"
        with pytest.raises(KeystoreError) as caught:
            shares.combine([" ".join(words), second])
        assert not any(word in str(caught.value).split() for word in words[4:])

    @pytest.mark.parametrize("texts", [[], [""], ["academic " * 500], ["é"], ["academic", ""]])
    def test_anything_else_is_refused(self, texts):
        with pytest.raises(KeystoreError):
            shares.combine(texts)

    def test_shares_of_another_length_are_no_kek(self):
        short = shamir_mnemonic.generate_mnemonics(1, [(2, 3)], bytes(16))[0]
        with pytest.raises(KeystoreError):
            shares.combine(short[:2])

    def test_a_share_file_says_what_it_is(self):
        words = shares.split(self.KEK)[0]
        text = shares.share_text(words, 1, self.KEK)
        assert shares.read_share(text) == words
        assert KEYS.active.id in text

    @pytest.mark.parametrize("text", ["", "# only this\n", "one line\nanother line\n"])
    def test_a_share_file_has_one_line_of_words(self, text):
        with pytest.raises(KeystoreError):
            shares.read_share(text)

    def test_the_missing_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "shamir_mnemonic", None)
        with pytest.raises(KeystoreError) as caught:
            shares.split(self.KEK)
        assert "confide[shares]" in caught.value.hint

    def test_shares_that_do_not_come_back_are_never_given_out(self, monkeypatch):
        monkeypatch.setattr(shares, "combine", lambda pair: SecretBytes(bytes(32)))
        with pytest.raises(KeystoreError):
            shares.split(self.KEK)
