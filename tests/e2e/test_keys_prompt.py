"""`confide keys` at a real terminal: passphrases are asked for, hidden, and checked."""

import os
import pty
import select
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.e2e

WORDS = b"correct horse battery staple"
PATIENCE_S = 30


def at_a_terminal(home, words, answers):
    """Run `confide keys`; type each answer when its question is shown.

    Returns:
        The exit code, and everything the terminal showed.
    """
    environment = {**os.environ, "CONFIDE_HOME": str(home), "NO_COLOR": "1"}
    environment.pop("CONFIDE_PASSPHRASE", None)
    terminal, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "confide", "keys", *words],
        env=environment,
        start_new_session=True,
        **dict.fromkeys(("stdin", "stdout", "stderr"), side),
    )
    os.close(side)
    shown, answers, deadline = b"", list(answers), time.monotonic() + PATIENCE_S
    since = 0
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the child closed its side
            break
        if not piece:
            break
        shown += piece
        if answers and answers[0][0] in shown[since:]:
            since = len(shown)
            os.write(terminal, answers.pop(0)[1] + b"\n")
    os.close(terminal)
    code = child.wait(PATIENCE_S)
    assert not answers, shown
    return code, shown


NEW = [(b"New passphrase: ", WORDS), (b"Repeat for confirmation: ", WORDS)]


def test_a_passphrase_is_typed_twice_and_never_shown(tmp_path):
    code, shown = at_a_terminal(tmp_path, ["create", "--store", "passphrase"], NEW)
    assert code == 0
    assert WORDS not in shown
    code, shown = at_a_terminal(tmp_path, ["show", "--check"], [(b"Passphrase: ", WORDS)])
    assert code == 0
    assert WORDS not in shown


def test_a_wrong_passphrase_opens_nothing(tmp_path):
    at_a_terminal(tmp_path, ["create", "--store", "passphrase"], NEW)
    before = (tmp_path / "client" / "kek").read_bytes()
    code, shown = at_a_terminal(tmp_path, ["rotate"], [(b"Passphrase: ", b"a wrong passphrase")])
    assert code == 1
    assert b"wrong passphrase" in shown
    assert (tmp_path / "client" / "kek").read_bytes() == before
