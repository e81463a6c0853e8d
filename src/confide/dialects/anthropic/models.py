"""The list of models in Anthropic's shape.

Source: Anthropic API reference, `GET /v1/models` and `GET /v1/models/{id}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from confide.dialects.anthropic.fields import at
from confide.errors import EnclaveError

__all__ = ["translate_model", "translate_models"]

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000


def translate_models(body: bytes, query: str) -> bytes:
    """Translate OpenAI's list, one page of it.

    Args:
        body: The list.
        query: The request's query: `limit`, `after_id`, `before_id`.

    Raises:
        InvalidRequest: The query asks for an impossible page.
        EnclaveError: The list cannot be read.
    """
    entries = _object(body).get("data")
    if not isinstance(entries, list):
        raise _unreadable()
    models = [_model(entry) for entry in entries if isinstance(entry, Mapping)]
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    limit = asked.get("limit", str(_DEFAULT_LIMIT))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= _MAX_LIMIT:
        raise at("limit", f"a number from 1 to {_MAX_LIMIT} is required")
    page, more = _page(models, int(limit), asked.get("after_id"), asked.get("before_id"))
    listing = {
        "data": page,
        "has_more": more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }
    return json.dumps(listing).encode()


def translate_model(body: bytes) -> bytes:
    """Translate OpenAI's description of one model.

    Raises:
        EnclaveError: It cannot be read.
    """
    return json.dumps(_model(_object(body))).encode()


def _page(
    models: list[dict[str, Any]], limit: int, after: str | None, before: str | None
) -> tuple[list[dict[str, Any]], bool]:
    ids = [model["id"] for model in models]
    if after is not None and after in ids:
        models = models[ids.index(after) + 1 :]
    elif before is not None and before in ids:
        models = models[: ids.index(before)]
        return models[-limit:], len(models) > limit
    return models[:limit], len(models) > limit


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    name, created = entry.get("id"), entry.get("created")
    if not isinstance(name, str):
        raise _unreadable()
    seconds = created if isinstance(created, int) and 0 <= created < 1 << 36 else 0
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": name, "display_name": name, "created_at": moment}


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, Mapping):
        raise _unreadable()
    return parsed


def _unreadable() -> EnclaveError:
    return EnclaveError("the list of models cannot be read", status=502, code="answer-malformed")
