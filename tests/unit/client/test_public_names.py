"""`import confide` loads nothing but itself and offers what it promises."""

import json
import subprocess
import sys

import pytest

import confide
from confide import errors

EXTRAS = (
    "starlette",
    "uvicorn",
    "aiohttp",
    "sqlalchemy",
    "alembic",
    "jwt",
    "xllamacpp",
    "openai",
    "numpy",
)


def loaded_by(statement):
    """Names of the modules in a fresh interpreter after a statement."""
    program = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_importing_confide_pulls_in_nothing_but_itself():
    names = loaded_by("import confide")
    assert not names & {*EXTRAS, "httpx2", "cryptography", "pydantic"}


@pytest.mark.parametrize(
    "statement", ["from confide import EncryptedTransport, AsyncClient", "import confide.client"]
)
def test_the_sdk_pulls_in_no_extra(statement):
    names = loaded_by(statement)
    assert not names & {*EXTRAS}


def test_every_promised_name_is_there():
    assert all(getattr(confide, name) for name in confide.__all__)
    assert set(dir(confide)) == set(confide.__all__)


def test_every_error_class_is_promised():
    assert set(errors.__all__) <= set(confide.__all__)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        confide.skip_verification  # noqa: B018
