"""Read the options of a backend strictly: an unknown or misspelt key is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from confide.errors import ConfigError

__all__ = ["Options", "parse_options"]


class Options(BaseModel):
    """Base of every backend's options."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(model: type[OptionsT], name: str, options: Mapping[str, object]) -> OptionsT:
    """Check the options of the backend `name`.

    Raises:
        ConfigError: Names the backend and the first wrong key, never its value.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "options"
        raise ConfigError(f"backend {name!r}: {key}: {first['msg']}") from None
