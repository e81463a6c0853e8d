"""Know the enclaves: their key documents, their key ids, and whether they answer.

Each enclave is asked every few seconds for its health and its directory. It is offered to
clients while both answer; after two failures in a row it is ejected, and readmitted by the next
success. Documents it served earlier in the same boot stay routable for a day after they expire,
because clients seal to them during the grace after a rotation; whether the key still opens
requests is for the enclave to say.

An enclave is also asked to prove itself (`confide.gateway.vetting`): no document is offered, and
no request reaches it, before its evidence was accepted under the operator's policy, and no longer
than that verdict lasts. This protects the operator. It gives clients nothing to rely on: they
verify for themselves, and a gateway that lies about a document only makes them refuse.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from confide.errors import (
    AttestationError,
    ConfideError,
    KeyConfigError,
    NoEnclaveAvailable,
)
from confide.gateway.asking import fetch
from confide.gateway.tending import tend
from confide.gateway.upstream import EnclaveUpstream
from confide.gateway.vetting import Standing, Vetting
from confide.telemetry.logs import event
from confide.wire.directory import Directory, Replica
from confide.wire.key_document import KeyDocument

__all__ = ["Enclave", "Registry"]

_KEYS: Final = b"/.well-known/confide/keys"
_HEALTH: Final = b"/healthz"
_MAX_DIRECTORY: Final = 2 * 1024 * 1024
_MAX_DOCUMENTS: Final = 16
_FAILURES: Final = 2
_RETRY_S: Final = 0.5
_REFRESH_PAUSE_S: Final = 0.25


class Enclave:
    """One enclave.

    Attributes:
        url: Base URL.
        name: Host and port, for logs.
        upstream: The way to it.
        healthy: Whether it is offered to clients.
        document: Its newest key document, or None before the first answer.
        replica: What it says of itself, byte for byte.
        standing: How its evidence was judged last.
    """

    def __init__(self, url: str, upstream: EnclaveUpstream) -> None:
        self.url = url
        self.name = urlsplit(url).netloc
        self.upstream = upstream
        self.healthy = False
        self.document: KeyDocument | None = None
        self.replica: Replica | None = None
        self.failures = 0
        self.refreshing: asyncio.Task[None] | None = None
        self.refreshed = -1.0  # loop time of the last refresh that a request caused
        self.standing = Standing()
        self.vetting = asyncio.Lock()  # one challenge at a time
        self._documents: OrderedDict[str, tuple[frozenset[int], int]] = OrderedDict()
        self._before: dict[str, str | None] = {}  # document to the one it says came before
        self._answered = asyncio.Event()
        self._due = asyncio.Event()

    def holds(self, document: str, key_id: int, now: float) -> bool:
        """Whether a document (hexadecimal SHA-256) is this enclave's and lists the key id."""
        known = self._documents.get(document)
        return known is not None and key_id in known[0] and now < known[1] + _GRACE_S

    def vouched(self, document: str, now: float) -> bool:
        """Whether evidence covers this document and the verdict still lasts.

        Evidence for the newest document covers those before it: each names the digest of the
        one before, and the evidence is about all of its bytes.
        """
        if now < self.standing.accepted.get(document, 0.0):
            return True
        if self.document is None or now >= self.standing.accepted.get(self.document.sha256_hex, 0):
            return False
        earlier = self.document.previous_sha256
        for _ in range(_MAX_DOCUMENTS):
            if earlier is None or earlier == document:
                break
            earlier = self._before.get(earlier)
        return earlier == document

    def knows(self, document: str) -> bool:
        """Whether a document was served by this enclave in this boot."""
        return document in self._documents

    def has_key(self, key_id: int) -> bool:
        """Whether the newest document lists the key id."""
        return self.document is not None and key_id in _key_ids(self.document)

    def accept(self, replica: Replica, document: KeyDocument) -> bool:
        """Take what the enclave says of itself.

        Returns:
            Whether anything changed.
        """
        changed = replica != self.replica
        if self.document is not None and self.document.boot_id != document.boot_id:
            self._documents.clear()  # its old keys died with the old process
            self._before.clear()
            self.upstream.drop_idle()
        self._documents[document.sha256_hex] = (_key_ids(document), document.not_after)
        self._before[document.sha256_hex] = document.previous_sha256
        while len(self._documents) > _MAX_DOCUMENTS:
            del self._before[self._documents.popitem(last=False)[0]]
        self.standing.keep(*self._documents)
        self.replica, self.document = replica, document
        return changed

    def note_answer(self) -> None:
        """Say that an answer ended: there may be a usage statement."""
        self._answered.set()

    async def answered(self, timeout_s: float) -> None:
        """Wait until an answer ended, or for so long."""
        await _wait(self._answered, timeout_s)

    def poll_soon(self) -> None:
        """Ask for health and documents now instead of at the next turn."""
        self._due.set()

    async def due(self, timeout_s: float) -> None:
        """Wait for the next turn."""
        await _wait(self._due, timeout_s)


#: The longest grace that an enclave can be set to (`key_grace_s`).
_GRACE_S: Final = 86_400


def _key_ids(document: KeyDocument) -> frozenset[int]:
    return frozenset(config.key_id for config in document.key_configs)


def _word(text: str | None) -> str | None:
    """Make the name of a factor one word, as the log takes."""
    return None if text is None else text.replace(" ", "-")


async def _wait(flag: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await flag.wait()
    except TimeoutError:
        pass
    flag.clear()


class Registry:
    """All enclaves of this gateway."""

    def __init__(
        self,
        *,
        poll_s: float,
        now: Callable[[], float],
        vetting: Vetting,
        make_upstream: Callable[[str], EnclaveUpstream] = EnclaveUpstream,
        companions: Sequence[Callable[[Enclave], Awaitable[None]]] = (),
    ) -> None:
        """Start with no enclave.

        Args:
            poll_s: Seconds between two polls of one enclave.
            now: Unix seconds.
            vetting: Decides whether an enclave's evidence is good enough.
            make_upstream: How to reach a base URL.
            companions: Coroutines that run beside each enclave for as long as it is here.
        """
        self._poll_s = poll_s
        self._now = now
        self._vetting = vetting
        self._make_upstream = make_upstream
        self._companions = companions
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._enclaves: dict[str, Enclave] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._directory: bytes | None = None
        self._running = False
        #: Told which task failed; it starts again by itself.
        self.on_failure: Callable[[str], None] = lambda _: None
        #: Told how each look at evidence ended: accepted, refused or unavailable.
        self.on_vetting: Callable[[str], None] = lambda _: None
        #: Told that what is known about some enclave's evidence changed.
        self.on_standing: Callable[[], None] = lambda: None
        #: Told that nothing is routed any more.
        self.on_stop: Callable[[], None] = lambda: None

    @property
    def enclaves(self) -> tuple[Enclave, ...]:
        """All enclaves, in the order they were added."""
        return tuple(self._enclaves.values())

    @property
    def refused(self) -> int:
        """How many enclaves showed evidence that was not accepted."""
        return sum(enclave.standing.code is not None for enclave in self.enclaves)

    @property
    def healthy(self) -> int:
        """How many enclaves are offered."""
        return sum(enclave.healthy for enclave in self.enclaves)  # also read by other threads

    def want(self, source: str, urls: Iterable[str]) -> None:
        """Set the enclaves that one source (settings, database) names.

        Once started, polls new ones and stops polling those that no source names any more;
        answers in flight finish.
        """
        self._wanted[source] = tuple(urls)
        wanted = dict.fromkeys(url for urls in self._wanted.values() for url in urls)
        for url in [url for url in self._enclaves if url not in wanted]:
            self._remove(url)
        for url in wanted:
            if url not in self._enclaves:
                self._add(url)

    def start(self) -> None:
        """Begin to poll; needs a running loop."""
        self._running = True
        for url, enclave in self._enclaves.items():
            self._begin(url, enclave)

    async def stop(self) -> None:
        """Stop polling and close every connection."""
        self._running = False
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for enclave in self._enclaves.values():
            enclave.upstream.close()
        self._enclaves.clear()
        self._tasks.clear()
        self.on_stop()

    def directory(self) -> bytes:
        """Return the directory of all healthy enclaves, each document once."""
        if self._directory is None:
            replicas = {
                enclave.document.sha256: enclave.replica
                for enclave in self._enclaves.values()
                if enclave.healthy
                and enclave.document
                and enclave.replica
                and enclave.vouched(enclave.document.sha256_hex, self._now())
            }
            self._directory = Directory(tuple(replicas.values())).encode()
        return self._directory

    def refresh(self, enclave: Enclave) -> None:
        """Poll an enclave at once, because a request found its keys out of date."""
        now = asyncio.get_running_loop().time()
        if enclave.refreshing is not None or enclave.url not in self._enclaves:
            return
        if now - enclave.refreshed >= _REFRESH_PAUSE_S:  # a caller cannot make us poll without end
            enclave.refreshed = now
            enclave.refreshing = asyncio.ensure_future(self._refresh(enclave))

    async def settled(self, timeout_s: float) -> None:
        """Wait until no refresh is under way, so that the directory is not older than a refusal."""
        waiting = [e.refreshing for e in self._enclaves.values() if e.refreshing is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_s)

    def unreachable(self, enclave: Enclave) -> None:
        """Eject an enclave that refused a connection; the next successful poll readmits it."""
        self._eject(enclave, "enclave-unreachable")
        enclave.poll_soon()

    async def poll(self, enclave: Enclave) -> None:
        """Ask one enclave for its health, its directory and, when due, its evidence."""
        try:
            await fetch(enclave.upstream, b"GET", _HEALTH)
            raw = await fetch(enclave.upstream, b"GET", _KEYS, limit=_MAX_DIRECTORY)
            replicas = Directory.parse(raw).replicas
            if len(replicas) != 1:
                raise KeyConfigError("an enclave's directory has one replica")
            document = KeyDocument.parse(replicas[0].document)
            async with enclave.vetting:
                await self._vet(enclave, replicas[0], document)
        except AttestationError as error:
            enclave.failures = 0  # it answers; that is not what is wrong with it
            self._eject(enclave, error.code)
            return
        except ConfideError as error:
            enclave.failures += 1
            if enclave.failures >= _FAILURES or isinstance(error, NoEnclaveAvailable):
                self._eject(enclave, error.code)
            return
        enclave.failures = 0
        if enclave.accept(replicas[0], document) or not enclave.healthy:
            self._directory = None
        if not enclave.healthy:
            enclave.healthy = True
            event(
                "enclave-admitted",
                enclave=enclave.name,
                document_sha256=document.sha256_hex,
                boot_id=document.boot_id,
            )

    async def _vet(self, enclave: Enclave, replica: Replica, document: KeyDocument) -> None:
        """Challenge the enclave if that is due, and keep the outcome.

        Raises:
            AttestationError: Its evidence is not acceptable, now or when it was looked at last.
            ConfideError: It gave none, and no verdict lasts.
        """
        standing, name = enclave.standing, document.sha256_hex
        if not self._vetting.due(standing, name, self._now()):
            if not enclave.vouched(name, self._now()):
                raise AttestationError("refused before", code=standing.code)
            return
        try:
            verdict = await self._vetting.examine(enclave.upstream, replica, document)
        except AttestationError as error:
            standing.refuse(name, error, self._now())
            self._note(enclave, error)
            raise
        except ConfideError as error:
            self.on_vetting("unavailable")
            if not enclave.vouched(name, self._now()):
                raise
            event("evidence-unavailable", level="warning", enclave=enclave.name, code=error.code)
            return
        standing.accept(name, verdict, self._now())
        self._note(enclave, None)

    def _note(self, enclave: Enclave, error: AttestationError | None) -> None:
        self.on_vetting("accepted" if error is None else "refused")
        event(
            "evidence-accepted" if error is None else "evidence-refused",
            level="info" if error is None else "warning",
            enclave=enclave.name,
            document_sha256=enclave.standing.document,
            code=None if error is None else error.code,
            factor=None if error is None else _word(error.failed_factor),
        )
        self.on_standing()

    def _add(self, url: str) -> None:
        enclave = Enclave(url, self._make_upstream(url))
        self._enclaves[url] = enclave
        if self._running:
            self._begin(url, enclave)

    def _begin(self, url: str, enclave: Enclave) -> None:
        work = [("enclave", self._watch), *(("usage", follow) for follow in self._companions)]
        self._tasks[url] = [
            asyncio.ensure_future(tend(name, partial(run, enclave), self._failed))
            for name, run in work
        ]

    def _remove(self, url: str) -> None:
        enclave = self._enclaves.pop(url)
        for task in self._tasks.pop(url, ()):
            task.cancel()
        enclave.upstream.drop_idle()
        self._directory = None
        event("enclave-removed", enclave=enclave.name)
        self.on_standing()

    def _eject(self, enclave: Enclave, code: str) -> None:
        if enclave.healthy:
            enclave.healthy = False
            self._directory = None
            event("enclave-ejected", level="warning", enclave=enclave.name, code=code)

    async def _watch(self, enclave: Enclave) -> None:
        while True:
            await self.poll(enclave)
            await enclave.due(_RETRY_S if enclave.failures else self._poll_s)

    async def _refresh(self, enclave: Enclave) -> None:
        try:
            await self.poll(enclave)
        finally:
            enclave.refreshing = None

    def _failed(self, task: str) -> None:
        self.on_failure(task)
