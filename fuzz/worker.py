"""One target under libFuzzer, with the package instrumented for coverage.

Started by `python -m fuzz`; libFuzzer owns the process and ends it. What the oracle objects
to is written down and the search goes on, because an instrumented call is slower than a
plain one: the parent judges each such input again, alone and without instrumentation.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["confide.attest", "confide.wire", "confide.cli"]):
    from fuzz.oracle import judge
    from fuzz.targets import targets

_MOST_PER_PLACE = 3


def main() -> None:
    """Read `name seconds seed corpus findings`, then fuzz."""
    name, seconds, number, corpus, findings = sys.argv[1:]
    target = targets()[name]
    seen: dict[str, int] = {}
    for seed in target.seeds:
        (Path(corpus) / hashlib.sha256(seed).hexdigest()).write_bytes(seed)

    def one(raw: bytes) -> None:
        found = judge(target, raw)
        if found is not None and seen.get(found.place, 0) < _MOST_PER_PLACE:
            seen[found.place] = seen.get(found.place, 0) + 1
            (Path(findings) / hashlib.sha256(raw).hexdigest()).write_bytes(raw)

    longest = max(2 * max(map(len, target.seeds)), 4096)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={number}",
        f"-max_len={longest}",
        "-rss_limit_mb=2048",
        "-timeout=10",
        "-print_final_stats=1",
        corpus,
    ]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
