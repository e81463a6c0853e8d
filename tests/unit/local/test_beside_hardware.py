"""Evidence is simulated only where there is no hardware and nobody else can reach it."""

import json

import pytest

from confide.errors import ConfigError
from confide.local import __main__ as rooms
from confide.local.simulated import refuse_beside_hardware


class Machine:
    def __init__(self, *found):
        self.found = found

    def hardware(self):
        return self.found


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_laptop_may_simulate_on_loopback(host):
    refuse_beside_hardware(host, Machine())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "enclave.example.org", ""])
def test_other_addresses_are_refused(host):
    with pytest.raises(ConfigError):
        refuse_beside_hardware(host, Machine())


@pytest.mark.parametrize(
    "found", ["/dev/sev-guest", "the provider tdx_guest", "azure-tdx", "a confidential GPU"]
)
def test_a_machine_that_can_prove_itself_is_refused(found):
    with pytest.raises(ConfigError):
        refuse_beside_hardware("127.0.0.1", Machine(found))


def test_the_process_of_the_simulated_enclave_asks_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "confide.attest.platforms.machine.Machine.hardware", lambda _: ("/dev/sev-guest",)
    )
    settings = tmp_path / "enclave.toml"
    settings.write_text(
        f'[enclave]\nport = 0\ngateway_public_key = "{"A" * 43}"\n'
        '[[backends]]\nname = "b"\nkind = "echo"\n[[models]]\nname = "m"\nbackends = ["b"]\n'
    )
    monkeypatch.setattr(rooms, "stop_when_parent_dies", lambda: None)
    served = []
    monkeypatch.setattr("confide.apps.enclave.serve_enclave", lambda *a, **k: served.append(a))
    assert rooms.main(["enclave", "--settings", str(settings), "--home", str(tmp_path)]) == 1
    assert "/dev/sev-guest" in capsys.readouterr().err
    assert served == []


def test_a_policy_for_hardware_stops_the_simulated_proxy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rooms, "stop_when_parent_dies", lambda: None)
    settings = tmp_path / "proxy.json"
    policy = tmp_path / "policy.toml"
    settings.write_text(
        json.dumps({"gateway_url": "http://127.0.0.1:1", "policy_file": str(policy)})
    )
    assert rooms.main(["proxy", "--settings", str(settings), "--home", str(tmp_path)]) == 1
    assert "policy.toml" in capsys.readouterr().err
