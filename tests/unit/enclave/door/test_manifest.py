"""The manifest is the same bytes for the same release, models and settings, and no others."""

import hashlib
import json

import pytest

from confide.enclave.isolation import IsolationSecrets
from confide.enclave.manifest import Manifest, MeasuredBackend, MeasuredModel, weights_digest
from confide.errors import ConfigError

BACKEND = MeasuredBackend("demo", "llamacpp", bytes(32))
ONE = MeasuredModel("a", "small", (BACKEND,))
TWO = MeasuredModel("b", "small", (MeasuredBackend("remote", "openai_http"),))


def test_it_is_canonical_json_whatever_the_order_of_models():
    first, second = (
        Manifest("confide 1", models, bytes(32)) for models in ([ONE, TWO], [TWO, ONE])
    )
    assert first.encode() == second.encode()
    parsed = json.loads(first.encode())
    assert json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode() == first.encode()
    assert parsed["models"][0]["backends"][0]["weights_sha256"] == "00" * 32
    assert "weights_sha256" not in parsed["models"][1]["backends"][0]
    assert first.sha256 == hashlib.sha256(first.encode()).digest()


@pytest.mark.parametrize(
    "other",
    [
        Manifest("confide 2", [ONE], bytes(32)),
        Manifest("confide 1", [TWO], bytes(32)),
        Manifest("confide 1", [ONE], bytes(31) + b"\1"),
        Manifest(
            "confide 1",
            [MeasuredModel("a", "small", (MeasuredBackend("demo", "llamacpp", b"\1" * 32),))],
            bytes(32),
        ),
    ],
)
def test_every_part_changes_the_digest(other):
    assert other.sha256 != Manifest("confide 1", [ONE], bytes(32)).sha256


def test_weights_are_hashed_whole(tmp_path):
    path = tmp_path / "m.gguf"
    content = b"GGUF" + bytes(3 * 1024 * 1024)
    path.write_bytes(content)
    assert weights_digest(path) == hashlib.sha256(content).digest()
    with pytest.raises(ConfigError) as refusal:
        weights_digest(tmp_path / "absent.gguf")
    assert "absent.gguf" in str(refusal.value)


def test_isolation_secrets_differ_by_domain_and_by_boot():
    boot, other = IsolationSecrets(), IsolationSecrets()
    assert boot.secret_for("a") == boot.secret_for("a")
    assert len({boot.secret_for("a"), boot.secret_for("b"), other.secret_for("a")}) == 3
