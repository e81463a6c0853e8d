"""What the tests of the key store share: a cheap passphrase, a keyring in memory."""

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from confide.client.keystore.passphrase import new_passphrase

WORDS = "correct horse battery staple"
NOW = 1_800_000_000


def passphrase():
    return new_passphrase(WORDS)


def never_asked():
    raise AssertionError("nobody should be asked for a passphrase")


class MemoryKeyring(KeyringBackend):
    """A keyring that can be locked, forgetful, or useless."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.entries = {}
        self.locked = False
        self.forgetful = False

    def get_password(self, service, username):
        self._check()
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        self._check()
        if not self.forgetful:
            self.entries[service, username] = password

    def delete_password(self, service, username):
        self._check()
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError("no such entry")

    def _check(self):
        if self.locked:
            raise KeyringLocked("locked")
