"""The data directory is private, whole or absent, and says clearly when it cannot be written."""

import os
import stat
import subprocess
import sys

import pytest

from confide.errors import ConfigError
from confide.local.home import Home, write_private


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_created_private(tmp_path):
    home = Home(tmp_path / "data")
    home.prepare()
    write_private(home.client_env, b"secret")
    assert mode(home.path) == 0o700
    assert mode(home.gateway) == 0o700
    assert mode(home.client_env) == 0o600


def test_confide_home_overrides_the_platform_default(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path / "mine"))
    assert Home.default().path == tmp_path / "mine"
    monkeypatch.delenv("CONFIDE_HOME")
    assert Home.default().path != tmp_path / "mine"


def test_a_data_directory_that_cannot_be_created_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError) as refusal:
        Home(blocked / "data").prepare()
    assert str(blocked / "data") in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user: sudo make test")
def test_an_unwritable_data_directory_is_refused_for_an_ordinary_user(tmp_path):
    tmp_path.chmod(0o755)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    code = (
        "import os, sys, pathlib\n"
        "from confide.local.home import Home\n"
        "from confide.errors import ConfigError\n"
        "os.setuid(65534)\n"
        "try: Home(pathlib.Path(sys.argv[1])).prepare()\n"
        "except ConfigError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert str(folder) in run.stdout, run.stderr
    assert list(folder.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "kek"
    write_private(target, b"old")

    def no_space(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ConfigError):
        write_private(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["kek"]
