"""Foreign implementations as fixtures."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "node" / "peer.mjs"


class NpmPeer:
    """A node process that answers one line per request."""

    def __init__(self, node_modules: Path) -> None:
        # ES modules are looked up beside the script, so the script goes to the packages.
        script = node_modules.parent / SCRIPT.name
        shutil.copy(SCRIPT, script)
        self._process = subprocess.Popen(
            ["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, command: str, **request: object) -> dict:
        """Send one command; bytes are given and returned as hex."""
        self._process.stdin.write(json.dumps({"command": command, **request}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def npm_peer(node_modules):
    """The npm packages, ready to answer."""
    peer = NpmPeer(node_modules)
    yield peer
    peer.close()
