"""Older collateral is refused, also by the next process, and nobody can forge the memory."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from confide.attest.collateral import EndorsementCache, History
from confide.attest.collateral import history as module
from confide.attest.endorsements import CollateralFact, EndorsementKey
from confide.errors import EndorsementError

CRL = EndorsementKey("snp/crl", "Genoa")
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def fact(number=None, day=0, key=CRL):
    return CollateralFact(key, DAY + timedelta(days=day), number)


def refusal(history, given):
    with pytest.raises(EndorsementError) as caught:
        history.saw(given)
    return caught.value.code


@pytest.fixture(params=["memory", "file"])
def history(request, tmp_path):
    return History(tmp_path / "kept" if request.param == "file" else None)


def test_the_same_and_newer_ones_pass(history):
    for given in (fact(5, 0), fact(5, 0), fact(5, 1), fact(6, 1), fact(9, 30)):
        history.saw(given)
    assert history.facts() == (fact(9, 30),)


@pytest.mark.parametrize(
    "older", [fact(17, 1), fact(18, -1), fact(None, -1), fact(17, -1)], ids=str
)
def test_a_lower_number_or_an_earlier_date_is_a_rollback(history, older):
    history.saw(fact(18, 0))
    assert refusal(history, older) == "collateral.rollback"
    assert history.facts() == (fact(18, 0),)


def test_a_document_without_a_number_does_not_lower_the_floor(history):
    history.saw(fact(18, 0))
    history.saw(fact(None, 1))
    assert refusal(history, fact(17, 2)) == "collateral.rollback"


def test_issuers_and_kinds_have_a_line_each(history):
    history.saw(fact(18, 5))
    history.saw(fact(1, 0, EndorsementKey("snp/crl", "Milan")))
    history.saw(fact(1, 0, EndorsementKey("tdx/tcb", "Genoa")))
    assert len(history.facts()) == 3


def test_another_process_remembers(tmp_path):
    EndorsementCache(tmp_path).saw(fact(18, 0))
    program = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from confide.attest.collateral import EndorsementCache\n"
        "from confide.attest.endorsements import CollateralFact, EndorsementKey\n"
        "from confide.errors import EndorsementError\n"
        "key = EndorsementKey('snp/crl', 'Genoa')\n"
        "try:\n"
        "    EndorsementCache(Path(sys.argv[1])).saw("
        "CollateralFact(key, datetime(2026, 2, 1, tzinfo=UTC)))\n"
        "except EndorsementError as error:\n"
        "    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "collateral.rollback"


def test_two_open_histories_of_one_directory_share_what_they_saw(tmp_path):
    first, second = History(tmp_path), History(tmp_path)
    first.saw(fact(1, 0))
    second.saw(fact(2, 1))
    assert refusal(first, fact(1, 0)) == "collateral.rollback"


def test_a_record_cut_at_any_byte_refuses_instead_of_forgetting(tmp_path):
    history = History(tmp_path)
    history.saw(fact(18, 0))
    path = tmp_path / "facts.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refusal(history, fact(19, 1)) == "collateral.history"
    path.write_bytes(whole)
    history.saw(fact(19, 1))


@pytest.mark.parametrize(
    "members",
    [
        {"v": 2, "facts": []},
        {"v": 1},
        {"v": 1, "facts": [{"kind": "a", "subject": "b"}]},
        {"v": 1, "facts": [{"kind": "a", "subject": "b", "issued_at": -1}]},
        {"v": 1, "facts": [{"kind": "a", "subject": "b", "issued_at": 1, "number": True}]},
        {"v": 1, "facts": 5},
    ],
    ids=str,
)
def test_a_record_that_is_not_one_refuses(tmp_path, members):
    (tmp_path / "facts.json").write_text(json.dumps(members))
    assert refusal(History(tmp_path), fact()) == "collateral.history"


def test_a_directory_that_cannot_be_written_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    assert refusal(History(tmp_path / "file" / "below"), fact()) == "collateral.history"


def test_the_record_is_for_its_owner_only(tmp_path):
    History(tmp_path).saw(fact())
    assert stat.S_IMODE((tmp_path / "facts.json").stat().st_mode) == 0o600


def test_a_full_record_forgets_what_changed_longest_ago(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MAX_FACTS", 2)
    history = History(tmp_path)
    keys = [EndorsementKey("nvidia/ocsp", str(n)) for n in range(3)]
    history.saw(fact(None, 0, keys[0]))
    history.saw(fact(None, 0, keys[1]))
    history.saw(fact(None, 1, keys[0]))
    history.saw(fact(None, 0, keys[2]))
    assert [known.key for known in history.facts()] == [keys[0], keys[2]]


def test_a_history_finds_no_endorsement(history):
    history.saw(fact())
    assert history.find(CRL) == ()


def test_dates_up_to_the_year_9999_survive_the_file(tmp_path):
    last = CollateralFact(CRL, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 2**53 - 1)
    History(tmp_path).saw(last)
    assert History(tmp_path).facts() == (last,)
