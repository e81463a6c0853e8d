"""An older list in front does not stand in the way of the newer one behind it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from confide.attest.collateral import Bundle, History
from confide.attest.endorsements import (
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EverySource,
)
from confide.attest.factors import FactorSheet
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.attest.platforms.tdx.verifier import TdxVerifier
from confide.errors import EndorsementError

VECTORS = Path(__file__).parents[2] / "vectors" / "attestation" / "snp"
AT = datetime(2026, 1, 1, tzinfo=UTC)
LIST = EndorsementKey("snp/crl", "Milan")


def bundle(*lists):
    report = (VECTORS / "milan-v2/report.bin").read_bytes()
    vek = EndorsementKey(
        "snp/vek", f"Milan/{report[0x1A0:0x1E0].hex()}/{report[0x180:0x188].hex()}"
    )
    held = {
        vek: (VECTORS / "milan-v2/vcek.der").read_bytes(),
        EndorsementKey("snp/chain", "Milan"): (VECTORS / "roots/milan.pem").read_bytes(),
    }
    found = {key: (Endorsement(key, content, "test"),) for key, content in held.items()}
    return Bundle(found | {LIST: tuple(Endorsement(LIST, one, "test") for one in lists)})


class Forgetful(History):
    """Calls the first thing it is told of a rollback."""

    def __init__(self):
        super().__init__()
        self.sightings = 0

    def saw(self, fact):
        self.sightings += 1
        if self.sightings == 1:
            raise EndorsementError("older", code="collateral.rollback")
        super().saw(fact)


def authenticate(*sources):
    verifier = SnpVerifier()
    return verifier.authenticate(
        (VECTORS / "milan-v2/report.bin").read_bytes(),
        aux={},
        endorsements=EverySource(sources),
        sheet=FactorSheet(verifier.factors),
        at=AT,
    )


def test_intels_next_document_is_tried_when_the_first_is_a_rollback():
    folder = VECTORS.parent / "tdx/v5-uptodate"
    whole = json.loads((folder / "collateral.json").read_text())
    quote = (folder / "quote.bin").read_bytes()
    key = EndorsementKey("tdx/collateral", "90c06f000000/platform")
    twice = (json.dumps(whole).encode(), json.dumps(whole, indent=2).encode())
    held = Bundle({key: tuple(Endorsement(key, one, "test") for one in twice)})
    verifier, history = TdxVerifier(), Forgetful()
    genuine = verifier.authenticate(
        quote,
        aux={},
        endorsements=EverySource((held, history)),
        sheet=FactorSheet(verifier.factors),
        at=datetime(2026, 3, 17, 12, tzinfo=UTC),
    )
    assert genuine.claims["tcb_status"] == "UpToDate"
    assert history.sightings == 5  # the first was refused, then all four of the next


def test_a_real_list_that_is_older_than_one_seen_is_refused():
    history = History()
    authenticate(bundle((VECTORS / "crl/milan.crl.der").read_bytes()), history)
    (fact,) = history.facts()
    newer = CollateralFact(fact.key, fact.issued_at + timedelta(days=1), (fact.number or 0) + 1)
    history.saw(newer)
    with pytest.raises(EndorsementError) as caught:
        authenticate(bundle((VECTORS / "crl/milan.crl.der").read_bytes()), history)
    assert caught.value.code == "collateral.rollback"


def test_the_next_list_is_tried_when_the_first_is_a_rollback():
    lists = ((VECTORS / f"crl/milan.crl.{form}").read_bytes() for form in ("der", "pem"))
    history = Forgetful()
    assert authenticate(bundle(*lists), history).claims["product"] == "Milan"
    assert history.sightings == 2
