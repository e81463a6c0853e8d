"""`confide doctor` finds what would stop confide on this machine."""

import base64
import json
import os
import socket
from email.utils import format_datetime

import httpx2
import pytest
from click.testing import CliRunner

from confide.attest.platforms.machine import Found, Gpus
from confide.cli import doctor
from confide.errors import ConfigError, TransportError

NOW = doctor.OLDEST_PLAUSIBLE.timestamp()


def test_an_old_python_is_refused():
    assert doctor.check_python((3, 10, 14)).outcome == doctor.FAILED
    assert doctor.check_python((3, 11, 0)).outcome == doctor.OK


def test_a_missing_extra_is_a_note_with_the_command():
    check = doctor.check_extra("proxy", ("starlette", "no_such_module_anywhere"))
    assert check.outcome == doctor.NOTE
    assert check.next_step == "pip install 'confide[proxy]'"
    assert "starlette" not in check.detail


def test_a_clock_in_the_past_is_refused():
    assert doctor.check_clock(NOW - 1).outcome == doctor.FAILED
    assert doctor.check_clock(NOW).outcome == doctor.OK


def test_a_data_directory_that_others_can_read_is_noted(tmp_path):
    tmp_path.chmod(0o755)
    assert doctor.check_data_directory(tmp_path).outcome == doctor.NOTE
    tmp_path.chmod(0o700)
    assert doctor.check_data_directory(tmp_path).outcome == doctor.OK
    assert doctor.check_data_directory(tmp_path / "new" / "deep").outcome == doctor.OK


def test_a_file_in_place_of_the_data_directory_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    assert doctor.check_data_directory(tmp_path / "home").outcome == doctor.FAILED


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (base64.b64encode(bytes(32)).decode(), doctor.OK),
        ("00" * 32, doctor.OK),
        (base64.b64encode(bytes(24)).decode(), doctor.FAILED),
        ("not base64 at all!", doctor.FAILED),
    ],
)
def test_a_kek_is_32_bytes_in_base64_or_hex(tmp_path, content, outcome):
    path = tmp_path / "kek"
    path.write_text(content)
    path.chmod(0o600)
    assert doctor.check_kek(path).outcome == outcome


def test_a_kek_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "kek"
    path.write_text("00" * 32)
    path.chmod(0o640)
    assert doctor.check_kek(path).outcome == doctor.FAILED


def test_an_occupied_port_is_noted_with_its_process():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        check = doctor.check_port(listener.getsockname()[1], "proxy")
    assert check.outcome == doctor.NOTE
    assert str(os.getpid()) in check.detail


class Machine:
    """A machine of which only the differences are named."""

    def __init__(self, *, provider=None, paravisor=None, platform=None, gpus=None, devices=()):
        self._provider, self._paravisor = provider, paravisor
        self._platform, self._gpus, self._devices = platform, gpus, devices

    def provider(self):
        return Found(self._provider, "" if self._provider else "none", "a hint")

    def paravisor(self):
        return Found(self._paravisor, "none")

    def devices(self):
        return self._devices

    def platform(self):
        return self._platform

    def gpus(self):
        return self._gpus or Found(None, "no NVIDIA driver")


def hardware(**parts):
    return {check.name: check for check in doctor.check_hardware(Machine(**parts))}


def test_no_tee_means_simulated_evidence_only():
    checks = hardware()
    assert {check.outcome for check in checks.values()} == {doctor.NOTE}
    assert "simulated" in checks["tee"].detail
    assert checks["tee provider"].next_step == "a hint"


def test_a_tee_is_shown_with_the_setting_and_the_command():
    checks = hardware(provider="sev_guest", platform="sev-snp", devices=("/dev/sev-guest",))
    assert checks["tee"].outcome == doctor.OK
    assert "'sev-snp'" in checks["tee"].detail
    assert checks["tee"].next_step == "confide enclave serve --config FILE"
    assert checks["tee device"].detail == "/dev/sev-guest"


@pytest.mark.parametrize(
    ("confidential", "tools", "production", "outcome"),
    [
        (True, False, True, doctor.OK),
        (False, False, True, doctor.NOTE),
        (True, True, True, doctor.NOTE),
        (True, False, False, doctor.NOTE),
    ],
)
def test_gpus_are_shown_with_what_makes_them_confidential(confidential, tools, production, outcome):
    check = hardware(gpus=Gpus(8, confidential, tools, production))["gpu"]
    assert check.outcome == outcome
    assert check.detail.startswith("8; ")
    assert ("gpus = 8" in check.next_step) is (outcome == doctor.OK)


def test_this_machine_is_looked_at_by_default():
    names = [check.name for check in doctor.check_hardware()]
    assert names == ["tee provider", "tee device", "tee paravisor", "tee", "gpu"]


def test_the_report_as_json_has_every_field(monkeypatch, tmp_path):
    monkeypatch.setenv("CONFIDE_HOME", os.fspath(tmp_path))
    result = CliRunner().invoke(doctor.doctor, ["--json"])
    rows = json.loads(result.stdout)
    assert {"name", "outcome", "detail", "next_step"} == set(rows[0])
    assert {"python", "clock", "client kek", "tee"} <= {row["name"] for row in rows}


def test_a_failed_check_fails_the_command(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONFIDE_HOME", os.fspath(tmp_path / "file"))
    assert CliRunner().invoke(doctor.doctor).exit_code == 1


@pytest.fixture
def gateway(monkeypatch):
    """Answer the next request to a gateway with a status and headers, or an error."""

    def answer(status=200, headers=None, error=None):
        def get(url, **_):
            if error is not None:
                raise error
            return httpx2.Response(status, headers=headers, request=httpx2.Request("GET", url))

        monkeypatch.setattr(httpx2, "get", get)

    return answer


@pytest.mark.parametrize(("apart", "outcome"), [(0, doctor.OK), (60, doctor.OK), (-61, "failed")])
def test_the_clock_is_compared_with_the_gateways(gateway, apart, outcome):
    gateway(headers={"date": format_datetime(doctor.OLDEST_PLAUSIBLE, usegmt=True)})
    assert doctor.check_gateway("http://gateway", lambda: NOW + apart).outcome == outcome


def test_a_gateway_that_is_not_well_fails_the_check(gateway):
    gateway(status=503)
    assert doctor.check_gateway("http://gateway", lambda: NOW).outcome == doctor.FAILED


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_gateway_without_a_date_is_noted(gateway, headers):
    gateway(headers=headers)
    assert doctor.check_gateway("http://gateway", lambda: NOW).outcome == doctor.NOTE


def test_a_gateway_that_does_not_answer_is_unreachable(gateway):
    gateway(error=httpx2.ConnectError("refused"))
    with pytest.raises(TransportError):
        doctor.check_gateway("http://gateway", lambda: NOW)


def test_what_is_not_a_url_is_a_configuration_error():
    with pytest.raises(ConfigError):
        doctor.check_gateway("gateway", lambda: NOW)
