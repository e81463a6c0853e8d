"""Numbers that a page says were measured are those of the committed results."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def measured(benchmark):
    figures = json.loads((RESULTS / f"{benchmark}.json").read_text())["figures"]
    return {figure["name"]: figure["value"] for figure in figures}


def test_the_daemons_page_says_what_the_startup_benchmark_found():
    page = (ROOT / "docs" / "how-to" / "run-the-proxy-as-a-daemon.md").read_text()
    seconds, megabytes = re.search(r"first answer ([0-9.]+) s, ([0-9]+) MB", page).groups()
    found = measured("startup")
    assert float(seconds) == pytest.approx(found["process start to first answer, warm"], abs=0.01)
    assert int(megabytes) == round(found["memory when ready"])


def test_the_performance_page_says_what_the_benchmarks_found():
    page = " ".join((ROOT / "docs" / "explanation" / "performance.md").read_text().split())
    latency, relay, dialects = measured("latency"), measured("relay"), measured("dialects")
    said = [
        (r"about ([0-9.]+) ms instead of 0.7", latency["p50 added by the SDK, 1 KB"]),
        (r"proxy it is ([0-9.]+) \(target 3\)", latency["p50 added by the proxy, 1 KB"]),
        (r"and ([0-9.]+) to the first token", latency["first token, added by the proxy"]),
        (r"request is ([0-9.]+) times nginx's", relay["CPU per request, ratio"]),
        (r"chunk it is ([0-9.]+) times nginx's", relay["CPU per streamed chunk, ratio"]),
        (r"([0-9.]+) ms for OpenAI and", dialects["openai: first token, added by the proxy"]),
        (r"OpenAI and ([0-9.]+) ms for", dialects["anthropic: first token, added by the proxy"]),
    ]
    for pattern, value in said:
        assert float(re.search(pattern, page)[1]) == pytest.approx(value, abs=0.051), pattern
