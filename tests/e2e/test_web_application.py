"""The programs of the page on web applications run as shown, against a running stack."""

from __future__ import annotations

import time

import httpx2
import pytest
from tests.pages import program, served

pytestmark = pytest.mark.e2e

PAGE = "how-to/web-application.md"
NAMES = ["web_app.py", "fastapi_app.py"]


@pytest.fixture(scope="module", params=NAMES)
def page(request, stack, tmp_path_factory):
    """The name of a program, and its server with the models demo-tiny and slow."""
    source = program(PAGE, request.param)
    environment = {
        "GATEWAY_URL": stack.gateway_url,
        "GATEWAY_KEY": stack.api_key,
        "CONFIDE_HOME": str(stack.home.path),
    }
    folder = tmp_path_factory.mktemp("web")
    slow = source.replace("demo-tiny", "slow")
    with (
        served(folder / "demo", source, **environment) as demo,
        served(folder / "slow", slow, **environment) as paced,
    ):
        yield request.param, demo, paced


def question(name, url, words):
    if name == "web_app.py":
        return {"method": "POST", "url": url, "content": words.encode()}
    return {"method": "GET", "url": url, "params": {"question": words}}


def test_the_whole_answer(page):
    name, demo, _ = page
    answer = httpx2.request(**question(name, f"{demo.url}/ask", "Hello"), timeout=60)
    assert answer.status_code == 200
    assert answer.text.strip()


def test_the_answer_streams_while_it_is_made(page):
    name, _, paced = page
    words = " ".join(f"word{n}" for n in range(20))
    times, text = [], ""
    with httpx2.stream(**question(name, f"{paced.url}/stream", words), timeout=60) as answer:
        for piece in answer.iter_text():
            times.append(time.monotonic())
            text += piece
    assert words in text
    assert times[-1] - times[0] > 0.5  # 20 words, 50 ms each


def test_a_browser_that_goes_ends_the_request_at_the_gateway(stack, page):
    name, _, paced = page
    row = '"outcome":"cancelled"'
    before = stack.home.log("gateway").read_text().count(row)
    words = " ".join(["word"] * 400)
    with httpx2.stream(**question(name, f"{paced.url}/stream", words), timeout=60) as answer:
        next(answer.iter_text())
    deadline = time.monotonic() + 5  # the whole answer would take 20 s
    while stack.home.log("gateway").read_text().count(row) == before:
        assert time.monotonic() < deadline, "the gateway did not notice"
        time.sleep(0.05)  # between two polls


def test_no_log_of_the_server_has_the_prompt(page):
    name, demo, _ = page
    httpx2.request(**question(name, f"{demo.url}/ask", "canary-of-the-web"), timeout=60)
    if name == "web_app.py":  # the other one's question is in its URL, by its author's choice
        assert "canary-of-the-web" not in demo.log.read_text()


def test_an_unusable_setting_keeps_it_from_starting_and_is_explained(page, stack, tmp_path):
    source = program(PAGE, page[0])
    environment = {"GATEWAY_URL": "not a url", "GATEWAY_KEY": "k"}
    with (
        pytest.raises(AssertionError) as caught,
        served(tmp_path, source, CONFIDE_HOME=str(stack.home.path), **environment),
    ):
        pass
    assert "the gateway's URL must look like" in str(caught.value)
