"""Before a request is acted on, every refusal is a problem document that says little."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.enclave.door.door_bench import MESSAGES, b64url, opened

from confide.wire.frames import encode_frame
from confide.wire.grants import ALGORITHM, GRANT_TYPE, USAGE_TOKEN_TYPE
from confide.wire.problems import DATE_TYPE, OHTTP_KEY_TYPE

CHAT_BODY = {"model": "echo", "messages": MESSAGES}


async def refused(bench, *, seal=None, **post):
    sealed, _ = seal or bench.seal(bench.inner(CHAT_BODY))
    got = await bench.post(sealed, **post).result()
    assert got.status != 200
    assert bench.backend.finished_generations == bench.backend.cancelled_generations == 0
    assert len(bench.parts.ledger) == 0
    return got


# The outer request


async def test_another_media_type_is_refused(bench):
    got = await refused(bench, outer={"content-type": "application/json"})
    assert (got.status, got.problem.code) == (415, "media-type-unknown")


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 65, "é"])
async def test_a_request_without_a_usable_id_is_refused(bench, request_id):
    got = await refused(bench, outer={"confide-request-id": request_id})
    assert (got.status, got.problem.code) == (400, "request-id")
    assert b"confide-request-id" not in got.headers


async def test_a_body_announced_as_too_long_is_refused_before_it_is_read(bench):
    peer = bench.post(
        bench.seal(bench.inner(CHAT_BODY))[0],
        outer={"content-length": str(64 << 20)},
        pieces=[b"x", b"y"],
    )
    got = await peer.result()
    assert (got.status, got.problem.code) == (413, "request-too-large")
    assert got.headers[b"connection"] == b"close"
    assert peer.incoming.qsize() >= 2


async def test_a_33_mb_body_is_refused_while_it_arrives(bench):
    sealed, _ = bench.seal(bench.inner(raw=b"x" * (33 << 20)))
    peer = bench.post(sealed)
    total = peer.incoming.qsize()
    got = await peer.result()
    assert (got.status, got.problem.code) == (413, "request-too-large")
    assert total > 2000


async def test_a_body_over_the_limit_within_the_padding_is_refused_under_the_seal(make_bench):
    async with make_bench(door="max_body = 5000") as bench:
        got = await bench.ask(raw=b"x" * 5001)
        assert (got.status, got.head.status) == (200, 413)
        got = await bench.ask({"model": "echo", "messages": MESSAGES, "user": "x" * 4000})
        assert got.head.status == 200


async def test_a_final_chunk_over_the_limit_is_refused_for_its_length(make_bench):
    async with make_bench(door="max_body = 5000") as bench:
        # 16 full chunks fill the padded limit of 256 KiB; the final one is too much.
        got = await bench.ask(raw=b"x" * (256 * 1024))
    assert (got.status, got.problem.code) == (413, "request-too-large")


async def test_65_kb_of_inner_headers_are_refused_under_the_seal(bench):
    inner = bench.inner(CHAT_BODY, headers=((b"x-filler", b"y" * 66_000),))
    got = await bench.ask(inner=inner)
    assert (got.status, got.head.status) == (200, 413)
    assert got.error["type"] == "invalid_request_error"


async def test_a_request_that_does_not_arrive_in_time_is_given_up(bench):
    bench.parts.door._terms = replace(bench.parts.door._terms, receive_within_s=0.05)
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    peer = bench.post(sealed, pieces=[raw[:1200], raw[1200:]])
    peer.incoming._queue.pop()
    got = await peer.result()
    assert (got.status, got.problem.code) == (408, "request-timeout")
    assert bench.parts.metrics.open_requests == 0


async def test_too_many_requests_at_once_are_refused(make_bench):
    async with make_bench(door="max_requests = 1", echo={"first_token_delay_ms": 60_000}) as bench:
        sealed, _ = bench.seal(bench.inner(CHAT_BODY))
        first = bench.post(sealed)
        while bench.backend.open_generations == 0:
            await first_step()
        got = await bench.ask(CHAT_BODY)
        assert (got.status, got.problem.code) == (503, "enclave-busy")
        first.leave()
        await first.result()


async def first_step():
    import asyncio

    await asyncio.sleep(0.001)


# The key


async def test_an_unknown_key_id_is_refused_as_soon_as_the_header_is_there(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    unknown = bytes([raw[0] ^ 1]) + raw[1:]
    got = await refused(bench, pieces=[unknown[:7], unknown[7:]])
    assert (got.status, got.problem.type) == (400, OHTTP_KEY_TYPE)


@pytest.mark.parametrize("at", range(1, 7))
async def test_every_other_header_byte_is_checked(bench, at):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = bytearray(b"".join(sealed.chunks()))
    raw[at] ^= 1
    got = await refused(bench, pieces=[bytes(raw)])
    assert got.status in {400, 403}


async def test_a_low_order_share_looks_like_any_other_failure(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    prefix = raw[: 7 + 1088] + bytes(32)
    got = await refused(bench, pieces=[prefix + raw[7 + 1120 :]], **granted_for(bench, prefix))
    tampered = bytearray(raw)
    tampered[-1] ^= 1
    other = await refused(bench, pieces=[bytes(tampered)], **granted_for(bench, raw, "r-2"))
    assert got.problem.type == other.problem.type == OHTTP_KEY_TYPE
    assert same_but_for_the_id(got, other)


def granted_for(bench, raw, request_id="r-1"):
    from confide.wire.envelope import envelope_digest

    claims = bench.grant(envelope_digest(raw), request_id).to_claims()
    return {"token": bench.sign(claims), "request_id": request_id}


def same_but_for_the_id(one, other):
    strip = [got.raw.replace(got.problem.request_id.encode(), b"ID") for got in (one, other)]
    return strip[0] == strip[1]


async def test_every_cryptographic_failure_is_one_document(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    token = granted_for(bench, raw)
    flipped = bytearray(raw)
    flipped[-1] ^= 1
    cases = [
        bytes(flipped),
        raw[:-1],
        raw[: 7 + 1120],
        raw[: 7 + 1120] + encode_frame(bytes(40)) + raw[7 + 1120 :],
        raw[: 7 + 1120] + b"\xff" * 8,
        raw + b"\0",
    ]
    answers = [(await refused(bench, pieces=[case], **token)).raw for case in cases]
    assert len(set(answers)) == 1


async def test_no_byte_of_a_request_can_be_changed(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    for at in [*range(7), *range(7, len(raw), 29), len(raw) - 1]:
        changed = bytearray(raw)
        changed[at] ^= 0x40
        await refused(bench, pieces=[bytes(changed)], **granted_for(bench, raw))
        # With a grant for the changed envelope too: the seal itself must refuse.
        if 7 <= at < 1127:
            await refused(bench, pieces=[bytes(changed)], **granted_for(bench, bytes(changed)))


async def test_a_request_cut_at_any_byte_is_never_acted_on(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    token = granted_for(bench, raw)
    for length in [*range(0, 7), 100, 1126, 1127, 1128, 1143, 1144, len(raw) // 2, len(raw) - 1]:
        await refused(bench, pieces=[raw[:length]], **token)


@pytest.mark.parametrize("size", [1, 7, 1000, 4096])
async def test_pieces_of_any_size_are_put_together(bench, size):
    sealed, opener = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    got = opened(await bench.post(sealed, pieces=pieces).result(), opener)
    assert got.head.status == 200


# The grant


async def test_a_missing_grant_is_refused_before_anything_is_opened(bench):
    got = await refused(bench, token=None)
    assert (got.status, got.problem.code) == (401, "grant-missing")


async def test_two_grants_are_no_grant(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(bench.grant(sealed.envelope_digest, "r-9").to_claims())
    got = await refused(
        bench,
        seal=(sealed, None),
        token=token,
        request_id="r-9",
        more_headers=[("confide-grant", token)],
    )
    assert (got.status, got.problem.code) == (401, "grant-missing")


def claims_of(bench, sealed, **changes):
    claims = bench.grant(sealed.envelope_digest, "r-1").to_claims() | changes
    return {name: value for name, value in claims.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"aud": "someone"},
        {"aud": ["confide-enclave"]},
        {"env": b64url(bytes(32))},
        {"jti": "r-2"},
        {"dom": 7},
        {"sub": None},
        {"models": "echo"},
        {"models": [1]},
        {"ops": ["chat", "everything"]},
        {"ops": None},
        {"usage": "none"},
        {"exp": None},
        {"iat": None},
        {"iat": True},
        {"exp": "soon"},
        {"unheard_of": 1},
    ],
)
async def test_a_grant_with_a_wrong_claim_is_refused_without_detail(bench, changes):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(claims_of(bench, sealed, **changes))
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert (got.status, got.problem.code) == (403, "grant-refused")
    assert got.problem.detail == "the grant is not valid for this request"


@pytest.mark.parametrize(
    ("issued_s", "lifetime_s", "accepted"),
    [
        (0, 60, True),
        (9, 60, True),
        (11, 60, False),
        (-69, 60, True),
        (-70, 60, False),
        (0, 61, False),
        (0, 0, False),
    ],
)
async def test_a_grant_is_timely_for_60_s_with_10_s_of_leeway(
    bench, issued_s, lifetime_s, accepted
):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    issued = int(bench.clock()) + issued_s
    token = bench.sign(claims_of(bench, sealed, iat=issued, exp=issued + lifetime_s))
    got = await bench.post(sealed, token=token, request_id="r-1").result()
    assert (got.status == 200) is accepted


async def test_a_grant_of_another_signer_is_refused(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(claims_of(bench, sealed), key=Ed25519PrivateKey.generate())
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert (got.status, got.problem.code) == (403, "grant-refused")


async def test_a_grant_signed_with_the_public_key_as_a_secret_is_refused(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    public = bench.gateway_key.public_key().public_bytes_raw()
    token = bench.sign(claims_of(bench, sealed), key=public, algorithm="HS256")
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert got.problem.code == "grant-refused"


async def test_an_unsigned_grant_is_refused(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(claims_of(bench, sealed), key=None, algorithm="none")
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert got.problem.code == "grant-refused"


@pytest.mark.parametrize("typ", ["JWT", USAGE_TOKEN_TYPE, None])
async def test_a_token_of_another_type_is_no_grant(bench, typ):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(claims_of(bench, sealed), typ=typ)
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert got.problem.code == "grant-refused"


@pytest.mark.parametrize("extra", [{"kid": "1"}, {"crit": ["exp"]}, {"jwk": {}}, {"b64": False}])
async def test_a_grant_says_nothing_about_how_it_is_checked(bench, extra):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    header = {"alg": ALGORITHM, "typ": GRANT_TYPE, **extra}
    token = compact(bench, header, json.dumps(claims_of(bench, sealed)))
    got = await refused(bench, seal=(sealed, None), token=token, request_id="r-1")
    assert got.problem.code == "grant-refused"


@pytest.mark.parametrize(("more", "status"), [("", 200), (',"dom":"other"', 403)])
async def test_a_grant_that_names_a_claim_twice_is_refused(bench, more, status):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    claims = json.dumps(claims_of(bench, sealed))[:-1] + more + "}"
    token = compact(bench, {"alg": ALGORITHM, "typ": GRANT_TYPE}, claims)
    got = await bench.post(sealed, token=token, request_id="r-1").result()
    assert got.status == status


def compact(bench, header, payload):
    signed = f"{b64url(json.dumps(header).encode())}.{b64url(payload.encode())}"
    return f"{signed}.{b64url(bench.gateway_key.sign(signed.encode()))}"


@pytest.mark.parametrize("token", ["x", "a.b.c", "." * 3, "e30." * 9000])
async def test_something_that_is_no_token_is_refused(bench, token):
    got = await refused(bench, token=token)
    assert got.problem.code == "grant-refused"


async def test_the_grant_of_one_request_does_not_carry_another(bench):
    mine, _ = bench.seal(bench.inner(CHAT_BODY))
    other, _ = bench.seal(bench.inner(CHAT_BODY))
    token = bench.sign(claims_of(bench, other))
    got = await refused(bench, seal=(mine, None), token=token, request_id="r-1")
    assert got.problem.code == "grant-refused"


async def test_a_model_outside_the_grant_is_a_sealed_403(bench):
    got = await bench.ask(CHAT_BODY, grant={"models": ("second",)})
    assert (got.status, got.head.status) == (200, 403)
    assert got.error["code"] == "model_not_allowed"
    assert bench.backend.finished_generations == 0
    assert got.usage.outcome == "refused"


async def test_an_operation_outside_the_grant_is_a_sealed_403(bench):
    got = await bench.ask(CHAT_BODY, grant={"operations": ("embeddings", "models")})
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")
    got = await bench.ask(path="/v1/models", method="GET", grant={"operations": ("chat",)})
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
async def test_audio_outside_the_grant_is_a_sealed_403(bench, path):
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n--b--\r\n'
    inner = bench.inner(raw=form, path=path)
    kept = tuple(header for header in inner.headers if header[0] != b"content-type")
    typed = ((b"content-type", b"multipart/form-data; boundary=b"), *kept)
    got = await bench.ask(inner=replace(inner, headers=typed))
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")
    allowed = bench.inner(raw=form, path=path)
    allowed = replace(allowed, headers=typed)
    got = await bench.ask(inner=allowed, grant={"operations": ("audio",)})
    assert (got.head.status, got.error["param"]) == (400, "file"), "it came as far as the form"


async def test_responses_need_the_permission_for_chats(bench):
    body = {"model": "echo", "input": "x"}
    got = await bench.ask(body, path="/v1/responses", grant={"operations": ("audio", "models")})
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")
    got = await bench.ask(
        path="/v1/responses/x", method="GET", grant={"operations": ("audio", "models")}
    )
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")


async def test_a_grant_for_no_model_at_all_allows_none(bench):
    got = await bench.ask(CHAT_BODY, grant={"models": ()})
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")


# Once, and now


async def test_the_same_envelope_is_answered_once(bench):
    sealed, opener = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    first = opened(await bench.post(sealed, pieces=[raw]).result(), opener)
    assert first.head.status == 200
    for request_id in ("r1", "another"):
        again = await bench.post(sealed, pieces=[raw], request_id=request_id).result()
        assert (again.status, again.problem.type) == (400, DATE_TYPE)
    assert bench.backend.finished_generations == 1


async def test_an_envelope_that_holds_no_request_is_answered_once(bench):
    sealed, opener = bench.seal_raw(b"\x07garbage")
    raw = b"".join(sealed.chunks())
    first = opened(await bench.post(sealed, pieces=[raw]).result(), opener)
    assert (first.status, first.head.status) == (200, 400)
    for request_id in ("r1", "another"):
        again = await bench.post(sealed, pieces=[raw], request_id=request_id).result()
        assert (again.status, again.problem.type) == (400, DATE_TYPE)


async def test_a_grant_used_twice_with_the_same_request_is_refused(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    token = granted_for(bench, raw)
    assert (await bench.post(sealed, pieces=[raw], **token).result()).status == 200
    again = await bench.post(sealed, pieces=[raw], **token).result()
    assert again.problem.type == DATE_TYPE


@pytest.mark.parametrize(
    ("offset_s", "accepted"), [(-120, True), (-121, False), (60, True), (61, False)]
)
async def test_the_date_window_is_120_s_back_and_60_s_ahead(bench, offset_s, accepted):
    from email.utils import formatdate

    date = formatdate(bench.clock() + offset_s, usegmt=True)
    got = await bench.ask(inner=bench.inner(CHAT_BODY, date=date))
    assert (got.status == 200) is accepted
    if not accepted:
        assert got.problem.type == DATE_TYPE


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "now",
        "2026-11-21T00:00:00Z",
        "Sat, 31 Feb 2026 00:00:00 GMT",
        "Sat, 21 Nov 2026 25:00:00 GMT",
    ],
)
async def test_a_request_without_a_usable_date_is_refused(bench, date):
    got = await bench.ask(inner=bench.inner(CHAT_BODY, date=date))
    assert got.problem.type == DATE_TYPE


@pytest.mark.parametrize(
    "spelling",
    [
        lambda date: date + "+1",
        lambda date: date.removeprefix(date[:5]),
        lambda date: date.replace("GMT", "UTC"),
        lambda date: date.lower(),
        lambda date: date.replace(" ", "  "),
    ],
)
async def test_a_date_in_another_form_than_that_of_http_is_refused(bench, spelling):
    date = dict(bench.inner(CHAT_BODY).headers)[b"date"].decode()
    got = await bench.ask(inner=bench.inner(CHAT_BODY, date=spelling(date)))
    assert got.problem.type == DATE_TYPE


async def test_two_dates_are_no_date(bench):
    date = dict(bench.inner(CHAT_BODY).headers)[b"date"]
    got = await bench.ask(inner=bench.inner(CHAT_BODY, headers=((b"date", date),)))
    assert got.problem.type == DATE_TYPE


@pytest.mark.parametrize("document", [None, "", "0" * 64, "é"])
async def test_a_request_under_an_unknown_document_is_refused(bench, document):
    inner = bench.inner(CHAT_BODY, document=document) if document != "é" else None
    if inner is None:
        inner = bench.inner(CHAT_BODY, document=None, headers=((b"confide-document", b"\xc3\xa9"),))
    got = await bench.ask(inner=inner)
    assert got.problem.type == OHTTP_KEY_TYPE
    assert bench.backend.finished_generations == 0


@pytest.mark.parametrize(
    "control",
    [
        {"authority": "api.openai.com"},
        {"authority": "CONFIDE.INVALID"},
        {"authority": "confide.invalid:443"},
        {"authority": ""},
        {"scheme": "http"},
    ],
)
async def test_another_inner_authority_is_a_sealed_421(bench, control):
    got = await bench.ask(inner=bench.inner(CHAT_BODY, **control))
    assert (got.status, got.head.status) == (200, 421)
    assert got.error["code"] == "authority_unknown"


# Rotation, grace, restart


async def test_the_old_key_opens_during_its_grace_and_not_after(bench):
    old = bench.keyring.current
    bench.clock.at += 86_400
    sealed = bench.seal(bench.inner(CHAT_BODY, document=old.sha256_hex), document=old)
    assert bench.keyring.current.sha256 != old.sha256
    got = opened(await bench.post(sealed[0]).result(), sealed[1])
    assert got.head.status == 200
    bench.clock.at += 3_600
    sealed, _ = bench.seal(bench.inner(CHAT_BODY, document=old.sha256_hex), document=old)
    got = await bench.post(sealed).result()
    assert got.problem.type == OHTTP_KEY_TYPE


async def test_a_request_naming_a_document_that_does_not_list_its_key_is_refused(bench):
    old = bench.keyring.current
    bench.clock.at += 86_400
    new = bench.keyring.current
    sealed, _ = bench.seal(bench.inner(CHAT_BODY, document=old.sha256_hex), document=new)
    got = await bench.post(sealed).result()
    assert got.problem.type == OHTTP_KEY_TYPE


async def test_a_restart_makes_old_ciphertext_dead(bench):
    sealed, _ = bench.seal(bench.inner(CHAT_BODY))
    raw = b"".join(sealed.chunks())
    await bench.parts.router.stop()
    bench.boot()
    await bench.parts.router.start()
    got = await bench.post(sealed, pieces=[raw]).result()
    assert got.problem.type == OHTTP_KEY_TYPE


async def test_an_opened_request_does_not_show_in_a_repr(bench):
    shown = []
    original = bench.parts.door.answer

    async def spy(exchange, opened_request):
        shown.append(repr(opened_request))
        return await original(exchange, opened_request)

    bench.parts.door.answer = spy
    got = await bench.ask(CHAT_BODY)
    assert got.head.status == 200
    assert shown
    assert "quick" not in shown[0]
