"""Whatever the bytes are: a refusal of this package, soon. The bounded part of `python -m fuzz`.

Every parser that takes untrusted bytes is a target, and a test says which one is not. The
search with coverage guidance is a command of its own; see docs/contributing/fuzzing.md.
"""

import ast
import itertools
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz.__main__ import _counted, _every_cut
from fuzz.mutations import cuts, floods, mutants
from fuzz.oracle import MAX_SECONDS, Target, judge
from fuzz.targets import targets

from confide.errors import AttestationError, EvidenceError

PACKAGE = Path(__file__).parents[3] / "src" / "confide"
TARGETS = targets()
EVERY_CUT = 1400
"""Longest first seed that is cut at every byte here; longer ones: `python -m fuzz --every-cut`."""

# Not given to the fuzzer by name, and why not.
ELSEWHERE = {
    "attest.platform:EvidenceVerifier.authenticate": "a protocol",
    "attest.results:EnclaveVerifier.verify": "a protocol",
    "attest.platforms.azure.verifier:check_runtime_digest": "compares two digests",
    "attest.releases.keys:PublicKey.verify": "reached by every release",
    "attest.releases.keys:SigningKey.from_pem": "the publisher's own key",
    "attest.strict_json:read_array": "the same parser as read_object",
}


@pytest.fixture(params=TARGETS.values(), ids=TARGETS)
def target(request):
    return request.param


def survives(target, inputs):
    findings = [found for raw in inputs if (found := judge(target, raw)) is not None]
    assert not findings, findings[0].what


def test_the_first_seed_of_every_target_is_read_to_the_end(target):
    # Otherwise edits of it would only ever meet the first check.
    code = ""
    try:
        target.call(target.seeds[0])
    except AttestationError as error:
        code = error.code
    assert code == target.accepts


def test_edited_evidence_is_read_or_refused(target):
    survives(target, mutants(target.seeds, 300))


def test_evidence_cut_anywhere_is_read_or_refused(target):
    survives(target, cuts(target.seeds[0], most=EVERY_CUT))


def test_a_megabyte_and_deep_nesting_are_refused_soon(target):
    survives(target, floods(target.seeds[0]))


# The harness itself.


def planted(call, *, seeds=(b"seed",)):
    return Target("planted", call, seeds, ())


def test_another_exception_is_a_finding():
    def call(raw):
        return {}[raw]

    found = judge(planted(call), b"x")
    assert found is not None
    assert found.place.startswith("KeyError")


def test_a_refusal_is_no_finding():
    def call(raw):
        raise EvidenceError("no")

    assert judge(planted(call), b"x") is None


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_slow_call_is_a_finding():
    found = judge(planted(lambda raw: busy(2 * MAX_SECONDS)), b"x")
    assert found is not None
    assert found.place == "slow"


def test_a_call_that_was_slow_once_is_measured_again():
    calls = itertools.count()

    def call(raw):
        if next(calls) == 0:
            busy(2 * MAX_SECONDS)

    assert judge(planted(call), b"x") is None


def test_edits_find_a_planted_fault():
    def call(raw):
        if len(raw) > 3 and raw[2] == 0xFF:
            raise IndexError

    target = planted(call, seeds=(bytes(64),))
    assert any(judge(target, raw) for raw in mutants(target.seeds, 300))


def test_edits_are_the_same_every_time():
    seeds = (b"first seed", b"second")
    assert list(mutants(seeds, 50)) == list(mutants(seeds, 50))
    assert list(mutants(seeds, 50)) != list(mutants(seeds, 50, number=1))


def test_cuts_are_at_every_byte_of_a_short_input():
    assert [len(raw) for raw in cuts(bytes(9), most=9)] == list(range(9))


# Nothing that reads untrusted bytes is left out.


def readers():
    """Yield "module:name" of every public function whose first argument is bytes to be read."""
    verbs = ("parse", "read", "load", "import", "verify", "check", "authenticate", "from_pem")
    verbs += ("list_period", "answer_period", "collateral_period")
    for path in sorted([*PACKAGE.glob("attest/**/*.py"), *PACKAGE.glob("client/vendors/*.py")]):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if "simulated" in module or path.stem in {"collect", "device", "tpm", "tsm"}:
            continue
        for prefix, node in functions(ast.parse(path.read_text())):
            first = [one for one in node.args.args if one.arg not in {"self", "cls"}][:1]
            takes_bytes = first and ast.unparse(first[0].annotation or ast.Name("")) == "bytes"
            if node.name.startswith(verbs) and takes_bytes:
                yield f"{module}:{prefix}{node.name}"


def functions(tree):
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            yield from (
                (f"{node.name}.", one) for one in node.body if isinstance(one, ast.FunctionDef)
            )
        elif isinstance(node, ast.FunctionDef):
            yield "", node


@pytest.mark.skipif(
    not {"nvidia-rim", "sigstore-bundle"} <= TARGETS.keys(),
    reason="two readers need extras; pip install -e '.[rim,sigstore]'",
)
def test_every_reader_of_untrusted_bytes_is_a_target():
    covered = {name.removeprefix("confide.") for one in TARGETS.values() for name in one.covers}
    found = set(readers())
    assert len(found) > 40
    assert found - covered - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() <= found


def test_every_name_that_a_target_claims_to_cover_exists():
    for name in {name for one in TARGETS.values() for name in one.covers}:
        assert callable(pkgutil.resolve_name(name)), name


# The command.


def test_the_command_fails_if_a_parser_does(capsys):
    def call(raw):
        if len(raw) == 2:
            raise IndexError

    assert _every_cut([planted(call)]) == 1
    assert "IndexError" in capsys.readouterr().out
    assert _every_cut([planted(lambda raw: None)]) == 0


def test_the_command_counts_what_the_fuzzer_says():
    said = (
        "#21 INITED cov: 46 ft: 46 corp: 5/5920b exec/s: 0 rss: 90Mb\n"
        "#663252 DONE   cov: 58 ft: 70 corp: 12/14Kb lim: 4096 exec/s: 132650 rss: 91Mb\n"
        "stat::number_of_executed_units: 663252\n"
    )
    run = _counted(said, ())
    assert (run.executions, run.before, run.after, run.kept) == (663252, 46, 58, 12)
    assert _counted("nothing was run", ()).executions == 0


def test_the_command_runs_one_target():
    words = [sys.executable, "-m", "fuzz", "--every-cut", "nvidia-jwks"]
    ended = subprocess.run(words, cwd=PACKAGE.parents[1], capture_output=True, timeout=60)
    assert ended.returncode == 0
    assert b"0 findings" in ended.stdout
