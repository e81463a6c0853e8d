"""A log stays within its size, whatever is written."""

import os
import stat
import subprocess
import sys

import pytest

from confide.telemetry.rotation import RotatingFile


def files(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_full_files_move_on_and_the_oldest_is_dropped(tmp_path):
    log = RotatingFile(tmp_path / "log", max_bytes=10, kept=2)
    for number in range(5):
        log.write(f"line {number}\n")
        log.flush()
    log.close()
    assert files(tmp_path) == {"log": "line 4\n", "log.1": "line 3\n", "log.2": "line 2\n"}


def test_an_existing_file_is_continued_and_counts(tmp_path):
    (tmp_path / "log").write_text("123456789\n")
    log = RotatingFile(tmp_path / "log", max_bytes=10, kept=1)
    log.write("next\n")
    log.close()
    assert files(tmp_path) == {"log": "next\n", "log.1": "123456789\n"}


def test_a_line_longer_than_a_file_is_still_written(tmp_path):
    log = RotatingFile(tmp_path / "log", max_bytes=4, kept=1)
    log.write("a long line\n")
    log.close()
    assert files(tmp_path) == {"log": "a long line\n"}


def test_no_old_file_is_kept_if_none_is_wanted(tmp_path):
    log = RotatingFile(tmp_path / "log", max_bytes=4, kept=0)
    log.write("one\n")
    log.write("two\n")
    log.close()
    assert files(tmp_path) == {"log": "two\n"}


def test_only_the_owner_may_read_it(tmp_path):
    log = RotatingFile(tmp_path / "log", max_bytes=4, kept=1)
    log.write("one\n")
    log.write("two\n")
    log.close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_standard_error_follows_to_the_new_file(tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from confide.telemetry.rotation import RotatingFile\n"
        "log = RotatingFile(Path(sys.argv[1]), max_bytes=4, kept=1)\n"
        "log.write('one\\n'); log.write('two\\n')\n"
        "sys.stderr.write('crash\\n')\n"
    )
    path = tmp_path / "log"
    with path.open("ab") as output:
        subprocess.run([sys.executable, "-c", script, path], stderr=output, check=True)
    assert files(tmp_path) == {"log": "two\ncrash\n", "log.1": "one\n"}


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError):
        RotatingFile(tmp_path / "none" / "log")
    assert os.listdir(tmp_path) == []
