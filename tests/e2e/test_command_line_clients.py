"""llm, OpenCode and aider work through the proxy as their how-to pages say, and reach nowhere else.

llm is a dependency of the tests. OpenCode is installed from npm into a cache. aider needs 690 MB,
so its test runs where the cache has it; the reason for skipping names the command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from tests.doubles.scripted_model import ScriptedModel
from tests.doubles.serving import serving
from tests.stacks import ECHO

from confide.local.enclave_file import BackendChoice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CACHE = Path(platformdirs.user_cache_dir("confide-tests"))
OPENCODE = "1.18.33"
AIDER = "0.86.2"


def launch(stack, outside, folder, *command, allowed=(), **further):
    """Run a program with `confide proxy exec`, in a home of its own, with nowhere else to go."""
    port, met = outside
    home, project = folder / "home", folder / "project"
    for path in (home, project):
        path.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "CONFIDE_HOME": str(stack.home.path),
        "HTTPS_PROXY": f"http://127.0.0.1:{port}",
        "HTTP_PROXY": f"http://127.0.0.1:{port}",
        "https_proxy": f"http://127.0.0.1:{port}",
        "http_proxy": f"http://127.0.0.1:{port}",
        **further,
    }
    done = subprocess.run(
        [sys.executable, "-m", "confide", "proxy", "exec", "--", *command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = [line for line in met if not line.startswith(tuple(allowed))]
    assert elsewhere == [], "it reached for another machine"
    return done.stdout


# ---- llm -----------------------------------------------------------------------------------------


def test_llm_asks_an_endpoint_without_keeping_the_answer(stack, outside, tmp_path):
    ask = 'llm openai endpoint "$OPENAI_BASE_URL" -m echo --key "$OPENAI_API_KEY" "one two three"'
    assert "one two three" in launch(stack, outside, tmp_path, "sh", "-c", ask)


def test_llm_with_a_configured_model_streams_and_uses_a_tool(start_stack, outside, tmp_path):
    model = ScriptedModel("llm_version")
    with serving(model.application()) as url:
        options = {"base_url": f"{url}/v1", "probe": False}
        stack = start_stack(BackendChoice("openai_http", ("scripted",), options), ECHO)
        (tmp_path / "llm").mkdir()
        (tmp_path / "llm" / "extra-openai-models.yaml").write_text(
            "- model_id: sealed\n  model_name: scripted\n  supports_tools: true\n"
            f"  api_base: {stack.proxy_url}/v1\n  api_key_name: confide\n"
        )
        (tmp_path / "llm" / "keys.json").write_text(json.dumps({"confide": "anything"}))
        said = launch(
            stack, outside, tmp_path, "llm", "-m", "sealed", "-T", "llm_version", "which version?",
            LLM_USER_PATH=str(tmp_path / "llm"),
        )  # fmt: skip
    assert "the tool said" in said
    assert len(model.bodies) == 2


# ---- OpenCode ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def opencode():
    """The program, from npm."""
    folder = CACHE / f"opencode-{OPENCODE}"
    program = folder / "node_modules" / ".bin" / "opencode"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        package = f"opencode-ai@{OPENCODE}"
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", package]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )
        if done.returncode or not program.exists():
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"OpenCode does not install here: npm install {package}")
    return program


def test_opencode_runs_a_tool(opencode, start_stack, outside, tmp_path):
    command = {"command": "echo tool-ran-$((40+2)) > made.txt", "description": "count"}
    model = ScriptedModel("bash", command)
    with serving(model.application()) as url:
        options = {"base_url": f"{url}/v1", "probe": False}
        stack = start_stack(BackendChoice("openai_http", ("scripted",), options), ECHO)
        page = Path(__file__).parents[2] / "docs/how-to/opencode.md"
        block = page.read_text().split("```json\n", 1)[1].split("```", 1)[0]
        (tmp_path / "project").mkdir()
        written = block.replace("your-model", "scripted")
        (tmp_path / "project" / "opencode.json").write_text(written)
        said = launch(
            stack, outside, tmp_path, str(opencode), "run", "--auto", "run the tool",
            OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_AUTOUPDATE="1",
            OPENCODE_DISABLE_LSP_DOWNLOAD="1", OPENCODE_DISABLE_DEFAULT_PLUGINS="1",
            allowed=[b"CONNECT registry.npmjs" + b".org:443 "],  # for its plugin package
        )  # fmt: skip
    assert (tmp_path / "project" / "made.txt").read_text().strip() == "tool-ran-42"
    assert "the tool said" in said
    assert len(model.bodies) >= 2


# ---- aider ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def aider():
    """The program, if it was installed."""
    folder = CACHE / f"aider-{AIDER}"
    program = folder / "bin" / "aider"
    if not program.exists():
        pytest.skip(
            f"python -m venv {folder} && {folder}/bin/pip install aider-chat=={AIDER}"
            " installs aider (690 MB) for this test"
        )
    return program


def test_aider_edits_a_file(aider, start_stack, outside, tmp_path):
    model = ScriptedModel(text="Here it is.\n\nhello.py\n```\nprint('edited')\n```\n")
    with serving(model.application()) as url:
        options = {"base_url": f"{url}/v1", "probe": False}
        stack = start_stack(BackendChoice("openai_http", ("scripted",), options), ECHO)
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "hello.py").write_text("print('before')\n")
        metadata = {"openai/scripted": {"max_input_tokens": 32768, "max_output_tokens": 4096}}
        (tmp_path / "project" / ".aider.model.metadata.json").write_text(json.dumps(metadata))
        ask = (
            f'OPENAI_API_BASE="$OPENAI_BASE_URL" {aider} --model openai/scripted --no-git'
            " --edit-format whole --yes-always --no-check-update --analytics-disable"
            ' --no-show-model-warnings --message "edit it" hello.py'
        )
        launch(stack, outside, tmp_path, "sh", "-c", ask, LITELLM_LOCAL_MODEL_COST_MAP="True")
    assert (tmp_path / "project" / "hello.py").read_text() == "print('edited')\n"
    assert any("print('before')" in json.dumps(body) for body in model.bodies)
