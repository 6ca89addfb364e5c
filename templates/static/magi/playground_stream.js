// One request to the gateway, and its answer as it streams.

const CHAT = "/v1/chat/completions";
const NEXT = {
  400: "Change what is sent, then retry.",
  401: "Sign in again, then retry.",
  403: "Reload the page, or ask an administrator for the permission.",
  404: "Choose another model, or enable this one in the profile.",
  413: "Send a shorter message, or begin a new chat.",
  429: "Others are being answered; retry when there is room.",
  500: "The web server's log says what happened.",
  502: "Look at the model's log under Servers, then retry.",
  503: "Look at the model's state under Servers, then retry.",
  504: "Look at the model's log under Servers, or choose a smaller model.",
};

// Why there is no answer: a sentence, what to do, and after how many seconds.
export class Trouble extends Error {
  constructor(message, { title = "No answer", next = "", retryAfter = null } = {}) {
    super(message);
    this.title = title;
    this.next = next;
    this.retryAfter = retryAfter;
  }
}

// Calls `hear.head`, `hear.comment` and `hear.chunk` as they come; returns at the end.
// Throws Trouble, and an AbortError where `signal` ended it.
export async function ask(body, { csrf, signal, hear }) {
  let response;
  try {
    response = await fetch(CHAT, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrf },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    throw reached(error, "MAGI was not reached.", "See whether its web server runs, then retry.");
  }
  hear.head(headOf(response.headers));
  if (!response.ok) throw await refusal(response);
  let isDone = false;
  for await (const { comment, data } of events(response.body)) {
    if (comment !== undefined) {
      hear.comment(comment);
    } else if (data === "[DONE]") {
      isDone = true;
    } else {
      const chunk = JSON.parse(data);
      if (chunk.error) throw told(chunk.error, chunk.error.code ?? "");
      hear.chunk(chunk);
    }
  }
  if (!isDone) throw new Trouble("The answer broke off.", { title: "Broken off", next: NEXT[502] });
}

function headOf(headers) {
  const said = (name) => headers.get(`X-Magi-${name}`) ?? "";
  return {
    requestId: said("Request-Id"), model: said("Model"), tier: said("Tier"),
    score: said("Score"), reason: said("Reason"),
  };
}

// A stream of server-sent events: lines, of which those that begin with a colon are comments.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      throw reached(error, "The connection to MAGI was lost.", "See whether its web server runs, then retry.");
    }
    if (piece.done) return;
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line === "" && data.length > 0) {
        yield { data: data.join("\n") };
        data = [];
      } else if (line.startsWith(":")) {
        yield { comment: line.slice(1).trim() };
      } else if (line.startsWith("data:")) {
        data.push(line.slice(5).trimStart());
      }
    }
  }
}

function reached(error, message, next) {
  return error.name === "AbortError" ? error : new Trouble(message, { next });
}

async function refusal(response) {
  const text = await response.text();
  let error = { message: text || response.statusText };
  try {
    error = JSON.parse(text).error ?? error;
  } catch {
    // Not the gateway's words: a proxy's, as they are.
  }
  return told(error, response.status, response.headers.get("Retry-After"));
}

function told(error, status, retryAfter = null) {
  const title = [status, error.code === status ? "" : error.code].filter(Boolean).join(" ");
  const seconds = retryAfter ?? /[Tt]ry again in (\d+) s/.exec(error.message)?.[1];
  return new Trouble(error.message ?? "It was refused without a reason.", {
    title: title || undefined,
    next: NEXT[status] ?? "Look at the model under Servers, then retry.",
    retryAfter: seconds ? Number(seconds) : null,
  });
}
