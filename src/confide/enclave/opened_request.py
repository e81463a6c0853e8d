"""What came out of the seal: a request, or something that is none.

Source: RFC 9292 (the message), RFC 9110 section 5.6.7 (its date).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from confide.errors import (
    EnclaveError,
    InvalidRequest,
    OpenError,
    ReplayError,
    SealingError,
    StreamClosed,
    StreamError,
)
from confide.sealing.exchange import InnerRequest, RequestOpener, ResponseSealer
from confide.wire.grants import Grant

__all__ = ["OpenedRequest", "date_of", "finish_opening", "single_header"]

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_IMF_FIXDATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), "
    rf"(\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT",
    re.ASCII,
)


@dataclass(frozen=True, repr=False)
class OpenedRequest:
    """A request that passed steps 1 to 7. Its repr shows nothing.

    Attributes:
        request: The inner request; None if the seal opened on something that is none.
        sealer: Seals the answer, once.
        grant: What the caller may do.
        refusal: Why there is no request.
    """

    request: InnerRequest | None
    sealer: ResponseSealer
    grant: Grant
    refusal: EnclaveError | None = None


def finish_opening(opener: RequestOpener, grant: Grant) -> OpenedRequest:
    """Say that the transport ended; return what was sealed.

    Raises:
        OpenError: The final chunk did not authenticate.
        StreamError: No final chunk came.
        SealingError: Code "too-large": the final chunk was over the limit.
    """
    try:
        request, sealer = opener.finish()
    except (OpenError, StreamError):
        raise
    except SealingError as error:
        try:
            sealer = opener.response_sealer()
        except StreamClosed:  # refused by its length before the final chunk was opened
            raise error from None
        # It opened, so the answer is sealed, although what is inside is no request of ours.
        status = 413 if error.code == "too-large" else 400
        refusal = InvalidRequest("the sealed message is not usable", status=status, code=error.code)
        return OpenedRequest(None, sealer, grant, refusal)
    return OpenedRequest(request, sealer, grant)


def single_header(request: InnerRequest, name: bytes) -> str:
    """Return an inner header's value; "" if it is absent or repeated."""
    values = [value for key, value in request.headers if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def date_of(request: InnerRequest) -> int:
    """Return the request's own date in unix seconds.

    Raises:
        ReplayError: It has none, two, or one in another form than HTTP's.
    """
    found = _IMF_FIXDATE.fullmatch(single_header(request, b"date"))
    if found is None:
        raise _no_usable_date()
    day, month, *rest = found.groups()
    year, hour, minute, second = map(int, rest)
    try:
        date = datetime(year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise _no_usable_date() from None
    return int(date.timestamp())


def _no_usable_date() -> ReplayError:
    return ReplayError("the request has no usable date")
