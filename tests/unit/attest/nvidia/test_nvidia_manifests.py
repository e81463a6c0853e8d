"""A reference manifest is believed whole, signed by NVIDIA, in one form, or not at all."""

import builtins
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.nvidia import mint

from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.rim import (
    MAX_RIM,
    check_fits,
    golden_from,
    import_rim,
    signer_chain,
)
from confide.errors import AttestationError, ConfigError

VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "nvidia"
A, B = "aa" * 48, "bb" * 48
DRIVER = mint.manifest([mint.resource(4, A), mint.resource(5, B, active="False")])
VBIOS = mint.manifest([mint.resource(6, A, B)], version="96.00.9f.00.01")
SWITCH = mint.manifest(
    [mint.resource(0, A)], version="96.10.55.00.01", product="LS10", edition="SWITCH"
)
VALID = datetime(2025, 8, 21, 12, tzinfo=UTC)


def imported(raw, *, at=mint.NOW, roots=mint.RIM_PINNED):
    return import_rim(raw, at, roots=roots)


def refused(raw, **changes) -> str:
    with pytest.raises(AttestationError) as caught:
        imported(raw, **changes)
    return caught.value.code


def replaced(old, new, raw=DRIVER):
    assert old in raw
    return raw.replace(old, new, 1)


def test_a_genuine_manifest_lists_its_active_measurements():
    rim = imported(DRIVER)
    assert (rim.product, rim.edition, rim.version) == ("GH100", "GPU", "550.90.07")
    assert rim.measurements == {4: (A,)}
    assert rim.is_driver
    assert rim.valid_until == mint.RIM_SIGNER.certificate.not_valid_after_utc


def test_a_version_of_firmware_is_written_in_upper_case_as_reports_are():
    rim = imported(VBIOS)
    assert rim.version == "96.00.9F.00.01"
    assert not rim.is_driver
    assert rim.measurements == {6: (A, B)}


def test_the_shipped_root_refuses_minted_manifests():
    with pytest.raises(AttestationError) as caught:
        import_rim(DRIVER, mint.NOW)
    assert caught.value.code == "rim.root_not_pinned"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("hopper-550.90.07/driver-rim.xml", None),
        ("hopper-550.90.07/vbios-rim.xml", None),
        ("rim/driver-550.144.03.xml", None),
        ("rim/driver-bad-signature.xml", "rim.signature"),
        ("rim/driver-535-digest-mismatch.xml", "rim.digest"),
        ("rim/driver-untrusted-root.xml", "rim.root_not_pinned"),
        ("hopper-535.86.09/vbios-rim.xml", "rim.cert_expired"),
    ],
)
def test_recorded_manifests_have_their_known_verdict(name, code):
    raw = (VECTORS / name).read_bytes()
    if code is None:
        assert import_rim(raw, VALID).measurements
    else:
        with pytest.raises(AttestationError) as caught:
            import_rim(raw, VALID)
        assert caught.value.code == code


def test_a_pair_of_recorded_manifests_covers_33_measurements():
    folder = VECTORS / "hopper-550.90.07"
    golden = golden_from(
        import_rim((folder / "driver-rim.xml").read_bytes(), VALID),
        import_rim((folder / "vbios-rim.xml").read_bytes(), VALID),
    )
    assert (golden.driver, golden.vbios) == ("550.90.07", "96.00.9F.00.01")
    assert len(golden.measurements) == 33
    assert len(golden.rim_sha256) == 2


def signed_with(**changes):
    return mint.manifest([mint.resource(4, A)], **changes)


def info(old, new):
    assert old in mint.SIGNED_INFO
    return signed_with(info=mint.SIGNED_INFO.replace(old, new, 1))


C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
XPATH = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/></ds:Transforms>'


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (replaced(b"SoftwareIdentity", b"Sbom"), "rim.root_element"),
        (replaced(b"</ds:Signature>", b"</ds:Signature><extra/>"), "rim.signature_count"),
        (replaced(b"<ns0:Payload>", b"<ns0:Payload><x:Signature xmlns:x="
                  b'"http://www.w3.org/2000/09/xmldsig#"/>'), "rim.signature_count"),
        (signed_with(edit_signature=lambda text: ""), "rim.signature_count"),
        (signed_with(edit_signature=lambda text: text + text), "rim.signature_count"),
        (info('URI=""', 'URI="#part"'), "rim.reference"),
        (info(' URI=""', ""), "rim.reference"),
        (info('URI=""', 'URI="" Type="x"'), "rim.reference"),
        (info("</ds:Reference>", '</ds:Reference><ds:Reference URI=""/>'), "rim.reference"),
        (info("</ds:Transforms>", XPATH), "rim.transform"),
        (info("enveloped-signature", "base64"), "rim.transform"),
        (info(C14N11, "http://www.w3.org/2001/10/xml-exc-c14n#"), "rim.algorithm"),
        (info("ecdsa-sha384", "hmac-sha384"), "rim.algorithm"),
        (info("ecdsa-sha384", "ecdsa-sha1"), "rim.algorithm"),
        (info("xmldsig-more#sha384", "xmldsig-more#md5"), "rim.algorithm"),
        (replaced(b"<ds:KeyInfo>", b"<ds:KeyInfo><ds:KeyName>x</ds:KeyName>"),
         "rim.chain_signature"),
        (signed_with(chain=(mint.RIM_SIGNER, mint.RIM_CA)), "rim.root_not_pinned"),
        (signed_with(chain=(mint.RIM_CA, mint.RIM_ROOT)), "rim.signature"),
        (signed_with(chain=(mint.RIM_SIGNER, mint.RIM_ROOT)), "rim.chain_signature"),
        (signed_with(chain=()), "rim.chain_signature"),
        (replaced(A.encode(), B.encode()), "rim.digest"),
        (replaced(b"550.90.07", b"550.90.08"), "rim.digest"),
        (replaced(b"</ns0:Payload>\n", b"</ns0:Payload> "), "rim.digest"),
        (mint.manifest([mint.resource(4, A)], attributes=' xml:lang="en"'), "rim.transform"),
        (replaced(b'"http://www.w3.org/2001/04/xmlenc#sha384"', b'"relative"'), "rim.transform"),
        (mint.manifest([mint.resource(4, A), mint.resource(4, B)]), "rim.duplicate_index"),
        (mint.manifest([mint.resource(4, A), mint.resource(4, B, active="False")]),
         "rim.duplicate_index"),
        (mint.manifest([mint.resource(254, A)]), "rim.root_element"),
        (mint.manifest([mint.resource("-1", A)]), "rim.root_element"),
        (mint.manifest([mint.resource(4, A, alternatives=2)]), "rim.root_element"),
        (mint.manifest([mint.resource(4, A, B, alternatives=1)]), "rim.root_element"),
        (mint.manifest([mint.resource(4, A, active="maybe")]), "rim.root_element"),
        (mint.manifest([mint.resource(4, "zz" * 48)]), "rim.root_element"),
        (mint.manifest([mint.resource(4, A, active="False")]), "rim.root_element"),
        (mint.manifest([mint.resource(4, A)], version=""), "rim.version"),
        (mint.manifest([mint.resource(4, A)], product=""), "rim.product"),
        (mint.manifest([mint.resource(4, A)], edition="CPU"), "rim.product"),
    ],
)  # fmt: skip
def test_every_other_form_is_refused_with_its_own_code(raw, code):
    assert refused(raw) == code


def test_a_manifest_counts_between_the_dates_of_its_signer_only():
    assert refused(DRIVER, at=mint.NOW - 2 * mint.DAY) == "rim.cert_expired"
    assert refused(DRIVER, at=mint.NOW + 701 * mint.DAY) == "rim.cert_expired"


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE x [<!ENTITY e "b">]><x>&e;</x>',
        b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 999 + b'"><!ENTITY b "' + b"&a;" * 999 + b'">]>'
        b"<x>" + b"&b;" * 999 + b"</x>",
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        '<?xml version="1.0" encoding="utf-16"?><x/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?><x/>',
        b'<?xml-stylesheet href="x"?><x/>',
        b"<x>" * 10_000,
        b"<x>" * 100 + b"</x>" * 100,
        b"<x " + b" ".join(b'a%d="1"' % n for n in range(30_000)) + b"/>",
        b"<x>" + b"<y/>" * 5000 + b"</x>",
        b"<x>" + b"A" * MAX_RIM + b"</x>",
        b"",
        b"\x00",
        b"{}",
    ],
    ids=[
        "entity", "entities of entities", "external type", "external entity", "utf-16", "utf-7",
        "processing instruction", "unended", "deep", "attributes", "many", "large", "empty",
        "nul", "json",
    ],
)  # fmt: skip
def test_hostile_xml_is_refused_quickly(raw):
    imported(DRIVER)
    started = time.process_time()
    assert refused(raw) in {"rim.root_element"}
    assert time.process_time() - started < 0.1


def test_an_entity_in_an_otherwise_signed_manifest_is_refused():
    raw = signed_with(prologue='<!DOCTYPE SoftwareIdentity [<!ENTITY e "x">]>')
    assert refused(raw) == "rim.root_element"


def test_a_comment_cannot_hide_a_part_of_a_value():
    raw = replaced(b"</ds:SignatureValue>", b"<!-- x --></ds:SignatureValue>")
    assert refused(raw) == "rim.signature"


def test_a_manifest_cut_anywhere_is_refused():
    for length in range(0, len(DRIVER), 7):
        assert refused(DRIVER[:length]).startswith("rim.")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(DRIVER) - 1), st.integers(1, 255))
def test_no_single_change_leaves_a_manifest_that_says_something_else(at, mask):
    changed = bytearray(DRIVER)
    changed[at] ^= mask
    try:
        rim = imported(bytes(changed))
    except AttestationError:
        return
    genuine = imported(DRIVER)
    assert rim.measurements == genuine.measurements
    assert rim.version == genuine.version


@given(st.binary(max_size=400))
def test_no_bytes_make_the_import_fail_otherwise(raw):
    with pytest.raises(AttestationError):
        imported(raw)


def test_without_the_extra_the_hint_names_it(monkeypatch):
    original = builtins.__import__

    def without_lxml(name, *args, **kwargs):
        if name.partition(".")[0] == "lxml":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_lxml)
    with pytest.raises(ConfigError) as caught:
        imported(DRIVER)
    assert caught.value.hint == "pip install 'confide[rim]'"


# Two manifests of one device.


def test_driver_and_firmware_are_joined():
    golden = golden_from(imported(DRIVER), imported(VBIOS))
    assert golden.measurements == {4: (A,), 6: (A, B)}
    assert golden.to_table()["measurements"] == {"4": [A], "6": [A, B]}


def test_a_switch_has_one_manifest():
    assert golden_from(None, imported(SWITCH)).driver == ""


def test_two_manifests_that_claim_one_index_are_refused():
    other = mint.manifest([mint.resource(4, B)], version="96.00.9F.00.01")
    with pytest.raises(AttestationError) as caught:
        golden_from(imported(DRIVER), imported(other))
    assert caught.value.code == "nv.rim_index_conflict"


@pytest.mark.parametrize(
    ("driver", "vbios"),
    [
        (VBIOS, DRIVER),
        (DRIVER, DRIVER),
        (VBIOS, VBIOS),
        (None, VBIOS),
        (DRIVER, SWITCH),
        (mint.manifest([mint.resource(4, A)], product="GB100"), VBIOS),
    ],
    ids=["swapped", "two drivers", "two firmwares", "no driver", "switch", "other chip"],
)
def test_manifests_that_do_not_belong_together_are_refused(driver, vbios):
    with pytest.raises(AttestationError) as caught:
        golden_from(driver and imported(driver), imported(vbios))
    assert caught.value.code == "rim.product"


DEVICE = {"chip": "GH100", "driver": "550.90.07", "vbios": "96.00.9F.00.01"}


@pytest.mark.parametrize(
    ("raw", "device", "code"),
    [
        (DRIVER, DEVICE, None),
        (VBIOS, DEVICE, None),
        (SWITCH, {"chip": "LS_10", "driver": "", "vbios": "96.10.55.00.01"}, None),
        (DRIVER, DEVICE | {"driver": "550.90.08"}, "rim.version"),
        (VBIOS, DEVICE | {"vbios": "96.00.9F.00.02"}, "rim.version"),
        (VBIOS, DEVICE | {"chip": "GB100"}, "rim.product"),
        (DRIVER, {}, "rim.product"),
    ],
)
def test_a_manifest_is_compared_with_the_device_it_is_for(raw, device, code):
    if code is None:
        check_fits(imported(raw), device)
    else:
        with pytest.raises(AttestationError) as caught:
            check_fits(imported(raw), device)
        assert caught.value.code == code


def test_the_chain_of_a_manifest_can_be_asked_about_revocation():
    chain = signer_chain(DRIVER, mint.NOW, roots=mint.RIM_PINNED)
    assert len(chain) == 3


def test_reference_values_of_nothing_cannot_be_built():
    for measurements in ({}, {4: ()}):
        with pytest.raises(ConfigError):
            GoldenSet("550.90.07", "96.00.9F.00.01", measurements)
