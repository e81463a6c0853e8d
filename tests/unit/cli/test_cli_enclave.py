"""`confide enclave` measures a settings file and serves nothing without a TEE."""

import hashlib
import json

import pytest

from confide.apps import enclave as app_enclave
from confide.attest.platforms.hardware import HardwareCollector
from confide.cli.main import main
from confide.errors import ConfigError

TOML = f"""
[enclave]
gateway_public_key = "{"A" * 43}"
[[backends]]
name = "main"
kind = "llamacpp"
model_path = "{{weights}}"
[[models]]
name = "m"
backends = ["main"]
"""


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"GGUF weights")
    path = tmp_path / "enclave.toml"
    path.write_text(TOML.replace("{weights}", str(weights)))
    for name in ("CONFIDE_HOME", "CONFIDE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["enclave", *arguments])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_measure_prints_what_report_data_will_commit_to(capsys, settings_file):
    code, out, _ = run(capsys, "measure", "--config", str(settings_file), "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["settings_sha256"] == hashlib.sha256(settings_file.read_bytes()).hexdigest()
    manifest = json.dumps(shown["manifest"], sort_keys=True, separators=(",", ":")).encode()
    assert shown["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    [backend] = shown["manifest"]["models"][0]["backends"]
    assert backend["weights_sha256"] == hashlib.sha256(b"GGUF weights").hexdigest()


def test_measure_prints_the_exact_manifest_for_people(capsys, settings_file):
    code, out, _ = run(capsys, "measure", "--config", str(settings_file))
    assert code == 0
    assert app_enclave.measure(settings_file).manifest.encode().decode() in out


def test_serve_refuses_without_a_tee_and_names_the_way_to_try(capsys, settings_file):
    code, out, err = run(capsys, "serve", "--config", str(settings_file))
    assert (code, out) == (1, "")
    assert "no supported TEE was found" in err
    assert "confide up" in err


def test_a_missing_model_file_is_one_clear_error(capsys, settings_file):
    (settings_file.parent / "m.gguf").unlink()
    code, _, err = run(capsys, "measure", "--config", str(settings_file))
    assert code == 1
    assert "m.gguf" in err


def test_the_environment_cannot_change_what_is_measured(capsys, settings_file, monkeypatch):
    monkeypatch.setenv("CONFIDE_ENCLAVE__PORT", "1")
    code, _, err = run(capsys, "measure", "--config", str(settings_file))
    assert code == 1
    assert "CONFIDE_ENCLAVE__PORT" in err


class Pretender:
    platform = "sev-snp"
    simulated = True


class OtherName:
    platform = "tdx"
    simulated = False


@pytest.mark.parametrize("plug_in", [Pretender, OtherName, "not a class"])
def test_a_plug_in_that_is_not_this_hardware_is_refused(monkeypatch, plug_in):
    monkeypatch.setattr(app_enclave.plugins, "offered", lambda _: ("my-tee.collect",))
    monkeypatch.setattr(app_enclave.plugins, "load", lambda *_: plug_in)
    with pytest.raises(ConfigError):
        app_enclave.hardware_collector("my-tee")


class Genuine:
    platform = "my-tee"
    simulated = False


@pytest.fixture
def plugged_in(monkeypatch):
    offered = ("my-tee.collect", "sev-snp.collect")
    monkeypatch.setattr(app_enclave.plugins, "offered", lambda _: offered)
    monkeypatch.setattr(app_enclave.plugins, "load", lambda *_: Genuine)


def test_a_plug_in_for_the_named_hardware_is_used(plugged_in):
    assert isinstance(app_enclave.hardware_collector("my-tee"), Genuine)


def test_a_plug_in_cannot_replace_a_platform_of_this_version(plugged_in):
    assert isinstance(app_enclave.hardware_collector("sev-snp"), HardwareCollector)


def test_a_plug_in_does_not_vouch_for_gpus(plugged_in):
    with pytest.raises(ConfigError):
        app_enclave.hardware_collector("my-tee", gpus=1)


@pytest.mark.parametrize("platform", [None, "software-dev", "sgx"])
def test_no_other_platform_stands_in(platform):
    with pytest.raises(ConfigError):
        app_enclave.hardware_collector(platform)


def test_a_named_platform_that_is_not_there_ends_the_start(capsys, settings_file):
    text = settings_file.read_text().replace("[enclave]", '[enclave]\nplatform = "tdx"')
    settings_file.write_text(text.replace("llamacpp", "echo").replace("model_path", "#"))
    code, out, err = run(capsys, "serve", "--config", str(settings_file))
    assert out == ""
    assert code not in (0, None)
    assert "no provider of reports" in err
    assert "confide doctor" in err


def test_what_is_measured_states_the_gpus_that_must_be_there(capsys, settings_file):
    text = settings_file.read_text()
    settings_file.write_text(text.replace("[enclave]", '[enclave]\nplatform = "tdx"\ngpus = 2'))
    _, out, _ = run(capsys, "measure", "--config", str(settings_file), "--json")
    assert json.loads(out)["manifest"]["gpus"] == {
        "confidential": True,
        "count": 2,
        "developer_tools": False,
        "environment": "production",
        "mode": "SPT",
    }
