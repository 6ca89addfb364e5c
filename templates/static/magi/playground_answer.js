// What one answer is, as its chunks come. Plain values: it is kept for a reload as JSON.

export function newAnswer(body) {
  return {
    body, // as it was sent
    state: "waiting", // streaming, done, stopped or failed
    note: "", // what the gateway says while it has one wait
    requestId: "", model: "", tier: "", score: "", reason: "", warning: "",
    parts: [], // one, or two stages
    promptTokens: null, cachedTokens: null, tokens: null, speed: null,
    firstMs: null, totalMs: null,
    isCut: false,
    trouble: null,
    record: null, // what the log of requests has
  };
}

const newPart = (stage) => ({
  stage, // 0: the only one
  model: "", tier: "", thinking: "", text: "",
  pieces: 0, thinkingPieces: 0, // each about a token
  firstMs: null, textMs: null, lastMs: null,
  tokens: null, timeMs: null,
});

export function takeHead(answer, head) {
  Object.assign(answer, Object.fromEntries(Object.entries(head).filter(([, value]) => value)));
}

// Takes a chunk that came `ms` after the request was sent.
export function takeChunk(answer, chunk, ms) {
  answer.note = "";
  const label = chunk.magi ?? {};
  if (label.stages) takeStages(answer, label);
  const choice = chunk.choices?.[0];
  if (choice && !label.stages) {
    const part = partOf(answer, label.stage ?? 0);
    part.model = label.model_id ?? chunk.model ?? part.model;
    part.tier = label.tier ?? part.tier;
    answer.model = part.model || answer.model;
    answer.tier = part.tier || answer.tier;
    takeDelta(answer, part, choice.delta ?? {}, label, ms);
    if (choice.finish_reason) answer.isCut = choice.finish_reason === "length";
  }
  if (chunk.usage) {
    answer.promptTokens = chunk.usage.prompt_tokens ?? null;
    answer.cachedTokens = chunk.usage.prompt_tokens_details?.cached_tokens ?? null;
    answer.tokens = chunk.usage.completion_tokens ?? null;
  }
  if (chunk.timings?.predicted_per_second && !answer.parts.some((part) => part.stage)) {
    answer.speed = chunk.timings.predicted_per_second;
  }
}

function takeDelta(answer, part, delta, label, ms) {
  const isDraft = label.part === "draft"; // which streams as reasoning_content
  const isAgain = label.stage === 1 && !label.part; // the draft, for want of a second stage
  const text = isDraft ? delta.reasoning_content : isAgain ? "" : delta.content;
  const thinking = isDraft ? "" : delta.reasoning_content;
  if (!text && !thinking) return;
  answer.state = "streaming";
  answer.firstMs ??= ms;
  part.firstMs ??= ms;
  part.lastMs = ms;
  part.pieces += 1;
  if (thinking) {
    part.thinking += thinking;
    part.thinkingPieces += 1;
  }
  if (text) {
    part.textMs ??= ms;
    part.text += text;
  }
}

function takeStages(answer, label) {
  answer.warning = label.warning ?? "";
  for (const stage of label.stages) {
    const part = partOf(answer, stage.stage);
    Object.assign(part, {
      model: stage.model_id, tier: stage.tier, tokens: stage.tokens, timeMs: stage.time_ms,
    });
  }
}

function partOf(answer, stage) {
  let part = answer.parts.find((each) => each.stage === stage);
  if (!part) {
    part = newPart(stage);
    answer.parts.push(part);
  }
  return part;
}

// The text that a later message goes on from: the last stage's that said something.
export function textOf(answer) {
  return answer.parts.findLast((part) => part.text)?.text ?? "";
}

export const piecesOf = (answer) => answer.parts.reduce((sum, part) => sum + part.pieces, 0);

// Tokens a second of a part, by the time in which its pieces came; null if there are too few.
export function speedOf(part, ms = part.lastMs) {
  const seconds = (ms - part.firstMs) / 1000;
  return part.pieces > 1 && seconds > 0 ? (part.pieces - 1) / seconds : null;
}

export function finish(answer, state, ms, trouble = null) {
  Object.assign(answer, { state, note: "", totalMs: ms, trouble });
  const last = answer.parts.at(-1);
  if (answer.parts.length === 1 && last.stage === 0) answer.speed ??= speedOf(last);
}

// Takes what the log of requests has: all of it, where the gateway's headers had gone before.
export function takeRecord(answer, record) {
  answer.record = record;
  answer.model ||= record.model;
  answer.tier ||= record.tier;
  answer.score ||= record.score === null ? "" : record.score.toFixed(1);
}
