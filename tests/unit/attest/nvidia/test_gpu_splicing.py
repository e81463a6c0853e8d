"""Evidence of one machine's processor and another's GPUs does not add up, however it is cut.

The processor is the double of the verifier's tests; the GPUs are minted NVIDIA devices with
real chains, reports and OCSP answers. Everything else is the shipped verifier.
"""

import hashlib
from dataclasses import dataclass, replace

import pytest
from tests.unit.attest.enclave_double import (
    CPU,
    NONCE,
    NOW,
    TestPlatform,
    key_document,
    policy,
    signed,
)
from tests.unit.attest.enclave_double import Enclave as Processor
from tests.unit.attest.nvidia import mint

from confide.attest import binding
from confide.attest.evidence import CpuReport, Evidence, GpuReport
from confide.attest.factors import Outcome
from confide.attest.platforms.nvidia import policy as nvidia_policy
from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.attest.policy import MeasurementIn
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.verifier import Explanation, Verifier
from confide.enclave.manifest import GpuState, Manifest
from confide.wire.strict_json import b64url


class MintedNvidia(NvidiaVerifier):
    """The shipped verifier under the test root, and so under another name."""

    type = "test-nvidia"


PLATFORMS = {CPU: TestPlatform(CPU), MintedNvidia.type: MintedNvidia(mint.PINNED)}
GOLDEN = GoldenSet("550.90.07", "96.00.9F.00.01", mint.GPU.measurements())
STATE = GpuState(
    confidential=True, developer_tools=False, environment="production", count=1, mode="SPT"
)


@dataclass(frozen=True)
class Machine:
    """A processor with GPUs; `replace` one attribute to make it wrong in one way."""

    boards: tuple[mint.Board, ...] = (mint.GPU,)
    state: GpuState | None = STATE
    boot_id: str = "5a" * 16
    staple: bool = True

    @property
    def manifest(self) -> bytes:
        return Manifest("confide 1", [], bytes(32), self.state).encode()

    @property
    def document(self) -> bytes:
        digest = hashlib.sha256(self.manifest).hexdigest()
        return key_document(manifest_sha256=digest, boot_id=self.boot_id)

    def gpus(self) -> tuple[GpuReport, ...]:
        nonce = binding.gpu_nonce(hashlib.sha256(self.document).digest(), NONCE)
        boards = [replace(board, nonce=nonce) for board in self.boards]
        return tuple(
            GpuReport(MintedNvidia.type, board.report(), board.pem().decode()) for board in boards
        )

    def bound(self, gpus) -> bytes:
        return binding.report_data(
            hashlib.sha256(self.document).digest(),
            NONCE,
            binding.gpu_digest([gpu.report for gpu in gpus]),
            hashlib.sha256(self.manifest).digest(),
        )

    def evidence(self) -> Evidence:
        processor = Processor(
            document=self.document, manifest_sha256=hashlib.sha256(self.manifest).digest()
        )
        gpus = self.gpus()
        members = {"claims": processor.claims, "report_data": self.bound(gpus).hex()}
        return replace(
            processor.evidence(),
            cpu=CpuReport(CPU, signed(processor.root, members)),
            gpus=gpus,
            collateral={
                "test": {"list": b64url(b"list")},
                "nvidia": {"ocsp": self.answers()},
            },
        )

    def answers(self) -> list[str]:
        boards = self.boards if self.staple else ()
        found = [answer for board in boards for answer in mint.ocsp_answers(board)]
        return [b64url(answer) for answer in dict.fromkeys(found)]


def demanded(machine: Machine, **changes):
    """A policy that accepts `machine`, but for `changes` of its table [nvidia]."""
    table = {
        "count": len(machine.boards), "modes": ["SPT"], "arch": ["HOPPER"],
        "revocation": "stapled-ocsp", "golden": [GOLDEN.to_table()],
    }  # fmt: skip
    digest = hashlib.sha256(machine.manifest).digest()
    values = (ReferenceValue("release-1", CPU, bytes(range(48)), digest),)
    reference = ReferenceValues("release-1", NOW + mint.DAY * 90, values)
    assert MeasurementIn(reference)
    return policy(nvidia_policy.read(table | changes), reference=reference)


def explain(evidence: Evidence, machine: Machine, **changes) -> Explanation:
    return Verifier(demanded(machine, **changes), platforms=PLATFORMS).explain(
        evidence.encode(), document=machine.document, manifest=machine.manifest, nonce=NONCE, at=NOW
    )


def refused(evidence: Evidence, machine: Machine, **changes) -> str:
    found = explain(evidence, machine, **changes)
    assert found.result is None
    assert found.error is not None
    return found.error.code


ONE = Machine()
TWO = Machine((mint.GPU, mint.OTHER_GPU), replace(STATE, count=2))
ELSEWHERE = Machine((mint.OTHER_GPU,), boot_id="a5" * 16)


@pytest.mark.parametrize("machine", [ONE, TWO], ids=["one GPU", "two GPUs"])
def test_a_whole_machine_is_accepted_and_every_demand_shows_as_a_factor(machine):
    found = explain(machine.evidence(), machine)
    assert found.error is None
    outcomes = {factor.name: factor.outcome for factor in found.factors}
    nvidia = {name for name in outcomes if name.startswith("nvidia ")}
    assert len(nvidia) >= 18
    assert {outcomes[name] for name in nvidia} == {Outcome.PASS}
    assert outcomes["gpu binding"] is outcomes["gpu accepted"] is Outcome.PASS
    device = found.result.claims["gpus"][0]
    assert (device["confidential"], device["stated_mode"]) == (True, "SPT")
    assert found.result.to_json()["submods"]["gpu-0"]["claims"]["pdis"] == []


def test_the_same_gpu_twice_is_one_gpu():
    machine = replace(TWO, boards=(mint.GPU, mint.GPU))
    assert refused(machine.evidence(), machine) == "nv.duplicate_device"


def test_a_report_copied_within_the_list_is_not_what_the_processor_bound():
    gpu = TWO.gpus()[0]
    evidence = replace(TWO.evidence(), gpus=(gpu, gpu))
    assert refused(evidence, TWO) == "binding.report_data"


def test_a_processor_of_one_machine_does_not_vouch_for_the_gpu_of_another():
    evidence = replace(ONE.evidence(), gpus=ELSEWHERE.gpus())
    assert refused(evidence, ONE) == "binding.gpu_nonce"


def test_a_gpu_that_answered_the_right_nonce_must_still_be_the_bound_one():
    # A genuine GPU elsewhere can be asked with any nonce: relay.
    relayed = replace(ONE, boards=(mint.OTHER_GPU,)).gpus()
    assert refused(replace(ONE.evidence(), gpus=relayed), ONE) == "binding.report_data"


def test_gpus_left_out_are_noticed():
    assert refused(replace(ONE.evidence(), gpus=()), ONE) == "binding.report_data"
    one_of_two = replace(TWO.evidence(), gpus=TWO.gpus()[:1])
    assert refused(one_of_two, TWO) == "binding.report_data"


def test_gpus_in_another_order_are_noticed():
    permuted = replace(TWO.evidence(), gpus=TWO.evidence().gpus[::-1])
    assert refused(permuted, TWO) == "binding.report_data"


def test_an_honest_machine_without_gpus_does_not_meet_a_policy_that_needs_them():
    bare = Machine((), None)
    assert refused(bare.evidence(), bare, count=1) == "nv.count"
    assert explain(bare.evidence(), bare, count=1, required=False).error is None


def test_a_statement_about_more_gpus_than_reported_is_refused():
    machine = replace(ONE, state=replace(STATE, count=2))
    assert refused(machine.evidence(), machine) == "nv.count"


def test_chains_exchanged_between_two_gpus_are_refused():
    first, second = TWO.evidence().gpus
    swapped = (replace(first, chain=second.chain), replace(second, chain=first.chain))
    assert refused(replace(TWO.evidence(), gpus=swapped), TWO) == "nv.report_signature"


def test_a_manifest_of_another_machine_is_refused():
    found = Verifier(demanded(ONE), platforms=PLATFORMS).explain(
        ONE.evidence().encode(), document=ONE.document, manifest=TWO.manifest, nonce=NONCE, at=NOW
    )
    assert found.error.code == "binding.manifest"


@pytest.mark.parametrize(
    ("state", "code", "factor"),
    [
        (None, "nv.mode", "nvidia confidential mode"),
        (replace(STATE, confidential=False), "nv.mode", "nvidia confidential mode"),
        (replace(STATE, developer_tools=True), "nv.mode", "nvidia developer tools off"),
        (replace(STATE, environment="simulation"), "nv.mode", "nvidia production environment"),
        (replace(STATE, mode="MPT"), "nv.mode", "nvidia multi-gpu mode"),
        (replace(STATE, count=3), "nv.count", "nvidia device count"),
    ],
)
def test_what_the_enclave_states_is_judged_and_fails_its_own_factor(state, code, factor):
    machine = replace(ONE, state=state)
    found = explain(machine.evidence(), machine)
    assert found.error.code == code
    outcomes = {one.name: one.outcome for one in found.factors}
    assert outcomes[factor] is Outcome.FAIL
    assert outcomes["nvidia architecture"] is Outcome.PASS


class Boastful(MintedNvidia):
    """A platform that claims for the GPU what only the enclave may state."""

    def authenticate(self, report, **context):
        genuine = super().authenticate(report, **context)
        claims = {**genuine.claims, "confidential": True, "developer_tools": False}
        return replace(genuine, claims=claims)


def test_the_enclaves_statement_counts_more_than_what_a_gpu_says_of_itself():
    machine = replace(ONE, state=replace(STATE, confidential=False))
    platforms = {**PLATFORMS, MintedNvidia.type: Boastful(mint.PINNED)}
    found = Verifier(demanded(machine), platforms=platforms).explain(
        machine.evidence().encode(), document=machine.document, manifest=machine.manifest,
        nonce=NONCE, at=NOW,
    )  # fmt: skip
    assert found.error.code == "nv.mode"


def test_a_statement_that_is_no_statement_is_refused():
    machine = replace(ONE, state=replace(STATE, mode="any"))
    assert refused(machine.evidence(), machine) == "binding.manifest"


def test_a_policy_that_needs_answers_refuses_without_them():
    silent = replace(ONE, staple=False)
    assert refused(silent.evidence(), silent) == "nv.ocsp_missing"
    found = explain(silent.evidence(), silent, revocation="none")
    assert found.error is None
    (warning,) = [one for one in found.factors if one.outcome is Outcome.FAIL]
    assert (warning.name, warning.enforced) == ("nvidia revocation", False)


def test_a_driver_without_reference_values_is_refused():
    machine = Machine((replace(mint.GPU, driver="550.90.08"),))
    assert refused(machine.evidence(), machine) == "nv.golden_missing"


def test_a_gpu_report_in_the_processors_place_is_refused():
    evidence = ONE.evidence()
    gpu = evidence.gpus[0]
    assert refused(replace(evidence, cpu=CpuReport(MintedNvidia.type, gpu.report)), ONE) == (
        "envelope.type"
    )
