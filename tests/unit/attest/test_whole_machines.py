"""What `confide verify` shows for each platform, factor by factor, with a realistic policy."""

import re
from dataclasses import replace

import click
import pytest
from tests.unit.attest.nvidia import mint as nvidia
from tests.unit.attest.whole_machines import CPUS, GPU, Machine, platforms

from confide.attest.evidence import GpuReport
from confide.attest.factors import FACTORS, FactorSheet, Outcome, Owner
from confide.attest.platform import BUILT_IN as SHIPPED
from confide.cli.attest_run import NETWORK_FACTORS
from confide.cli.main import cli
from confide.errors import ConfigError

PLAIN = {cpu: Machine(cpu) for cpu in CPUS}
WITH_GPU = {f"{cpu}+gpu": Machine(cpu, (nvidia.GPU,)) for cpu in CPUS}
MACHINES = PLAIN | WITH_GPU
FEWEST = 40


@pytest.fixture(autouse=True)
def test_roots(monkeypatch):
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", platforms())


@pytest.fixture(params=MACHINES)
def machine(request):
    return MACHINES[request.param]


def test_a_sound_machine_is_verified_and_every_factor_is_examined(machine):
    found = machine.verify()
    assert found.error is None
    assert found.result is not None
    assert {f.outcome for f in found.factors} <= {Outcome.PASS, Outcome.NOT_APPLICABLE}
    passed = [f.name for f in found.factors if f.outcome is Outcome.PASS]
    assert len(passed) >= FEWEST
    assert len(set(passed)) == len(passed)


# What a person can do about a failure.


def listed(machine):
    """Every factor that this machine's sheet holds, as it was listed."""
    shipped = platforms()
    found = [*FACTORS, *NETWORK_FACTORS, *shipped[machine.cpu].factors]
    found += machine.policy().requirement.factors(machine.cpu)
    return [*found, *(shipped[GPU].factors if machine.boards else ())]


def commands(group, words=("confide",)):
    """Yield every command that does something, with the options it takes."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*words, name), {o for p in command.params for o in p.opts}


KNOWN = dict(commands(cli))
INSTALL = "pip install -U confide"


def names_a_command(text):
    """Whether a text ends with, or is, a command line of this program."""
    if text == INSTALL:
        return True
    found = re.search(r"(?:^|; then |: )(confide(?: [\w<>.-]+)+)$", text)
    words = tuple(found[1].split()) if found else ()
    fitting = [length for length in range(len(words), 1, -1) if words[:length] in KNOWN]
    options = {word for word in words if word.startswith("--")}
    return bool(fitting) and options <= KNOWN[words[: fitting[0]]] | {"--help"}


def test_a_command_is_told_from_a_text():
    assert names_a_command("ask somebody; send the output of: confide verify URL --json")
    assert names_a_command("confide endorsements fetch --help")
    assert not names_a_command("confide certify URL")
    assert not names_a_command("confide verify URL --trust-me")
    assert not names_a_command("confide endorsements nothing")
    assert not names_a_command("ask somebody")


def test_every_factor_says_whose_failure_it_is_and_names_a_command_that_exists(machine):
    for spec in listed(machine):
        assert isinstance(spec.owner, Owner)
        assert spec.next_command is not None, spec.name
        assert names_a_command(spec.next_command), (spec.name, spec.next_command)


def test_without_a_policy_every_failure_has_an_owner_and_a_command(machine):
    found = machine.verify(policy=None)
    assert found.result is None
    failed = [f for f in found.factors if f.outcome is Outcome.FAIL]
    assert len(failed) >= 7
    assert all(names_a_command(f.next_command) for f in failed)


# A check that was not made, or failed, never verifies.


@pytest.mark.parametrize("outcome", [Outcome.SKIP, Outcome.FAIL])
@pytest.mark.parametrize("name", ["sev-snp+gpu", "tdx", "azure-tdx"])
def test_one_factor_left_out_or_failed_is_enough_to_refuse(monkeypatch, name, outcome):
    machine, policy = MACHINES[name], MACHINES[name].policy()
    evidence = machine.evidence()
    sound = machine.verify(evidence, policy=policy)
    record = FactorSheet._record
    bent = ""

    def bend(sheet, factor, found, detail):
        if factor != bent:
            record(sheet, factor, found, detail)
        elif outcome is Outcome.FAIL:
            record(sheet, factor, outcome, "bent by the test")

    monkeypatch.setattr(FactorSheet, "_record", bend)
    enforced = [f.name for f in sound.factors if f.enforced and f.outcome is Outcome.PASS]
    for bent in enforced:
        refused = machine.verify(evidence, policy=policy)
        assert refused.result is None, bent
        assert {f.name: f.outcome for f in refused.factors}[bent] is outcome


# Evidence of two machines does not add up, however it is cut.


def code(machine, evidence=None, **changes):
    found = machine.verify(evidence, **changes)
    assert found.result is None
    assert found.error is not None
    failed = [f for f in found.factors if f.outcome is Outcome.FAIL]
    assert failed
    assert all(names_a_command(f.next_command) for f in failed)
    return found.error.code


@pytest.fixture(params=WITH_GPU)
def pair(request):
    """A machine with a GPU, and another of the same kind with another GPU and other keys."""
    one = WITH_GPU[request.param]
    return one, replace(one, boards=(nvidia.OTHER_GPU,), boot_id="a5" * 16)


def spliced(one, other, *parts):
    """Evidence of `one` with parts of the evidence of `other`."""
    theirs = other.evidence()
    return replace(one.evidence(), **{part: getattr(theirs, part) for part in parts})


def test_a_processor_does_not_vouch_for_the_gpu_of_another_machine(pair):
    assert code(pair[0], spliced(*pair, "gpus")) == "binding.gpu_nonce"


def test_a_gpu_does_not_make_up_for_the_processor_of_another_machine(pair):
    assert code(pair[0], spliced(*pair, "cpu")) == "binding.report_data"


def test_a_gpu_that_answered_this_challenge_still_has_to_be_the_bound_one(pair):
    one, other = pair
    elsewhere = replace(one, boards=other.boards)
    assert elsewhere.document == one.document
    assert code(one, spliced(one, elsewhere, "gpus")) == "binding.report_data"


def test_gpus_emptied_repeated_or_in_another_order_are_noticed(pair):
    one, other = pair
    two = replace(one, boards=one.boards + other.boards)
    evidence = two.evidence()
    for gpus in ((), evidence.gpus[::-1], evidence.gpus[:1], evidence.gpus[:1] * 2):
        assert code(two, replace(evidence, gpus=gpus)) == "binding.report_data"


def test_the_same_gpu_twice_is_one_gpu(pair):
    twice = replace(pair[0], boards=pair[0].boards * 2)
    assert code(twice) == "nv.duplicate_device"


@pytest.fixture(params=CPUS)
def plain(request):
    return PLAIN[request.param]


def test_another_key_document_is_noticed(plain):
    other = replace(plain, boot_id="a5" * 16)
    assert code(plain, document=other.document) == "binding.document"
    assert code(other, spliced(other, plain, "cpu")) == "binding.report_data"


def test_another_manifest_is_noticed(plain):
    other = replace(plain, boards=(nvidia.GPU,))
    assert code(plain, manifest=other.manifest) == "binding.manifest"


def test_another_challenge_is_noticed(plain):
    other = replace(plain, nonce=bytes(32))
    assert code(plain, nonce=bytes(32)) == "binding.nonce_mismatch"
    # The envelope says what was asked, and the processor's report does not.
    relabelled = replace(plain.evidence(), client_nonce=other.nonce)
    assert code(other, relabelled) == "binding.report_data"


def test_cached_evidence_does_not_answer_a_challenge(plain):
    cached = replace(plain, nonce=b"")
    assert code(plain, cached.evidence()) == "binding.nonce_missing"
    relabelled = replace(cached.evidence(), client_nonce=plain.nonce)
    assert code(plain, relabelled) == "binding.report_data"


@pytest.mark.parametrize("cpu", ["azure-sev-snp", "azure-tdx"])
def test_the_runtime_document_of_another_virtual_machine_is_noticed(cpu):
    one, other = PLAIN[cpu], replace(PLAIN[cpu], boot_id="a5" * 16)
    evidence = one.evidence()
    for part, expected in (
        ("hcl_runtime", "azure.runtime_hash"),
        ("tpm_message", "azure.tpm_signature"),
        ("tpm_signature", "azure.tpm_signature"),
    ):
        aux = {**evidence.cpu.aux, part: other.evidence().cpu.aux[part]}
        assert code(one, replace(evidence, cpu=replace(evidence.cpu, aux=aux))) == expected
    # All of the other machine's TPM with this machine's hardware, and the reverse.
    theirs = other.evidence().cpu
    cut = replace(evidence, cpu=replace(evidence.cpu, aux=theirs.aux))
    assert code(one, cut) == "azure.runtime_hash"
    cut = replace(evidence, cpu=replace(evidence.cpu, report=theirs.report))
    assert code(one, cut) == "azure.runtime_hash"


# One thing is not taken for another.


@pytest.mark.parametrize(
    ("bytes_of", "named", "expected"),
    [
        ("sev-snp", "tdx", "tdx.quote_version"),
        ("sev-snp", "azure-tdx", "tdx.quote_version"),
        ("tdx", "sev-snp", "snp.report_size"),
        ("tdx", "azure-sev-snp", "snp.report_size"),
        ("sev-snp", "azure-sev-snp", "azure.incomplete"),
        ("tdx", "azure-tdx", "azure.incomplete"),
        ("azure-sev-snp", "sev-snp", "binding.report_data"),
        ("azure-tdx", "tdx", "binding.report_data"),
        ("azure-sev-snp", "azure-tdx", "tdx.quote_version"),
        ("azure-tdx", "azure-sev-snp", "snp.report_size"),
        ("sev-snp", "nvidia-spdm", "envelope.type"),
        ("sev-snp", "software-dev", "envelope.type"),
        ("sev-snp", "sgx", "envelope.type"),
    ],
)
def test_the_report_of_one_platform_is_not_read_as_that_of_another(bytes_of, named, expected):
    evidence = PLAIN[bytes_of].evidence()
    renamed = replace(evidence, cpu=replace(evidence.cpu, type=named))
    assert code(PLAIN[bytes_of], renamed) == expected


def test_a_policy_for_one_platform_accepts_no_other(plain):
    others = [one for one in CPUS if one != plain.cpu]
    for other in others:
        policy = PLAIN[other].policy()
        assert plain.verify(policy=policy).result is None


def test_a_processors_report_among_the_gpus_is_refused(plain):
    evidence = plain.evidence()
    gpu = GpuReport(plain.cpu, evidence.cpu.report, "")
    assert code(plain, replace(evidence, gpus=(gpu,))) == "envelope.type"
    gpu = GpuReport(GPU, evidence.cpu.report, "")
    assert code(plain, replace(evidence, gpus=(gpu,))).startswith("nv.")


def test_the_shipped_roots_refuse_every_minted_machine(machine, monkeypatch):
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", SHIPPED)
    assert code(machine).endswith("root_not_pinned")


def test_the_shipped_roots_refuse_a_minted_gpu_beside_an_accepted_processor(pair, monkeypatch):
    mixed = platforms() | {GPU: SHIPPED[GPU]}
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", mixed)
    assert code(pair[0]) == "nv.root_not_pinned"


@pytest.mark.parametrize("name", ["software", "software-dev", "simulated"])
def test_no_policy_file_can_name_software(name):
    text = PLAIN["sev-snp"].policy_text()
    for addition in (f"[{name}]\naccept = true\n", f"{name} = true\n"):
        with pytest.raises(ConfigError) as caught:
            PLAIN["sev-snp"].policy(addition + text if "=" in addition[:20] else text + addition)
        assert caught.value.code == "policy.unknown_key"
    row = text.replace('snp = [{ product = "Genoa"', f'{name} = [{{ product = "Genoa"')
    with pytest.raises(ConfigError) as caught:
        PLAIN["sev-snp"].policy(row)
    assert caught.value.code == "policy.unknown_key"
