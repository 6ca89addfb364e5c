// How a conversation is shown. What people and models write is set as text, never as HTML.

import { piecesOf, speedOf } from "./playground_answer.js";
import { asCurl, asJson, asPython } from "./playground_copy.js";

const FENCE = /^ {0,3}(`{3,})([^\n`]*)\n([\s\S]*?)(?:^ {0,3}\1`*[ \t]*$\n?|(?![\s\S]))/gm;
const STAGES = { 1: "First answer", 2: "Refined answer" };

export function element(name, { text, ...properties } = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export const seconds = (ms) => `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
const count = (number) => number.toLocaleString("en");
const rate = (speed) => `${speed.toFixed(1)} tokens/s`;
const tokens = (number) => `${count(number)} ${number === 1 ? "token" : "tokens"}`;

const trimmed = (text) => text.replace(/^\n+|\s+$/g, "");

// The parts of a text: paragraphs, and fenced code.
function blocksOf(text) {
  const blocks = [];
  let at = 0;
  for (const match of text.matchAll(FENCE)) {
    if (match.index > at) blocks.push({ name: "P", text: trimmed(text.slice(at, match.index)) });
    blocks.push({ name: "PRE", text: match[3], language: match[2].trim() });
    at = match.index + match[0].length;
  }
  if (at < text.length) blocks.push({ name: "P", text: trimmed(text.slice(at)) });
  return blocks.filter((block) => block.text || block.name === "PRE");
}

// Only what differs is touched: a text grows at its end.
function showText(place, text) {
  const blocks = blocksOf(text);
  blocks.forEach((block, index) => {
    let shown = place.children[index];
    if (shown?.tagName !== block.name) {
      const inner = block.name === "PRE" ? [element("code")] : [];
      const made = element(block.name, {}, inner);
      if (shown) shown.replaceWith(made);
      else place.append(made);
      shown = made;
    }
    const holder = shown.firstElementChild ?? shown;
    if (holder.textContent !== block.text) holder.textContent = block.text;
    if (block.language) shown.title = block.language;
  });
  while (place.children.length > blocks.length) place.lastElementChild.remove();
}

class PartView {
  constructor(stage) {
    this.summary = element("summary");
    this.thought = element("div", { className: "playground-text" });
    this.thinking = element("details", { className: "playground-thinking", hidden: true }, [
      this.summary, this.thought,
    ]);
    this.text = element("div", { className: "playground-text" });
    this.figures = element("p", { className: "magi-quiet", hidden: true });
    const head = stage ? [element("h3", { text: STAGES[stage] })] : [];
    this.root = element("div", {}, [...head, this.thinking, this.text, this.figures]);
  }

  show(part, isOver) {
    if (part.thinking) {
      this.thinking.hidden = false;
      const until = part.textMs ?? part.lastMs;
      const isThinking = part.textMs === null && !isOver;
      this.summary.textContent =
        `${isThinking ? "Thinking" : "Thought"} · about ${tokens(part.thinkingPieces)} · ${seconds(until - part.firstMs)}`;
      this.thought.textContent = part.thinking;
    }
    showText(this.text, part.text);
    if (part.stage && isOver && !part.text) {
      this.text.textContent = "It said nothing that is shown here.";
    }
    this.figures.hidden = !part.stage || !part.model;
    const speed = speedOf(part);
    this.figures.textContent = [
      part.tier, part.model,
      part.tokens === null ? "" : tokens(part.tokens),
      speed ? rate(speed) : "",
      part.timeMs === null ? "" : seconds(part.timeMs),
    ].filter(Boolean).join(" · ");
  }
}

// One answer. `redo` asks for it again.
export class AnswerView {
  constructor(answer, { config, redo }) {
    this.answer = answer;
    this.config = config;
    this.tier = element("span", { className: "magi-badge magi-tag", hidden: true });
    this.parts = new Map();
    this.stages = element("div", { className: "playground-stages" });
    this.now = element("p", { className: "playground-now" });
    this.note = element("div", { className: "magi-note", hidden: true });
    this.trouble = element("div", { className: "magi-trouble", hidden: true });
    this.facts = element("dl", { className: "magi-facts playground-facts", hidden: true });
    this.factors = element("details", { hidden: true });
    this.copy = copies(answer.body, config);
    this.redo = redo;
    const head = element("h2", {}, [element("span", { text: answer.body.model }), this.tier]);
    this.root = element("section", { className: "magi-card playground-answer" }, [
      head, this.stages, this.note, this.trouble, this.now, this.facts, this.factors, this.copy,
    ]);
  }

  // `ms`: since it was sent, while it is under way.
  show(ms) {
    const { answer } = this;
    const isOver = !["waiting", "streaming"].includes(answer.state);
    this.root.setAttribute("aria-busy", String(!isOver));
    this.tier.hidden = !answer.tier;
    this.tier.textContent = answer.tier;
    for (const part of answer.parts) {
      if (!this.parts.has(part.stage)) {
        const view = new PartView(part.stage);
        this.parts.set(part.stage, view);
        this.stages.append(view.root);
      }
      this.parts.get(part.stage).show(part, isOver);
    }
    const instead = answer.reason && answer.tier ? `${answer.reason} So ${answer.tier} answers.` : answer.reason;
    const why = [instead, answer.warning].filter(Boolean).join(" ");
    this.note.hidden = !why;
    this.note.textContent = why;
    this.now.hidden = isOver;
    if (!isOver) {
      this.now.textContent = nowOf(answer, ms);
      return;
    }
    this.showTrouble();
    this.showFacts();
    this.showFactors();
  }

  showTrouble() {
    const { trouble, state } = this.answer;
    this.trouble.hidden = !trouble;
    if (!trouble || this.trouble.childElementCount > 0) return;
    const again = trouble.retryAfter ? ` It is worth trying again in ${trouble.retryAfter} s.` : "";
    const retry = element("button", { className: "magi-ask", type: "button", text: "RETRY" });
    retry.addEventListener("click", this.redo);
    this.trouble.append(
      element("strong", { text: trouble.title }),
      element("p", { text: trouble.message }),
      element("p", { text: `${trouble.next}${again}` }),
      ...(state === "failed" ? [retry] : []),
    );
  }

  showFacts() {
    const { answer, config } = this;
    const { record } = answer;
    const read = answer.promptTokens ?? record?.prompt_tokens ?? null;
    const cached = answer.cachedTokens ?? record?.cached_tokens ?? 0;
    const written = answer.tokens ?? record?.completion_tokens ?? null;
    const pieces = piecesOf(answer);
    const out = written !== null ? count(written) : pieces ? `about ${count(pieces)}` : "none";
    const facts = [
      ["Model", answer.model],
      ["Tier", answer.tier],
      ["Complexity", answer.score ? `${answer.score} of 10` : ""],
      ["Tokens in (cached) / out", read === null && !pieces ? "" : `${read === null ? "?" : count(read)} (${count(cached)}) / ${out}`],
      ["Speed", answer.speed ? rate(answer.speed) : ""],
      ["First token", answer.firstMs === null ? "" : seconds(answer.firstMs)],
      ["Total", answer.totalMs === null ? "" : seconds(answer.totalMs)],
      ["Waited for a slot", record?.queued_ms > 1 ? seconds(record.queued_ms) : ""],
      ["Ended", { stopped: "stopped by you", failed: "" }[answer.state] ?? (answer.isCut ? "cut at max_tokens" : "")],
    ].filter(([, value]) => value);
    const shown = facts.map(([name, value]) => fact(name, [value], name === "Model" ? "is-wide" : ""));
    if (answer.requestId) {
      const url = `${config.activity}?q=${encodeURIComponent(answer.requestId)}`;
      const id = config.activity
        ? element("a", { href: url, text: answer.requestId })
        : answer.requestId;
      shown.push(fact("Request", [id], "is-wide"));
    }
    this.facts.hidden = shown.length === 0;
    this.facts.replaceChildren(...shown);
  }

  showFactors() {
    const { record } = this.answer;
    this.factors.hidden = !record?.factors.length;
    if (this.factors.hidden || this.factors.childElementCount > 0) return;
    const cell = (text, className = "") => element("td", { text, className });
    const rows = record.factors.map(([name, points, words]) => {
      const sum = `${points > 0 ? "+" : ""}${Number(points.toFixed(2))}`;
      return element("tr", {}, [cell(name), cell(sum, "magi-number"), cell(words)]);
    });
    const head = ["Factor", "Points", "It is"].map((text, index) =>
      element("th", { text, scope: "col", className: index === 1 ? "magi-number" : "" }),
    );
    this.factors.append(
      element("summary", { text: `Factors of the complexity, by ${record.scored_by}` }),
      element("table", {}, [
        element("thead", {}, [element("tr", {}, head)]), element("tbody", {}, rows),
      ]),
    );
  }
}

function fact(name, value, className = "") {
  return element("div", { className }, [element("dt", { text: name }), element("dd", {}, value)]);
}

function nowOf(answer, ms) {
  if (answer.state === "waiting") {
    if (answer.note.endsWith(")")) return answer.note; // it says how long
    const what = answer.note || (answer.requestId ? "reading the prompt" : "waiting for an answer");
    return `${what} · ${seconds(ms)}`;
  }
  const part = answer.parts.at(-1);
  const speed = speedOf(part, ms);
  const stage = STAGES[part.stage];
  const isReading = part.stage === 1 && ms - part.lastMs > 1000;
  return [
    isReading ? "the second stage reads" : stage?.toLowerCase(),
    `about ${tokens(part.pieces)}`,
    speed ? rate(speed) : "",
    `first token after ${seconds(answer.firstMs)}`,
  ].filter(Boolean).join(" · ");
}

// The request as other programs send it, to be taken to the clipboard.
function copies(body, config) {
  const said = element("p", { className: "magi-quiet", hidden: true });
  said.setAttribute("role", "status");
  const shown = element("pre", { className: "magi-command", hidden: true });
  const kinds = { curl: asCurl, Python: asPython, JSON: asJson };
  const buttons = Object.entries(kinds).map(([name, write]) => {
    const button = element("button", { className: "magi-ask", type: "button", text: `AS ${name.toUpperCase()}` });
    button.dataset.copy = name.toLowerCase();
    button.addEventListener("click", async () => {
      shown.textContent = write(body, config);
      shown.hidden = said.hidden = false;
      const needs = config.keyVariable && name !== "JSON"
        ? ` It takes an API key of yours from ${config.keyVariable}.` : "";
      try {
        await navigator.clipboard.writeText(shown.textContent);
        said.textContent = `Copied.${needs}`;
      } catch {
        said.textContent = `A click takes all of it, to be copied.${needs}`;
      }
    });
    return button;
  });
  const row = element("div", { className: "playground-asks" }, buttons);
  return element("div", { className: "playground-copy" }, [row, said, shown]);
}

// One turn: what was asked, and its answers.
export function turnView(turn, views, { edit, redo }) {
  const asked = element("div", { className: "playground-text" });
  showText(asked, turn.prompt);
  const change = element("button", { className: "magi-ask", type: "button", text: "EDIT" });
  change.addEventListener("click", edit);
  const again = element("button", { className: "magi-ask", type: "button", text: "REGENERATE" });
  again.addEventListener("click", redo);
  const asks = element("div", { className: "playground-asks", hidden: true }, [change, again]);
  const root = element("article", { className: "playground-turn" }, [
    element("div", { className: "playground-prompt" }, [asked, asks]),
    element("div", { className: "playground-answers" }, views.map((view) => view.root)),
  ]);
  return { root, asks };
}
