// The playground: a conversation with one model, or with two at once, over /v1.

import { finish, newAnswer, takeChunk, takeHead, takeRecord, textOf } from "./playground_answer.js";
import { asMarkdown, save } from "./playground_copy.js";
import { ask } from "./playground_stream.js";
import { AnswerView, turnView } from "./playground_view.js";

const KEPT = "magi-playground";
const FIELDS = ["model", "other", "preset", "max_tokens", "temperature", "system"];
const LOOKS_MS = [800, 700, 1000, 1500, 3000]; // for the record, which is written a moment later
const NARROW = "(max-width: 767px)";

const form = document.getElementById("playground");
const field = (name) => document.getElementById(`id_${name}`);
const part = (name) => document.getElementById(`playground-${name}`);
const config = {
  baseUrl: form.dataset.baseUrl,
  keyVariable: form.dataset.keyVariable,
  requests: form.dataset.requests,
  activity: form.dataset.activity,
};

let turns = []; // {prompt, answers}
let shown = []; // the view of each
let running = null; // an AbortController, while something streams
let isEditing = false;
let filled = ""; // what the lists of models were made from

// -- what is sent

function bodyFor(target, column, prompt) {
  const messages = field("system").value.trim()
    ? [{ role: "system", content: field("system").value }]
    : [];
  for (const turn of turns) {
    const text = textOf(turn.answers[Math.min(column, turn.answers.length - 1)]);
    if (!text) continue; // a message that nobody answered is no part of the conversation
    messages.push({ role: "user", content: turn.prompt }, { role: "assistant", content: text });
  }
  messages.push({ role: "user", content: prompt });
  const body = { model: target, messages, stream: true, stream_options: { include_usage: true } };
  if (field("preset").value) body.preset = field("preset").value;
  if (field("max_tokens").value) body.max_tokens = Number(field("max_tokens").value);
  if (field("temperature").value) body.temperature = Number(field("temperature").value);
  return body;
}

async function send(prompt) {
  if (running) return;
  const targets = [field("model").value, field("other").value].filter(Boolean);
  const answers = targets.map((target, column) => newAnswer(bodyFor(target, column, prompt)));
  const turn = { prompt, answers };
  turns.push(turn);
  const views = show(turn);
  goToEnd();
  running = new AbortController();
  setRunning();
  const { signal } = running;
  await Promise.all(answers.map((answer, column) => answerOne(answer, views[column], signal)));
  running = null;
  setRunning();
  keep();
  answers.forEach((answer, column) => findRecord(answer, views[column]));
}

async function answerOne(answer, view, signal) {
  const began = performance.now();
  const since = () => performance.now() - began;
  let frame = null;
  const draw = () => {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      follow(() => view.show(since()));
    });
  };
  const ticking = setInterval(draw, 200);
  draw();
  try {
    await ask(answer.body, {
      csrf: form.elements.csrfmiddlewaretoken.value,
      signal,
      hear: {
        head: (head) => takeHead(answer, head),
        comment: (text) => { answer.note = text; },
        chunk: (chunk) => { takeChunk(answer, chunk, since()); draw(); },
      },
    });
    finish(answer, "done", since());
  } catch (error) {
    if (error.name === "AbortError") {
      finish(answer, "stopped", since());
    } else {
      const { title = "No answer", message, next = "Retry, or reload the page.", retryAfter = null } = error;
      finish(answer, "failed", since(), { title, message, next, retryAfter });
    }
  } finally {
    clearInterval(ticking);
    cancelAnimationFrame(frame);
    follow(() => view.show(since()));
  }
}

// What the log of requests has of an answer: the factors of its score, above all.
async function findRecord(answer, view) {
  if (!config.requests || !answer.requestId || answer.record) return;
  for (const pause of LOOKS_MS) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      const found = await fetch(`${config.requests}${encodeURIComponent(answer.requestId)}/`);
      const { request } = found.ok ? await found.json() : {};
      if (request) takeRecord(answer, request);
    } catch {
      // The server is away: the next look may find it back.
    }
    if (answer.record) {
      view.show(0);
      keep();
      return;
    }
  }
}

// -- what is shown

const page = document.documentElement;

function goToEnd() {
  page.scrollTop = page.scrollHeight;
}

// Draws, and stays at the end of the page for whoever is there.
function follow(draw) {
  const isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  draw();
  if (isAtEnd) goToEnd();
}

function show(turn) {
  const views = turn.answers.map((answer) => new AnswerView(answer, { config, redo }));
  const view = turnView(turn, views, { edit, redo });
  shown.push(view);
  part("turns").append(view.root);
  part("hint").hidden = true;
  views.forEach((each) => each.show(0));
  return views;
}

function setRunning() {
  const isRunning = running !== null;
  part("send").hidden = isRunning;
  part("stop").hidden = !isRunning;
  part("leave").hidden = !isEditing;
  part("new").disabled = isRunning;
  const isEmpty = turns.length === 0;
  for (const button of form.querySelectorAll("[data-export]")) button.disabled = isRunning || isEmpty;
  shown.forEach((view, index) => {
    view.asks.hidden = isRunning || index !== shown.length - 1;
  });
  part("said").textContent = isEditing ? "Sending replaces the last message and its answer." : "";
}

function dropLast() {
  shown.pop()?.root.remove();
  return turns.pop();
}

function redo() {
  if (running || turns.length === 0) return;
  leave();
  send(dropLast().prompt);
}

function edit() {
  isEditing = true;
  field("prompt").value = turns.at(-1).prompt;
  field("prompt").focus();
  setRunning();
}

function leave() {
  if (isEditing) field("prompt").value = "";
  isEditing = false;
  setRunning();
}

function clear() {
  turns = [];
  shown = [];
  part("turns").replaceChildren();
  part("hint").hidden = false;
  leave();
  keep();
  field("prompt").focus();
}

// -- the models that there are, as the page has them now

function fillTargets() {
  const now = part("targets").querySelector("select");
  if (now.innerHTML === filled) return;
  filled = now.innerHTML;
  const hasSome = now.querySelector("option[data-state]") !== null;
  const none = document.createElement("option");
  none.value = "";
  none.textContent = "nobody";
  for (const [name, first] of [["model", []], ["other", [none]]]) {
    const select = field(name);
    const { value } = select;
    const groups = [...now.children].map((group) => group.cloneNode(true));
    select.replaceChildren(...first, ...groups);
    // What is gone stays chosen: the gateway says what became of it.
    if (value && !find(select, value)) select.append(new Option(`${value} · not enabled`, value));
    if (value || first.length > 0) select.value = value;
    select.disabled = !hasSome;
  }
  part("send").disabled = !hasSome;
}

const find = (select, value) => [...select.options].some((option) => option.value === value);

// -- what a reload finds again: in this tab alone

function keep() {
  const values = Object.fromEntries(FIELDS.map((name) => [name, field(name).value]));
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ values, turns }));
  } catch {
    // No room: the conversation is in the page, and is not found after a reload.
  }
}

function restore() {
  let kept;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
  } catch {
    kept = {};
  }
  const isNamed = new URLSearchParams(window.location.search).has("model");
  for (const name of FIELDS) {
    const value = kept.values?.[name];
    if (value === undefined || (name === "model" && isNamed)) continue;
    if (field(name).tagName !== "SELECT" || find(field(name), value)) field(name).value = value;
  }
  turns = kept.turns ?? [];
  turns.forEach((turn) => show(turn));
  if (turns.length > 0) goToEnd();
}

// -- what people do

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = field("prompt").value.trim();
  if (!prompt || running) return;
  if (isEditing) dropLast();
  isEditing = false;
  field("prompt").value = "";
  send(prompt);
});
field("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit(part("send"));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (running) running.abort();
  else leave();
});
form.addEventListener("change", keep);
document.addEventListener("magi:looked", fillTargets);
window.addEventListener("pagehide", () => {
  for (const answer of turns.at(-1)?.answers ?? []) {
    if (["waiting", "streaming"].includes(answer.state)) finish(answer, "stopped", answer.firstMs);
  }
  keep();
});
part("stop").addEventListener("click", () => running?.abort());
part("leave").addEventListener("click", leave);
part("new").addEventListener("click", clear);
for (const button of form.querySelectorAll("[data-export]")) {
  button.addEventListener("click", () => {
    if (button.dataset.export === "md") save("chat.md", "text/markdown", asMarkdown(turns));
    else save("chat.json", "application/json", JSON.stringify(turns, null, 2));
  });
}

for (const each of document.querySelectorAll("[data-script]")) each.hidden = false;
if (window.matchMedia(NARROW).matches) part("settings").open = false;
else field("prompt").focus();
fillTargets();
restore();
setRunning();
