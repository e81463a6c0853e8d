"""The settings files that the pages show are settings files, and the codes exist."""

import re
from pathlib import Path

import pytest

from confide.config.enclave import EnclaveSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("run-an-enclave-*.md"))


def test_there_is_a_page_for_each_way():
    assert [page.stem.removeprefix("run-an-enclave-") for page in PAGES] == [
        "on-azure",
        "on-sev-snp",
        "on-tdx",
        "with-gpus",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_shown_are_accepted(page):
    [shown] = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    assert EnclaveSettings.parse(shown.encode(), source=page.name).enclave.platform


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_codes_shown_are_raised(page):
    known = (ROOT / "docs" / "reference" / "error-codes.md").read_text()
    for code in re.findall(r"`((?:tsm|azure|nv)\.[a-z_]+)`", page.read_text()):
        assert f"`{code}`" in known
