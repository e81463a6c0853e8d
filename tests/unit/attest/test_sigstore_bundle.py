"""A Sigstore bundle counts offline, in one layout, for one workflow at one tag.

The recorded bundle is of version 0.2: its one certificate is in a list. The layout is not
signed, so the same material in the layout of version 0.3 is genuine as well; that is the
positive case, and the recorded form is a refusal.
"""

import base64
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.attest.sigstore_bundle import MAX_BUNDLE, WorkflowIdentity, verify_artifact
from confide.errors import ConfigError, EndorsementError

pytest.importorskip("sigstore", reason="pip install 'confide[sigstore]'")

FOLDER = Path(__file__).parents[2] / "vectors" / "attestation" / "sigstore"
ARTIFACT = (FOLDER / "artifact.whl").read_bytes()
RECORDED = json.loads((FOLDER / "artifact.whl.sigstore.json").read_bytes())
IDENTITY = WorkflowIdentity(
    "trailofbits/rfc8785.py", ".github/workflows/release.yml", "refs/tags/v0.1.2"
)


def version_3():
    members = json.loads(json.dumps(RECORDED))
    material = members["verificationMaterial"]
    (material["certificate"],) = material.pop("x509CertificateChain")["certificates"]
    return members | {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}


def verify(members=None, *, artifact=ARTIFACT, identity=IDENTITY, **options):
    raw = json.dumps(version_3() if members is None else members).encode()
    return verify_artifact(raw, artifact=artifact, identity=identity, **options)


def refused(*arguments, **options):
    with pytest.raises(EndorsementError) as caught:
        verify(*arguments, **options)
    return caught.value.code


def edited(path, value):
    members = version_3()
    node = members
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return members


def flipped(path):
    node = version_3()
    for key in path:
        node = node[key]
    raw = bytearray(base64.b64decode(node))
    raw[len(raw) // 2] ^= 1
    return edited(path, base64.b64encode(raw).decode())


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_genuine_bundle_is_accepted_without_a_network():
    found = verify()
    assert found.identity == IDENTITY.uri
    assert found.artifact_sha256.hex().startswith("c4e92e9e")
    assert found.logged_at.isoformat() == "2024-03-19T22:41:16+00:00"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs: apt install util-linux")
def test_a_genuine_bundle_is_accepted_in_a_namespace_without_interfaces(tmp_path):
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps(version_3()))
    code = f"""
import pathlib, socket
from confide.attest.sigstore_bundle import WorkflowIdentity, verify_artifact
assert socket.if_nameindex() in ([], [(1, "lo")]), socket.if_nameindex()
found = verify_artifact(
    pathlib.Path({str(bundle)!r}).read_bytes(),
    artifact=pathlib.Path({str(FOLDER / "artifact.whl")!r}).read_bytes(),
    identity=WorkflowIdentity({IDENTITY.repository!r}, {IDENTITY.workflow!r}, {IDENTITY.ref!r}),
)
print(found.identity)
"""
    namespace = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no namespaces; try: unshare --user --map-root-user --net")
    environment = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    found = subprocess.run(
        [*namespace, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert found.stdout.strip() == IDENTITY.uri, found.stderr
    # No cache: what is trusted is in the package, not in somebody's home.
    assert not (tmp_path / "home").exists()


def test_another_artifact_is_refused():
    assert refused(artifact=ARTIFACT + b"\0") == "sigstore.digest"
    assert refused(artifact=b"") == "sigstore.digest"


def test_another_artifact_with_its_digest_put_in_is_refused():
    import hashlib

    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    members = edited(("messageSignature", "messageDigest", "digest"), digest)
    assert refused(members, artifact=b"other") == "sigstore.bundle"


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": "trailofbits/other"},
        {"workflow": ".github/workflows/other.yml"},
        {"ref": "refs/tags/v0.1.3"},
        {"issuer": "https://accounts.example.org"},
    ],
)
def test_each_part_of_the_identity_counts(changes):
    assert refused(identity=replace(IDENTITY, **changes)) == "sigstore.identity"


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "refs/heads/main"},
        {"ref": "refs/tags/*"},
        {"ref": "v0.1.2"},
        {"ref": ""},
        {"repository": "trailofbits"},
        {"repository": "*/*"},
        {"repository": "a/b/c"},
        {"workflow": "release.yml"},
        {"workflow": ".github/workflows/../x.yml"},
        {"workflow": ".github/workflows/*.yml"},
        {"issuer": ""},
        {"issuer": "http://token.example.org"},
    ],
)
def test_an_identity_without_one_meaning_cannot_be_named(changes):
    with pytest.raises(ConfigError):
        replace(IDENTITY, **changes)


@pytest.mark.parametrize(
    "path",
    [
        ("messageSignature", "signature"),
        ("verificationMaterial", "certificate", "rawBytes"),
        ("verificationMaterial", "tlogEntries", 0, "canonicalizedBody"),
        ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "rootHash"),
        ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "hashes", 3),
        ("verificationMaterial", "tlogEntries", 0, "inclusionPromise", "signedEntryTimestamp"),
        ("verificationMaterial", "tlogEntries", 0, "logId", "keyId"),
    ],
    ids=lambda path: str(path[-1]),
)
def test_one_changed_bit_is_refused(path):
    assert refused(flipped(path)) == "sigstore.bundle"


TLOG = ("verificationMaterial", "tlogEntries")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.2"),
        (("mediaType",), ...),
        (("verificationMaterial", "x509CertificateChain"), {"certificates": []}),
        (("verificationMaterial", "publicKey"), {"hint": "x"}),
        (("verificationMaterial", "certificate"), ...),
        (("dsseEnvelope",), {}),
        (("messageSignature", "messageDigest"), ...),
        (("messageSignature", "messageDigest", "algorithm"), "SHA2_384"),
        (TLOG, []),
        (TLOG, ...),
        (TLOG, version_3()["verificationMaterial"]["tlogEntries"] * 2),
        ((*TLOG, 0, "integratedTime"), "1710898076"),
        ((*TLOG, 0, "integratedTime"), "now"),
        ((*TLOG, 0, "integratedTime"), 1.5),
        ((*TLOG, 0, "inclusionProof"), ...),
        ((*TLOG, 0, "inclusionProof", "checkpoint"), ...),
        (("extra",), 1),
    ],
)
def test_another_layout_is_refused(path, value):
    assert refused(edited(path, value)) == "sigstore.bundle"


def test_the_recorded_layout_of_version_2_is_refused():
    assert refused(RECORDED) == "sigstore.bundle"
    newer = RECORDED | {"mediaType": version_3()["mediaType"]}
    assert refused(newer) == "sigstore.bundle"


def test_a_huge_bundle_is_refused_before_it_is_parsed():
    with pytest.raises(EndorsementError):
        verify_artifact(b"x" * (MAX_BUNDLE + 1), artifact=ARTIFACT, identity=IDENTITY)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw):
    with pytest.raises(EndorsementError):
        verify_artifact(raw, artifact=ARTIFACT, identity=IDENTITY)


def test_another_trusted_root_is_refused(tmp_path):
    from importlib.resources import files

    staging = files("sigstore._store").joinpath(
        "https%3A%2F%2Ftuf-repo-cdn.sigstage.dev", "trusted_root.json"
    )
    assert refused(trusted_root=Path(str(staging))) == "sigstore.bundle"
    for content in ("", "{}", "[]"):
        (tmp_path / "root.json").write_text(content)
        with pytest.raises(ConfigError):
            verify(trusted_root=tmp_path / "root.json")
    with pytest.raises(ConfigError):
        verify(trusted_root=tmp_path / "none.json")


def test_without_the_extra_the_hint_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(ConfigError) as caught:
        verify()
    assert caught.value.hint == "pip install 'confide[sigstore]'"
