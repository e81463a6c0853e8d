"""`confide keys`: what people type, what they see, and what nobody ever sees."""

import base64
import json
import logging

import keyring
import pytest
from tests.unit.client.conftest import cheap, memory_keyring  # noqa: F401 - fixtures
from tests.unit.client.keystore_bench import WORDS

from confide.cli import keys_ask
from confide.cli.main import main
from confide.client.keystore import encode_kek, load_keys
from confide.client.keystore.passphrase import existing_passphrase

pytestmark = pytest.mark.usefixtures("memory_keyring", "cheap")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONFIDE_PASSPHRASE", WORDS)
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys):
    """Run one command; return exit code, standard output and standard error."""

    def runner(*words):
        with pytest.raises(SystemExit) as caught:
            main(["keys", *map(str, words)])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return runner


@pytest.fixture
def ask(run):
    """Run one command with --json that must succeed; return what it printed."""

    def asker(*words):
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return asker


@pytest.fixture
def people(ask, tmp_path):
    """Two identities, and a file with their recipients."""
    made = [ask("identity", tmp_path / name) for name in ("first.txt", "second.txt")]
    file = tmp_path / "recipients.txt"
    file.write_text("# who may open it\n\n" + "\n".join(item["recipient"] for item in made))
    return file


def keys_of(home):
    return load_keys(home / "client" / "kek", lambda: existing_passphrase(WORDS))


@pytest.mark.parametrize("store", ["keyring", "passphrase", "file"])
def test_a_key_from_creation_to_restoration_on_another_machine(
    ask, run, people, home, tmp_path, store
):
    created = ask("create", "--store", store)
    rotated = ask("rotate")
    assert rotated["retired"] == [created["fingerprint"]]
    backup = ask("backup", tmp_path / "keys.age", "--recipients-file", people)
    assert backup["recipients"] == 2
    proof = ask(
        "drill", tmp_path / "keys.age", *("--identity", tmp_path / "first.txt"),
        *("--identity", tmp_path / "second.txt"),
    )  # fmt: skip
    assert proof["passed"]
    assert proof["proven"] == [rotated["fingerprint"], created["fingerprint"]]
    shown = ask("show", "--check")
    assert shown["fingerprint"] == rotated["fingerprint"]
    assert shown["opened"]
    assert shown["last_drill"]
    elsewhere = tmp_path / "elsewhere"
    restored = ask(
        "restore", tmp_path / "keys.age", "--identity", tmp_path / "second.txt",
        "--store", "file", "--path", elsewhere,
    )  # fmt: skip
    assert restored["fingerprint"] == rotated["fingerprint"]
    assert load_keys(elsewhere) == keys_of(home)


def test_shares_bring_the_key_back(ask, run, home, tmp_path):
    created = ask("create", "--store", "passphrase")
    code, out, err = run("shares", tmp_path, "--json")
    assert code == 0
    assert "should not be used for sensitive secrets" in err
    files = json.loads(out)["files"]
    elsewhere = tmp_path / "elsewhere"
    words = ["--share", files[0], "--share", files[2], "--store", "file", "--path", elsewhere]
    code, _, err = run("restore", *words)
    assert code == 0
    assert "should not be used for sensitive secrets" in err
    assert load_keys(elsewhere).active.id == created["fingerprint"]
    assert run("shares", tmp_path)[0] == 1  # nothing is written over


def test_a_machine_without_a_keyring_is_told_what_else_there_is(run, home):
    from keyring.backends import fail

    keyring.set_keyring(fail.Keyring())
    code, _, err = run("create")
    assert code == 1
    assert "--store passphrase" in err
    assert not (home / "client" / "kek").exists()


def test_creating_twice_changes_nothing(ask, run, home):
    ask("create", "--store", "file")
    before = (home / "client" / "kek").read_bytes()
    assert run("create", "--store", "file")[0] == 1
    assert (home / "client" / "kek").read_bytes() == before


def test_restoring_over_a_store_needs_a_word_and_loses_nothing(ask, run, people, home, tmp_path):
    first = ask("create", "--store", "passphrase")
    ask("backup", tmp_path / "keys.age", "--recipients-file", people)
    (home / "client" / "kek").unlink()
    second = ask("create", "--store", "passphrase")
    words = ["restore", tmp_path / "keys.age", "--identity", tmp_path / "first.txt"]
    assert run(*words)[0] == 1
    assert keys_of(home).ids == (second["fingerprint"],)
    merged = ask(*words, "--merge")
    assert merged["fingerprint"] == first["fingerprint"]
    assert merged["retired"] == [second["fingerprint"]]


def test_a_drill_with_an_old_backup_fails_and_is_not_recorded(ask, run, people, tmp_path):
    ask("create", "--store", "file")
    ask("backup", tmp_path / "keys.age", "--recipients-file", people)
    rotated = ask("rotate")
    code, out, _ = run(
        "drill", tmp_path / "keys.age", "--identity", tmp_path / "first.txt", "--json"
    )
    assert code == 1
    assert json.loads(out)["missing"] == [rotated["fingerprint"]]
    assert ask("show")["last_drill"] is None


def test_a_drill_says_which_recipients_it_did_not_try(ask, run, people, tmp_path):
    ask("create", "--store", "file")
    ask("backup", tmp_path / "keys.age", "--recipients-file", people)
    _, _, err = run("drill", tmp_path / "keys.age", "--identity", tmp_path / "first.txt")
    assert "1 of 2 recipients were not tried" in err
    again = ask("drill", tmp_path / "keys.age", "--identity", tmp_path / "first.txt")
    assert again["drill_before"] is not None


@pytest.mark.parametrize("count", [0, 1])
def test_a_backup_for_fewer_than_two_is_refused(ask, run, people, tmp_path, count):
    ask("create", "--store", "file")
    recipients = people.read_text().splitlines()[2 : 2 + count]
    words = [word for recipient in recipients for word in ("-r", recipient)]
    assert run("backup", tmp_path / "keys.age", *words)[0] == 1
    assert not (tmp_path / "keys.age").exists()


def test_a_backup_never_replaces_a_file(ask, run, people, tmp_path):
    ask("create", "--store", "file")
    (tmp_path / "keys.age").write_text("precious")
    assert run("backup", tmp_path / "keys.age", "--recipients-file", people)[0] == 1
    assert (tmp_path / "keys.age").read_text() == "precious"


@pytest.mark.parametrize(
    "words",
    [
        ["restore"],
        ["restore", "{file}"],
        ["restore", "{file}", "--share", "{file}"],
        ["drill", "{file}"],
        ["protect"],
        ["create", "--store", "cloud"],
    ],
)
def test_half_a_command_is_a_usage_error(run, ask, people, words):
    ask("create", "--store", "file", "--path", people.with_name("other"))
    assert run(*(word.format(file=people) for word in words))[0] in (1, 2)


def test_a_pin_is_refused(run, home, monkeypatch):
    monkeypatch.setenv("CONFIDE_PASSPHRASE", "12345678901234567890")
    code, _, err = run("create", "--store", "passphrase")
    assert code == 1
    assert "12345678901234567890" not in err
    assert not (home / "client" / "kek").exists()


def test_a_passphrase_file_wins_and_must_be_private(ask, run, home, tmp_path, monkeypatch):
    monkeypatch.delenv("CONFIDE_PASSPHRASE")
    file = tmp_path / "passphrase"
    file.write_text(WORDS + "\n")
    file.chmod(0o644)
    words = ["create", "--store", "passphrase", "--passphrase-file", file]
    assert run(*words)[0] == 1
    file.chmod(0o600)
    ask(*words)
    assert keys_of(home).active.id


def test_without_a_terminal_nobody_waits_for_a_passphrase(run, monkeypatch):
    monkeypatch.delenv("CONFIDE_PASSPHRASE")
    code, _, err = run("create", "--store", "passphrase")
    assert code == 1
    assert "--passphrase-file" in err


def test_a_typed_passphrase_is_asked_for_twice_and_hidden(ask, home, monkeypatch):
    monkeypatch.delenv("CONFIDE_PASSPHRASE")
    asked = []

    def prompt(text, **options):
        asked.append((text, options["hide_input"], options["confirmation_prompt"]))
        return WORDS

    monkeypatch.setattr(keys_ask.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(keys_ask.click, "prompt", prompt)
    ask("create", "--store", "passphrase")
    ask("rotate")
    assert asked == [("New passphrase", True, True), ("Passphrase", True, False)]


def test_protect_moves_a_plain_key_under_a_passphrase(ask, run, home, monkeypatch, tmp_path):
    created = ask("create", "--store", "file")
    kek = keys_of(home).active.kek
    moved = ask("protect", "--store", "passphrase")
    assert moved["fingerprint"] == created["fingerprint"]
    assert encode_kek(kek).encode() not in (home / "client" / "kek").read_bytes()
    other = tmp_path / "other"
    other.write_text("another long passphrase")
    other.chmod(0o600)
    ask("protect", "--store", "passphrase", "--new-passphrase-file", other)
    monkeypatch.setenv("CONFIDE_PASSPHRASE", WORDS)
    assert run("show", "--check")[0] == 1
    assert ask("show", "--check", "--passphrase-file", other)["opened"]


def test_the_stores_history_has_no_secret_and_says_when(ask, people, home, tmp_path):
    ask("create", "--store", "file")
    ask("backup", tmp_path / "keys.age", "--recipients-file", people)
    history = json.loads((home / "client" / "kek.history.json").read_text())
    assert history["entries"][0]["what"] == "backup"
    assert history["entries"][0]["file"] == "keys.age"


class TestCanary:
    """Search everything that leaves a command for the keys that went through it."""

    @pytest.fixture
    def everything(self, run, people, home, tmp_path, caplog):
        """Run every command, with errors too; return output, logs and the keys."""
        caplog.set_level(logging.DEBUG)
        said, keys = [], []
        backup, place = tmp_path / "keys.age", home / "client" / "kek"
        first, second = ("--identity", tmp_path / "first.txt"), ("--identity", people)
        for words in (
            ["create", "--store", "passphrase"],
            ["create", "--store", "passphrase"],
            ["rotate"],
            ["show", "--check"],
            ["backup", backup, "--recipients-file", people],
            ["backup", backup, "--recipients-file", people],
            ["backup", tmp_path / "no" / "folder", "--recipients-file", people],
            ["drill", backup, *first],
            ["drill", backup, *second],
            ["drill", people, *first],
            ["restore", backup, *first],
            ["restore", backup, *first, "--merge"],
            ["restore", backup, *first, "--path", tmp_path / "new", "--store", "passphrase"],
            ["shares", tmp_path],
            ["protect", "--store", "keyring"],
            ["rotate", "--json"],
            ["protect", "--store", "passphrase"],
        ):
            said.extend(run(*words)[1:])
            keys += [e.kek for e in keys_of(home).entries] if place.exists() else []
        secrets = [(tmp_path / name).read_text().splitlines()[-1] for name in ("first.txt",)]
        return "\n".join([*said, caplog.text]), keys, secrets

    def test_nothing_said_or_logged_holds_a_key_or_a_passphrase(self, everything):
        text, keys, secrets = everything
        assert len({bytes(kek.reveal()) for kek in keys}) == 3
        for kek in keys:
            raw = kek.reveal()
            for form in (
                raw.hex(), raw.hex().upper(), encode_kek(kek).rstrip("="), repr(raw)[2:-1],
                base64.urlsafe_b64encode(raw).decode().rstrip("="),
            ):  # fmt: skip
                assert form not in text
        assert WORDS not in text
        for secret in secrets:
            assert secret not in text

    def test_no_file_but_the_shares_holds_a_key(self, everything, tmp_path):
        _, keys, _ = everything
        for path in tmp_path.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                for kek in keys:
                    raw = kek.reveal()
                    for form in (raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")):
                        assert form not in content, path

    def test_no_scrap_is_left(self, everything, home):
        assert sorted(path.name for path in (home / "client").iterdir()) == [
            ".kek.lock", "kek", "kek.history.json",
        ]  # fmt: skip
