"""The sealed exchange: Binary HTTP inside chunked Oblivious HTTP.

`confide.sealing.exchange` is the only module rooms need: a client calls
`seal_request` and feeds the answer to the `ResponseOpener` it got; an enclave feeds
a request to a `RequestOpener` and answers through the `ResponseSealer` it got.
"""

from __future__ import annotations

__all__ = ["bhttp", "exchange", "ohttp", "padding"]
