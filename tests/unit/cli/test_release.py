"""`confide measure` and `confide release`: from an image to a release that counts."""

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.attest.enclave_double import MANIFEST, MANIFEST_SHA256
from tests.unit.attest.ovmf_image import ovmf

from confide.cli.main import main

pytest.importorskip("sevsnpmeasure", reason="pip install 'confide[measure]'")

END = (datetime.now(tz=UTC) + timedelta(days=60)).date().isoformat()


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return call


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with an image, and nothing of the user's."""
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ovmf.fd").write_bytes(ovmf())
    (tmp_path / "kernel").write_bytes(b"kernel")
    (tmp_path / "manifest.json").write_bytes(MANIFEST)
    return tmp_path


IMAGE = ("measure", "--ovmf", "ovmf.fd", "--kernel", "kernel", "--append", "root=x")
SHAPES = ("--shape", "EPYC-Genoa:4", "--shape", "EPYC-Turin:8")


def written(run, out="release.json", counter=7, version="0.2.0"):
    words = (*("--manifest", "manifest.json", "--out", out, "--release-version", version),
             *("--counter", counter, "--not-after", END))  # fmt: skip
    assert run(*IMAGE, *SHAPES, *words)[0] == 0
    return out


def signers(run, count=3):
    names = [f"{name}.key" for name in ("alice", "bob", "carol", "mallory")][:count]
    for name in names:
        assert run("release", "keygen", name)[0] == 0
    return names


def keys(run, names, *, out="keys.json", version=1, signed_by=None, threshold=2):
    listed = [word for name in names for word in ("--key", f"{name}.pub")]
    words = ("--name", "publisher", "--version", version, "--threshold", threshold)
    assert run("release", "keys", *words, *listed, "--not-after", END, "--out", out)[0] == 0
    for name in names[:2] if signed_by is None else signed_by:
        assert run("release", "sign", out, "--key", name)[0] == 0
    return out


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# measure.


def test_several_shapes_are_measured_at_once(run, work):
    code, out, err = run(*IMAGE, *SHAPES, "--json")
    rows = json.loads(out)
    assert (code, [(row["product"], row["vcpus"]) for row in rows]) == (
        0, [("Genoa", 4), ("Turin", 8)],
    ), err  # fmt: skip
    assert len({row["measurement"] for row in rows}) == 2
    assert rows[0]["measurement"] in run(*IMAGE, *SHAPES)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("--shape", "EPYC-Genoa"),
        ("--shape", "Zen:4@Genoa"),
        (*SHAPES, "--guest-features", "0"),
        (*SHAPES, "--guest-features", "x"),
        (*SHAPES, "--ovmf-digest", "xyz"),
        (*SHAPES, "--ovmf-digest", "00"),
    ],
)
def test_what_cannot_be_measured_is_refused(run, work, words):
    assert run(*IMAGE, *words)[0] == 1


def test_a_release_needs_all_that_it_says(run, work):
    assert run(*IMAGE, *SHAPES, "--out", "release.json")[0] == 2
    assert not (work / "release.json").exists()


def test_a_release_is_never_overwritten(run, work):
    written(run)
    before = (work / "release.json").read_bytes()
    words = ("--manifest", "manifest.json", "--out", "release.json", "--release-version", "9",
             "--counter", "9", "--not-after", END)  # fmt: skip
    assert run(*IMAGE, *SHAPES, *words)[0] == 1
    assert (work / "release.json").read_bytes() == before


# release.


def test_from_an_image_to_a_policy(run, work):
    names = signers(run)
    keys(run, names)
    path = written(run)
    for name in names[1:]:
        assert run("release", "sign", path, "--key", name)[0] == 0
    assert run("release", "trust", "keys.json", "--sha256", digest(work / "keys.json"))[0] == 0
    code, out, err = run("release", "verify", path, "--json")
    found = json.loads(out)
    assert (code, found["counter"], found["measurements"]) == (0, 7, 2), err
    assert len(found["signers"]) == 2
    assert run("policy", "init", "production.toml", "--release", path)[0] == 0
    code, out, _ = run("policy", "check", "production.toml", "--json")
    assert code == 0
    assert any("Turin with 8 vCPUs" in line for line in json.loads(out)["demands"])
    assert MANIFEST_SHA256.hex() in (work / "production.toml").read_text()


def test_keys_are_private_and_never_overwritten(run, work):
    signers(run, 1)
    key = work / "alice.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    assert run("release", "keygen", "alice.key")[0] == 1
    key.unlink()
    # The public half alone is a reason to stop as well.
    assert run("release", "keygen", "alice.key")[0] == 1
    assert not key.exists()
    assert b"PRIVATE" in before


def test_no_private_key_is_printed(run, work):
    code, out, err = run("release", "keygen", "alice.key", "--json")
    secret = (work / "alice.key").read_text().splitlines()[1]
    assert code == 0
    assert secret not in out + err
    assert sorted(json.loads(out)) == ["key_id", "private", "public"]


def test_an_encrypted_key_signs_with_its_passphrase(run, work):
    written(run)
    (work / "secret").write_text("a long enough passphrase\n")
    (work / "short").write_text("short\n")
    assert run("release", "keygen", "a.key", "--passphrase-file", "short")[0] == 1
    assert run("release", "keygen", "a.key", "--passphrase-file", "secret")[0] == 0
    assert "ENCRYPTED" in (work / "a.key").read_text()
    sign = ("release", "sign", "release.json", "--key", "a.key")
    assert run(*sign)[0] == 1
    assert run(*sign, "--passphrase-file", "secret")[0] == 0


def test_the_first_keys_need_their_digest(run, work):
    keys(run, signers(run))
    assert run("release", "trust", "keys.json")[0] == 1
    assert run("release", "trust", "keys.json", "--sha256", "ab" * 32)[0] == 1
    assert run("release", "trust", "keys.json", "--sha256", "xy")[0] == 1
    assert run("release", "verify", written(run))[0] == 1


def test_too_few_signers_an_older_release_and_a_stranger_are_refused(run, work):
    names = signers(run, 4)
    keys(run, names[:3])
    run("release", "trust", "keys.json", "--sha256", digest(work / "keys.json"))
    newest, older = written(run, "new.json", 8), written(run, "old.json", 7, "0.1.0")
    for path in (newest, older):
        run("release", "sign", path, "--key", names[0])
        run("release", "sign", path, "--key", names[3])
        assert run("release", "verify", path)[0] == 3
        run("release", "sign", path, "--key", names[1])
    assert run("release", "verify", newest)[0] == 0
    code, _, err = run("release", "verify", older)
    assert (code, "release 8 was seen" in err) == (3, True)


def test_signers_hand_over(run, work):
    names = signers(run, 4)
    keys(run, names[:3])
    run("release", "trust", "keys.json", "--sha256", digest(work / "keys.json"))
    taken = keys(run, names[3:], out="taken.json", version=2, signed_by=names[3:], threshold=1)
    assert run("release", "trust", taken)[0] == 3
    successor = keys(run, names[1:], out="next.json", version=2)
    code, out, err = run("release", "trust", successor, "--json")
    assert (code, json.loads(out)["version"]) == (0, 2), err


def test_only_releases_and_keys_are_signed(run, work):
    names = signers(run, 1)
    written(run)
    other = json.loads((work / "release.json").read_text()) | {"payloadType": "text/plain"}
    (work / "other.json").write_text(json.dumps(other))
    assert run("release", "sign", "other.json", "--key", names[0])[0] == 1
    assert run("release", "sign", "manifest.json", "--key", names[0])[0] == 3
    assert json.loads((work / "other.json").read_text()) == other


def test_who_built_it_is_asked_for_in_full(run, work):
    path = written(run)
    assert run("release", "verify", path, "--sigstore", path)[0] == 2
    words = ("--repository", "a/b", "--workflow", ".github/workflows/c.yml", "--tag")
    assert run("release", "verify", path, "--sigstore", path, *words, "main")[0] == 1
    assert run("release", "verify", path, "--sigstore", path, *words, "refs/tags/v1")[0] == 3
