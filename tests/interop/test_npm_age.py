"""age files agree with the npm package age-encryption (typage), both ways."""

import pytest

from confide.errors import NoMatchingIdentity
from confide.sealing import age

pytestmark = pytest.mark.interop

LENGTHS = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000]


def text_of(length):
    return bytes(i % 251 for i in range(length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("armored", [False, True])
def test_what_we_seal_for_two_the_peer_opens_as_each(npm_peer, length, armored):
    people = [npm_peer("age_identity", hybrid=True) for _ in range(2)]
    recipients = [age.parse_recipient(person["recipient"]) for person in people]
    file = age.encrypt(text_of(length), recipients, armored=armored)
    for person in people:
        opened = npm_peer(
            "age_decrypt", identity=person["identity"], file=file.hex(), armored=armored
        )
        assert opened == {"plaintext": text_of(length).hex()}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("armored", [False, True])
def test_what_the_peer_seals_for_two_we_open_as_each(npm_peer, length, armored):
    identities = [age.HybridIdentity.generate() for _ in range(2)]
    sealed = npm_peer(
        "age_encrypt",
        recipients=[str(identity.recipient) for identity in identities],
        plaintext=text_of(length).hex(),
        armored=armored,
    )
    for identity in identities:
        assert age.decrypt(bytes.fromhex(sealed["file"]), [identity]) == text_of(length)


def test_classical_files_agree_both_ways(npm_peer):
    peer = npm_peer("age_identity", hybrid=False)
    file = age.encrypt(b"text", [age.parse_recipient(peer["recipient"])])
    opened = npm_peer("age_decrypt", identity=peer["identity"], file=file.hex(), armored=False)
    assert opened == {"plaintext": b"text".hex()}
    own = age.X25519Identity.generate()
    sealed = npm_peer(
        "age_encrypt", recipients=[str(own.recipient)], plaintext="00ff", armored=False
    )
    assert age.decrypt(bytes.fromhex(sealed["file"]), [own]) == b"\x00\xff"


@pytest.mark.parametrize("kind", [age.HybridIdentity, age.X25519Identity])
def test_an_identity_has_the_same_recipient_there(npm_peer, kind):
    identity = kind.generate()
    found = npm_peer("age_recipient", identity=identity.reveal())
    assert found == {"recipient": str(identity.recipient)}


@pytest.mark.parametrize("hybrid", [False, True])
def test_an_identity_of_the_peer_is_read(npm_peer, hybrid):
    peer = npm_peer("age_identity", hybrid=hybrid)
    assert str(age.parse_identity(peer["identity"]).recipient) == peer["recipient"]


def test_both_refuse_a_file_for_others(npm_peer):
    stranger = npm_peer("age_identity", hybrid=True)
    file = age.encrypt(b"text", [age.HybridIdentity.generate().recipient])
    refused = npm_peer("age_decrypt", identity=stranger["identity"], file=file.hex(), armored=False)
    assert "error" in refused
    with pytest.raises(NoMatchingIdentity):
        age.decrypt(file, [age.parse_identity(stranger["identity"])])
