"""The proxy's page in a real browser: what it shows, what it loads, what it may not do."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import threading

import httpx2
import pytest
from tests.doubles.sealed_stack import Inner, SealedStack, chat_model, delta, sse
from tests.stacks import ECHO
from tests.unit.proxy.test_proxy_server import running

from confide.errors import AttestationError

pytestmark = pytest.mark.e2e

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium; install it: apt-get install chromium"
)
CONTENT = {"text/html", "text/css", "text/javascript", "application/json", "text/event-stream"}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # The sandbox needs privileges that test machines do not give; the page is our own.
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """One page, with everything that it asked for and complained about."""

    def __init__(self, browser, url):
        self.context = browser.new_context(viewport={"width": 1100, "height": 1400})
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def wait_for_text(self, selector, words):
        self.page.locator(selector).filter(has_text=words).first.wait_for()


@pytest.fixture
def visit(browser):
    made = []

    def go(url):
        made.append(Visit(browser, url))
        return made[-1]

    yield go
    for one in made:
        one.context.close()


@pytest.fixture
def url(stack):
    return f"http://127.0.0.1:{stack.options.proxy_port}"


@needs_browser
def test_the_page_shows_status_and_every_factor(visit, url, tmp_path):
    seen = visit(url)
    seen.wait_for_text("#verdict", "simulated")
    assert seen.page.locator("#simulated").is_visible()
    status = httpx2.get(f"{url}/_confide/status", trust_env=False).json()
    factors = status["enclaves"][0]["factors"]
    rows = seen.page.locator("#enclaves tbody tr")
    assert rows.count() == len(factors)
    assert "hardware root" in seen.text("#enclaves")
    shot = os.environ.get("CONFIDE_SCREENSHOTS")
    seen.wait_for_text("#clients", "OPENAI_BASE_URL")
    if shot:
        seen.page.screenshot(path=f"{shot}/local-page.png", full_page=True)


@needs_browser
def test_checking_again_asks_the_enclave_anew(visit, url):
    seen = visit(url)
    seen.wait_for_text("#verdict", "simulated")
    before = httpx2.get(f"{url}/_confide/status", trust_env=False).json()["enclaves"][0]
    with seen.page.expect_response("**/_confide/verify") as answered:
        seen.page.click("#recheck")
    after = answered.value.json()["enclaves"][0]
    assert after["verified_at"] >= before["verified_at"]
    seen.wait_for_text("#checked", "fresh challenge")


@needs_browser
def test_a_chat_streams_into_the_page(visit, url):
    seen = visit(url)
    seen.page.locator("#model option", has_text="echo").first.wait_for(state="attached")
    seen.page.select_option("#model", "echo")
    seen.page.fill("#prompt", "one <b>two</b> three")
    seen.page.press("#prompt", "Enter")
    seen.wait_for_text(".said.assistant", "<b>two</b>")
    assert seen.page.locator(".said b").count() == 0
    assert seen.complaints == []


@needs_browser
def test_a_chat_can_be_stopped_half_way(visit, url):
    seen = visit(url)
    seen.page.locator("#model option", has_text="slow").first.wait_for(state="attached")
    seen.page.select_option("#model", "slow")
    seen.page.fill("#prompt", "word " * 400)
    seen.page.click("#send")
    seen.wait_for_text(".said.assistant", "word")
    seen.page.click("#stop")
    seen.wait_for_text(".said.assistant", "[stopped]")
    assert seen.text(".said.assistant").count("word") < 400
    assert seen.page.locator("#send").is_enabled()


@needs_browser
def test_everything_comes_from_the_proxy_itself(visit, url):
    seen = visit(url)
    seen.wait_for_text("#clients", "OPENAI_BASE_URL")
    assert seen.complaints == []
    assert {re.match(r"data:|https?://[^/]+", one)[0] for one in seen.requests} <= {url, "data:"}


@needs_browser
def test_a_script_that_got_into_the_page_would_not_run(visit, url):
    seen = visit(url)
    seen.wait_for_text("#verdict", "simulated")
    seen.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\">')"
    )
    blocked = seen.page.evaluate(
        "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.name)"
    )
    assert blocked == "TypeError"
    assert seen.page.evaluate("window.bad") is None
    assert any("Content Security Policy" in said for said in seen.complaints)


@needs_browser
def test_no_other_page_can_frame_it(visit, url, tmp_path):
    outer = tmp_path / "outer.html"
    outer.write_text(f'<iframe id="inner" src="{url}/"></iframe>')
    seen = visit(outer.as_uri())
    seen.page.wait_for_function("document.readyState === 'complete'")
    assert all("confide" not in frame.title() for frame in seen.page.frames[1:])


@needs_browser
def test_a_page_without_its_gateway_says_so(visit, start_stack):
    stack = start_stack(ECHO)
    seen = visit(f"http://127.0.0.1:{stack.options.proxy_port}")
    seen.wait_for_text("#verdict", "simulated")
    os.kill(stack.children["gateway"].process.pid, signal.SIGKILL)
    seen.page.click("#recheck")
    seen.wait_for_text("#verdict", "NOT CHECKED, nothing is sent")


class ChangingMind:
    """A verifier that refuses until it is told otherwise."""

    def __init__(self, verifier):
        self.verifier, self.refuses = verifier, True

    def verify(self, *evidence, **expected):
        if self.refuses:
            raise AttestationError("<b>not</b> ours", code="measurement.mismatch")
        return self.verifier.verify(*evidence, **expected)


@needs_browser
def test_an_enclave_that_is_accepted_later_can_be_chatted_with(visit):
    stack = SealedStack()
    mind = ChangingMind(stack.verifier)
    with running(stack, mind) as proxy:
        seen = visit(f"http://127.0.0.1:{proxy.port}")
        seen.wait_for_text("#verdict", "REFUSED, nothing is sent")
        assert "<b>not</b> ours" in seen.text("#verdict")
        seen.page.fill("#key", "ck_test")
        mind.refuses = False
        seen.page.click("#recheck")
        seen.page.locator("#model option", has_text="m").first.wait_for(state="attached")
        seen.page.fill("#prompt", "hi")
        seen.page.click("#send")
        seen.wait_for_text(".said.assistant", "hello world")


@needs_browser
def test_a_hostile_model_name_is_text_on_the_page_and_one_word_in_the_shell(visit):
    name = """<img src=x onerror="window.bad=1">'; touch /tmp/bad; echo '"""

    def model(request):
        if request.path != "/v1/models":
            return chat_model(request)
        listed = {"object": "list", "data": [{"id": name, "object": "model"}]}
        return Inner(pieces=[json.dumps(listed).encode()])

    stack = SealedStack()
    stack.enclaves[0].model = model
    with running(stack) as proxy:
        seen = visit(f"http://127.0.0.1:{proxy.port}")
        seen.page.fill("#key", "ck_test")
        seen.page.press("#key", "Tab")
        seen.wait_for_text("#clients", "touch")
        command = seen.page.locator("#clients pre", has_text="chat/completions").inner_text()
        words = shlex.split(command.replace("\\\n", ""))
        assert json.loads(words[-1])["model"] == name
        assert words[-2] == "-d"
        assert seen.page.locator("main img").count() == 0
        assert seen.page.evaluate("window.bad") is None


@needs_browser
def test_a_new_chat_ends_the_old_answer_and_forgets_it(visit):
    stack = SealedStack()
    go_on = threading.Event()

    def pieces():
        yield f"data: {delta('first')}\n\n".encode()
        go_on.wait(10)

    def model(request):
        if request.path == "/v1/models" or len(json.loads(request.body)["messages"]) != 1:
            return chat_model(request)
        old = b"old question" in request.body
        return dataclasses.replace(sse(), pieces=pieces()) if old else chat_model(request)

    stack.enclaves[0].model = model
    try:
        with running(stack) as proxy:
            seen = visit(f"http://127.0.0.1:{proxy.port}")
            seen.page.fill("#key", "ck_test")
            seen.page.press("#key", "Tab")
            seen.page.locator("#model option").first.wait_for(state="attached")
            seen.page.fill("#prompt", "old question")
            seen.page.click("#send")
            seen.page.wait_for_function("!document.getElementById('stop').disabled")
            seen.page.click("#clear")
            go_on.set()
            seen.page.wait_for_function("document.getElementById('stop').disabled")
            assert seen.text("#talk") == ""
            seen.page.fill("#prompt", "new question")
            seen.page.click("#send")
            seen.wait_for_text(".said.assistant", "hello world")
    finally:
        go_on.set()
    last = json.loads(stack.enclaves[0].requests[-1].body)
    assert last["messages"] == [{"role": "user", "content": "new question"}]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_narrow_window(browser, url, scheme):
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(url)
        page.locator("#enclaves tbody tr").first.wait_for()
        wide = "[...document.querySelectorAll('body, .scroll, pre')]"
        assert page.evaluate(f"{wide}.filter((e) => e.scrollWidth > e.clientWidth).length") == 0
        if shot := os.environ.get("CONFIDE_SCREENSHOTS"):
            page.screenshot(path=f"{shot}/local-page-narrow-{scheme}.png", full_page=True)
    finally:
        context.close()


@needs_browser
@pytest.mark.parametrize("compat", ["openai", "anthropic", "both"])
def test_the_page_chats_in_whatever_dialect_the_proxy_speaks(visit, compat):
    with running(SealedStack(), compat=compat) as proxy:
        seen = visit(f"http://127.0.0.1:{proxy.port}")
        seen.page.fill("#key", "ck_test")  # this proxy has no key of its own
        seen.page.press("#key", "Tab")
        seen.page.locator("#model option").first.wait_for(state="attached")
        seen.page.fill("#prompt", "hi")
        seen.page.click("#send")
        seen.wait_for_text(".said.assistant", "hello world")
        wanted = {"openai": ["OPENAI"], "anthropic": ["ANTHROPIC"], "both": ["OPENAI", "ANTHROPIC"]}
        shown = seen.text("#clients")
        assert [w for w in ("OPENAI", "ANTHROPIC") if f"{w}_BASE_URL" in shown] == wanted[compat]


def test_programs_still_get_the_status_as_json(url):
    answer = httpx2.get(url, headers={"accept": "application/json"}, trust_env=False)
    assert answer.json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/", "/_confide/page.js", "/_confide/page.css"])
def test_every_part_carries_the_policy_and_is_not_kept(url, path):
    answer = httpx2.get(url + path, headers={"accept": "text/html"}, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] in CONTENT
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"(src|href|url\()=?[\"'(]?https?:", answer.text)


def test_another_web_page_cannot_ask_for_a_check(url):
    answer = httpx2.post(
        f"{url}/_confide/verify", headers={"origin": "https://attacker.example"}, trust_env=False
    )
    assert answer.status_code == 403


def test_the_status_holds_no_credential(url, stack):
    shown = httpx2.get(f"{url}/_confide/status", trust_env=False).text
    assert "ck_" not in shown
