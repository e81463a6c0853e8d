"""Claude Code, as npm installs it, works through the proxy and reaches for no other machine.

It is proprietary and large, so it is no dependency: it is installed into a cache when these
tests run, and they are skipped where that does not work.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import platformdirs
import pytest
from tests.doubles.scripted_model import ScriptedModel
from tests.doubles.serving import serving
from tests.stacks import ECHO

from confide.local.enclave_file import BackendChoice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

VERSION = "2.1.197"  # the last one that runs on node 20
PACKAGE = "@anthropic-ai/claude-code"
SMALL = ["--bare", "--system-prompt", "Answer briefly.", "--tools", "",
         "--disable-slash-commands", "--no-session-persistence"]  # fmt: skip


@pytest.fixture(scope="session")
def claude():
    """The program."""
    folder = Path(platformdirs.user_cache_dir("confide-tests")) / f"claude-code-{VERSION}"
    program = folder / "node_modules" / ".bin" / "claude"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )
        if done.returncode or not program.exists():
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"Claude Code {VERSION} does not install here: npm install {PACKAGE}")
    return program


def run(claude, stack, outside, folder, prompt, *arguments, model):
    home, project = folder / "claude-home", folder / "project"
    for path in (home, project):
        path.mkdir(exist_ok=True)
    port, met = outside
    done = subprocess.run(
        [str(claude), "-p", prompt, "--output-format", "json", *arguments],
        cwd=project,
        env={
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": stack.proxy_url,
            "ANTHROPIC_AUTH_TOKEN": "anything",
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_SMALL_FAST_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "IS_SANDBOX": "1",
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "HTTP_PROXY": f"http://127.0.0.1:{port}",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert met == []
    return json.loads(done.stdout)


def test_a_small_request_is_answered_by_the_embedded_model(claude, stack, outside, tmp_path):
    said = run(claude, stack, outside, tmp_path, "Hello", *SMALL, model="demo-tiny")
    assert said["subtype"] == "success"
    assert said["result"].strip()


def test_a_tool_runs_and_its_result_comes_back(claude, start_stack, outside, tmp_path):
    command = {"command": "echo tool-ran-$((40+2))", "description": "count"}
    model = ScriptedModel("Bash", command)
    with serving(model.application()) as url:
        options = {"base_url": f"{url}/v1", "probe": False}
        stack = start_stack(BackendChoice("openai_http", ("scripted",), options), ECHO)
        said = run(
            claude, stack, outside, tmp_path, "run the tool",
            "--dangerously-skip-permissions", model="scripted",
        )  # fmt: skip
    assert said["subtype"] == "success"
    assert "tool-ran-42" in said["result"]
    first = model.bodies[0]
    assert first["messages"][0]["role"] == "system"
    assert "billing-header" not in json.dumps(model.bodies)
    assert len(first["tools"]) > 10
