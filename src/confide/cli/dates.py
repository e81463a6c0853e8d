"""Dates on the command line, and the wall clock for the commands that need it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

__all__ = ["MOMENT", "now"]


def now() -> datetime:
    """Return the present time. The command line is where the wall clock enters."""
    return datetime.now(tz=UTC)  # noqa: TID251


class _Moment(click.ParamType):  # type: ignore[type-arg]
    """2027-02-01, or 2027-02-01T00:00:00Z; without a time zone it is UTC."""

    name = "date"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("write a date such as 2027-02-01", param, ctx)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


MOMENT: Final = _Moment()
