"""One sealed exchange as a generator without I/O: discover, verify, seal, send, open.

    1. A verified replica: the directory, the endorsements that the gateway staples, then evidence
       with a fresh nonce for each replica.
    2. Seal the request to its key.
    3. Send it through the gateway.
    4. Open the head of the answer; the driver feeds the rest to `Answer` as it comes.

Two things are done again, each only because nothing was processed: a request whose key was
rejected before anything was opened is sealed to fresh keys and sent once more (RFC 9458
section 5.3), and a request whose replica was gone before it was handed over, or too busy to
take it, is sealed to the next one. Everything else ends in an error. A sealed request that
may have been processed is never sent again.

There is no path here that sends a request unsealed, to an unverified key or by another
suite.
"""

from __future__ import annotations

import functools
import secrets
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import Final

from confide.attest.collateral.bundle import MAX_BUNDLE
from confide.attest.results import EnclaveVerifier, TakesEndorsements
from confide.client.discovery import (
    COLLATERAL_PATH,
    KEYS_PATH,
    MAX_EVIDENCE,
    SEALED_PATH,
    evidence_path,
    read_collateral,
    read_directory,
    read_evidence,
    refusal,
    request_id_of,
    unexpected_media_type,
)
from confide.client.effects import Alone, Fetch, Flow, Head, Post, Read
from confide.client.messages import AUTHORITY, Answer, PlainRequest
from confide.client.sessions import Session, Sessions
from confide.errors import (
    AttestationError,
    BindingError,
    ConfideError,
    GatewayError,
    KeyConfigError,
    NoEnclaveAvailable,
    RequestTooLarge,
    TransportError,
)
from confide.sealing.bhttp import InnerRequest
from confide.sealing.exchange import (
    check_key_config,
    seal_request,
)
from confide.sealing.padding import PaddingProfile
from confide.wire.directory import MAX_DIRECTORY, Replica
from confide.wire.key_document import KeyDocument
from confide.wire.media_types import (
    CHUNKED_REQUEST,
    CHUNKED_RESPONSE,
    COLLATERAL,
    DIRECTORY,
    EVIDENCE,
)
from confide.wire.metadata import DOCUMENT_HEADER
from confide.wire.problems import MAX_PROBLEM

__all__ = ["establish", "exchange", "renew"]

NONCE_LENGTH: Final = 32
_BUSY: Final = "enclave-busy"
_NOT_PROCESSED: Final = frozenset({NoEnclaveAvailable.code, _BUSY})
_MAX_VERIFIED: Final = 16  # replicas; more are not needed to survive losses


def exchange(
    request: PlainRequest, sessions: Sessions, *, authorization: str | None
) -> Flow[tuple[Answer, bytes]]:
    """Send one request sealed and open the head of its answer.

    Args:
        request: What to ask.
        sessions: The verified replicas.
        authorization: The outer credential, for the gateway only.

    Returns:
        The answer, and the part of its body that came with the head.

    Raises:
        AttestationError: No enclave was accepted; nothing was sent.
        SealingError: The answer is cut off or not authentic, or the key was rejected twice.
        GatewayError: The gateway refused, or answered unsealed.
        TransportError: The network failed.
    """
    gone: set[bytes] = set()
    renewed = False
    while True:
        session = yield from _verified(sessions, gone)
        refused: KeyConfigError | NoEnclaveAvailable
        try:
            return (yield from _send(session, request, authorization, sessions.now()))
        except KeyConfigError as error:
            refused = error
        except NoEnclaveAvailable as error:
            if error.code not in _NOT_PROCESSED:
                raise  # some other 503: it does not say that nothing was processed
            refused = error
            gone.add(session.document.sha256)
            if error.code == _BUSY:
                if sessions.pick(gone) is None:
                    raise  # its keys are good, so verifying again would find nothing new
                continue
            sessions.drop(session)
            if sessions.pick(gone):
                continue
        if renewed:
            raise refused
        renewed = True
        yield from renew(sessions, session)
        if sessions.pick(gone) is None:
            raise refused


def renew(sessions: Sessions, session: Session) -> Flow[None]:
    """Forget one replica and verify again, unless someone did so since it was verified."""
    sessions.drop(session)
    yield Alone(partial(establish, sessions, seen=session.generation))


def _verified(sessions: Sessions, gone: set[bytes]) -> Flow[Session]:
    session = sessions.pick(gone)
    if session is None:
        yield Alone(partial(establish, sessions, seen=sessions.generation))
        session = sessions.pick(gone)
    if session is None:
        raise NoEnclaveAvailable("no other enclave is available")
    return session


def establish(sessions: Sessions, *, seen: int | None = None) -> Flow[None]:
    """Verify every replica the gateway lists. Run it alone.

    Args:
        sessions: Where the outcome goes.
        seen: The generation the caller saw when it decided to verify. If an attempt ended
            since then, its outcome is shared and nothing is fetched. None verifies anyway.

    Raises:
        ConfideError: No replica could be verified.
    """
    if seen is not None and sessions.generation != seen:
        if failure := sessions.failure:
            raise failure
        return
    try:
        found = yield from _discover(sessions)
    except ConfideError as error:
        sessions.fail(error)
        raise
    sessions.replace(found)


def _discover(sessions: Sessions) -> Flow[list[Session]]:
    reply = yield Fetch(KEYS_PATH, DIRECTORY, MAX_DIRECTORY)
    verifier = yield from _with_collateral(sessions.verifier)
    found: list[Session] = []
    refusals: list[ConfideError] = []
    for replica in read_directory(reply).replicas[:_MAX_VERIFIED]:
        try:
            found.append((yield from _verify(replica, sessions, verifier)))
        except (AttestationError, GatewayError, KeyConfigError) as error:
            # One bad replica does not take the others away; it is not used.
            refusals.append(error)
    if found:
        return found
    # A refused enclave says more than one that was not there.
    refusals.sort(key=lambda refused: not isinstance(refused, AttestationError))
    raise refusals[0] if refusals else NoEnclaveAvailable("the gateway lists no enclave")


def _with_collateral(verifier: EnclaveVerifier) -> Flow[EnclaveVerifier]:
    """Let the verifier look into what the gateway staples, if it has a use for it.

    This is help, and the gateway may have none: a refusal leaves what lies on this machine
    and in the evidence. What it sends is checked like any other collateral.
    """
    if not isinstance(verifier, TakesEndorsements):
        return verifier
    reply = yield Fetch(COLLATERAL_PATH, COLLATERAL, MAX_BUNDLE)
    try:
        return verifier.with_endorsements(read_collateral(reply))
    except GatewayError:
        return verifier


def _verify(replica: Replica, sessions: Sessions, verifier: EnclaveVerifier) -> Flow[Session]:
    document = KeyDocument.parse(replica.document)
    nonce = secrets.token_bytes(NONCE_LENGTH)
    reply = yield Fetch(evidence_path(document.sha256, nonce), EVIDENCE, MAX_EVIDENCE)
    now = sessions.now()
    verdict = verifier.verify(
        read_evidence(reply),
        document=replica.document,
        manifest=replica.manifest,
        nonce=nonce,
        at=datetime.fromtimestamp(now, UTC),
    )
    if verdict.document_sha256 != document.sha256:
        raise BindingError("the verdict is about another key document", code="binding.document")
    key_config = document.key_configs[0]  # newest first
    check_key_config(key_config)
    if AUTHORITY not in document.authorities:
        raise KeyConfigError("the enclave does not answer for this authority")
    return Session(document, key_config, verdict, now, sessions.generation + 1)


def _send(
    session: Session, request: PlainRequest, authorization: str | None, now: float
) -> Flow[tuple[Answer, bytes]]:
    document = session.document
    if len(request.body) > document.max_body:
        raise RequestTooLarge(
            f"the request has {len(request.body)} bytes; the enclave accepts {document.max_body}"
        )
    digest = document.sha256_hex
    inner = InnerRequest(
        request.method,
        "https",
        AUTHORITY,
        request.path,
        (
            (b"date", _imf_fixdate(int(now))),
            (DOCUMENT_HEADER.encode(), digest.encode()),
            *request.headers,
        ),
        request.body,
    )
    profile = PaddingProfile.parse(document.padding_profile, document.tick_ms)
    sealed, opener = seal_request(session.key_config, inner, pad_to=profile.pad_request)
    outer = [
        ("content-type", CHUNKED_REQUEST),
        ("incremental", "?1"),
        (DOCUMENT_HEADER, digest),
        ("accept", CHUNKED_RESPONSE),
    ]
    if authorization is not None:
        outer.append(("authorization", authorization))
    head: Head = yield Post(SEALED_PATH, tuple(outer), sealed.content())
    if head.status != 200:
        raise refusal(head, (yield from _read_problem()))
    if head.media_type != CHUNKED_RESPONSE:
        raise unexpected_media_type(head)
    answer = Answer(opener, session, request_id_of(head))
    body = b""
    while not answer.status and not answer.ended:
        try:
            content: bytes = yield Read()
        except TransportError as error:
            body += answer.cut(error)
        else:
            body += answer.feed(content) if content else answer.finish()
    return answer, body


@functools.lru_cache(maxsize=2)
def _imf_fixdate(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode()


def _read_problem() -> Flow[bytes]:
    body = b""
    while len(body) <= MAX_PROBLEM:
        content: bytes = yield Read()
        if not content:
            break
        body += content
    return body
