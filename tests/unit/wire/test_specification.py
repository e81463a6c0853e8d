"""The specification numbers each rule once and names only tests that exist."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "spec" / "protocol.md").read_text()
RULES = [line for line in TEXT.splitlines() if line.startswith("- **P-")]


def test_every_rule_has_a_number_of_its_own_in_order():
    numbers = re.findall(r"^- \*\*P-(\d{3})\*\*", TEXT, re.MULTILINE)
    assert len(numbers) == len(RULES) > 50
    assert [n for n, times in Counter(numbers).items() if times > 1] == []
    assert numbers == sorted(numbers)


def test_every_rule_says_must_or_should():
    assert [rule for rule in RULES if not re.search(r"\b(MUST|SHOULD|MAY)\b", rule)] == []


def test_every_test_the_specification_names_exists():
    named = set(re.findall(r"`(tests/[^`]+)`", TEXT))
    assert len(named) > 20
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_number_mentioned_elsewhere_is_a_rule():
    defined = set(re.findall(r"^- \*\*(P-\d{3})\*\*", TEXT, re.MULTILINE))
    assert set(re.findall(r"P-\d{3}", TEXT)) == defined


def test_every_rule_names_its_test_or_says_why_there_is_none():
    bare = [rule for rule in RULES if not re.search(r"— `tests/|no test can show it", rule)]
    assert bare == []


def test_the_errors_name_every_code_that_is_sent():
    table = TEXT.partition("## 12. Errors")[2].partition("**After**")[0]
    for code in (
        *("bad-request", "bad-nonce", "key-revoked", "request-timeout", "unsupported-media-type"),
        *("media-type-unknown", "headers-too-large", "enclave-lost", "ledger-unavailable"),
        "enclave-busy",
    ):
        assert re.search(rf"[`/]{code}`", table), code
