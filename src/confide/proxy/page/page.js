"use strict";
// Talks to this proxy only. Everything shown is set as text, never as markup.

const $ = (id) => document.getElementById(id);
const state = { bases: {}, messages: [], abort: null, shown: "", verified: false };

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function headers() {
  const key = $("key").value.trim();
  const found = { "content-type": "application/json" };
  if (!state.bases.openai) found["anthropic-version"] = "2023-06-01";
  if (key) found.authorization = `Bearer ${key}`;
  return found;
}

// The base of a dialect: OpenAI's ends with /v1, Anthropic's SDKs add it themselves.
function listed(path) {
  const { openai, anthropic } = state.bases;
  return openai !== undefined ? openai + path : `${anthropic}/v1${path}`;
}

function table(factors) {
  const holder = make("div", undefined, "scroll");
  const grid = make("table");
  const head = make("tr");
  for (const name of ["factor", "outcome", "effect", "whose", "detail"]) {
    const title = make("th", name);
    title.scope = "col";
    head.append(title);
  }
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  for (const factor of factors) {
    const row = make("tr");
    row.append(make("td", factor.name), make("td", factor.outcome, `outcome ${factor.outcome}`));
    row.append(make("td", factor.enforced ? "enforced" : "informs", "quiet"));
    row.append(make("td", factor.owner, "quiet"), make("td", factor.detail));
    body.append(row);
  }
  grid.append(top, body);
  holder.append(grid);
  return holder;
}

function folded(title, factors, open) {
  const details = make("details");
  details.open = open;
  const count = (outcome) => factors.filter((factor) => factor.outcome === outcome).length;
  const counted = ["PASS", "FAIL", "SKIP", "N-A"].map((o) => `${count(o)} ${o}`).join(", ");
  details.append(make("summary", `${title}: ${factors.length} factors, ${counted}`), table(factors));
  return details;
}

function show(status) {
  const shown = JSON.stringify(status);
  if (shown === state.shown) return; // what was unfolded stays so
  state.shown = shown;
  state.bases = status.bases;
  state.verified = status.verified;
  $("version").textContent = status.version;
  $("where").textContent = `Seals here, sends ciphertext to ${status.gateway}`;
  $("simulated").hidden = !status.simulated;
  $("key-label").hidden = !status.key_needed;
  $("key").required = status.key_needed;
  const verdict = $("verdict");
  const platforms = [...new Set(status.enclaves.map((one) => one.platform))].join(", ");
  if (status.error) {
    verdict.className = "verdict bad";
    const word = status.error.refused ? "REFUSED" : "NOT CHECKED";
    verdict.textContent = `${word}, nothing is sent. ${status.error.code}: ${status.error.message}`;
  } else if (status.simulated) {
    verdict.className = "verdict pretend";
    verdict.textContent = "The parts fit together, but the evidence is simulated: nothing is protected.";
  } else if (status.verified) {
    verdict.className = "verdict good";
    verdict.textContent = `Only a verified enclave (${platforms}), its model and you.`;
  } else {
    verdict.className = "verdict";
    verdict.textContent = "Not checked yet. Nothing is sent before it is.";
  }
  const list = $("enclaves");
  list.replaceChildren();
  if (status.error && status.error.hint) list.append(make("p", `Next: ${status.error.hint}`, "quiet"));
  if (status.error && status.error.factors.length) {
    list.append(folded("Refused enclave", status.error.factors, true));
  }
  for (const one of status.enclaves) {
    const title = `${one.platform}, key document ${one.document_sha256.slice(0, 16)}…`;
    list.append(folded(title, one.factors, status.enclaves.length === 1 && !status.error));
    const policy = one.policy_sha256 ? `policy ${one.policy_sha256.slice(0, 16)}…` : "no policy";
    list.append(make("p", `checked ${one.verified_at}, again before ${one.expires_at}, ${policy}`, "quiet"));
  }
}

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const body = await answer.json();
  if (!answer.ok) throw new Error((body.error && body.error.message) || `status ${answer.status}`);
  return body;
}

async function recheck(live) {
  $("recheck").disabled = true;
  try {
    show(await ask(live ? "/_confide/verify" : "/_confide/status", { method: live ? "POST" : "GET" }));
    if (live) $("checked").textContent = `fresh challenge at ${new Date().toLocaleTimeString()}`;
    // What could not be listed while nothing was verified can be now.
    if (state.verified && !$("model").options.length) await models().then(clients);
  } catch (error) {
    state.shown = "";
    state.verified = false;
    $("verdict").className = "verdict bad";
    $("verdict").textContent = `The proxy does not answer: ${error.message}`;
  } finally {
    $("recheck").disabled = false;
  }
}

async function models() {
  if (!$("key-label").hidden && !$("key").value.trim()) return; // it would be refused
  try {
    const { data } = await ask(listed("/models"), { headers: headers() });
    const chosen = $("model").value;
    $("model").replaceChildren(...data.map((one) => make("option", one.id)));
    if (data.some((one) => one.id === chosen)) $("model").value = chosen;
  } catch (error) {
    $("model").replaceChildren();
    if (state.verified) say("wrong", `No list of models: ${error.message}`);
  }
}

function say(who, text) {
  const line = make("div", text, `said ${who}`);
  $("talk").append(line);
  line.scrollIntoView({ block: "nearest" });
  return line;
}

// Yields the JSON of each `data:` line; the stream may be cut anywhere.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:") && line.slice(5).trim() !== "[DONE]") yield JSON.parse(line.slice(5));
    }
  }
}

// Both dialects in one line each: what of this event is text of the answer.
function delta(event) {
  if (event.error) throw new Error(event.error.message);
  if (event.choices) return (event.choices[0] && event.choices[0].delta.content) || "";
  return (event.type === "content_block_delta" && event.delta.text) || "";
}

async function send(submitted) {
  submitted.preventDefault();
  const prompt = $("prompt").value;
  const messages = state.messages; // a new chat begins with another list
  messages.push({ role: "user", content: prompt });
  say("user", prompt);
  $("prompt").value = "";
  const line = say("assistant", "");
  state.abort = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  try {
    const openai = state.bases.openai !== undefined;
    const request = { model: $("model").value, messages, stream: true };
    if (!openai) request.max_tokens = 1024;
    const answer = await fetch(listed(openai ? "/chat/completions" : "/messages"), {
      method: "POST", headers: headers(), body: JSON.stringify(request), signal: state.abort.signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const event of events(answer.body)) line.textContent += delta(event);
    messages.push({ role: "assistant", content: line.textContent });
  } catch (error) {
    if (error.name === "AbortError") {
      if (line.textContent) messages.push({ role: "assistant", content: line.textContent });
      else messages.pop();
      line.textContent += " [stopped]";
    } else {
      messages.pop();
      if (!line.textContent) line.remove();
      say("wrong", error.message);
      recheck(false);
    }
  } finally {
    state.abort = null;
    $("send").disabled = false;
    $("stop").disabled = true;
  }
}

// One word for a POSIX shell. A model's name comes from elsewhere, and people paste these lines.
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function snippet(title, code) {
  $("clients").append(make("strong", title), make("pre", code));
}

function clients() {
  $("clients").replaceChildren();
  const here = location.origin;
  const { openai, anthropic } = state.bases;
  const key = $("key-label").hidden ? "anything" : "YOUR-KEY";
  if (openai !== undefined) {
    snippet("OpenAI libraries and most programs", `export OPENAI_BASE_URL=${here}${openai}\nexport OPENAI_API_KEY=${key}`);
    const body = { model: $("model").value || "MODEL", messages: [{ role: "user", content: "Hello" }] };
    snippet("curl", `curl ${here}${openai}/chat/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\\n  -d ${quoted(JSON.stringify(body))}`);
  }
  if (anthropic !== undefined) {
    snippet("Anthropic libraries and Claude Code", `export ANTHROPIC_BASE_URL=${here}${anthropic}\nexport ANTHROPIC_AUTH_TOKEN=${key}`);
  }
  snippet("One program, without setting anything", "confide proxy exec -- PROGRAM\nconfidential-claude");
}

async function start() {
  $("chat").addEventListener("submit", send);
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!$("send").disabled) $("chat").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => state.abort && state.abort.abort());
  $("clear").addEventListener("click", () => {
    if (state.abort) state.abort.abort();
    state.messages = [];
    $("talk").replaceChildren();
  });
  $("recheck").addEventListener("click", () => recheck(true));
  $("key").addEventListener("change", () => models().then(clients));
  await recheck(false);
  if (!state.verified) await recheck(true);
  await models();
  clients();
  setInterval(() => { if (!document.hidden && !$("recheck").disabled) recheck(false); }, 10_000);
}

start();
