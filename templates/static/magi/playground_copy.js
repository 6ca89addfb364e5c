// A request as other programs send it, and a conversation as a file.

const CHAT = "/v1/chat/completions";
const OF_CLIENT = new Set([
  "model", "messages", "stream", "stream_options", "max_tokens", "temperature",
]); // what openai's client has by name; all else goes through extra_body

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export const asJson = (body) => JSON.stringify(body, null, 2);

export function asCurl(body, { baseUrl, keyVariable }) {
  const key = keyVariable ? ` \\\n  -H "Authorization: Bearer $${keyVariable}"` : "";
  return `curl --no-buffer ${quoted(baseUrl + CHAT)} \\
  -H 'Content-Type: application/json'${key} \\
  -d ${quoted(asJson(body))}`;
}

export function asPython(body, { baseUrl, keyVariable }) {
  const given = Object.entries(body).filter(([name]) => OF_CLIENT.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !OF_CLIENT.has(name)));
  const key = keyVariable ? `os.environ["${keyVariable}"]` : '"none is needed"';
  const lines = given.map(([name, value]) => `    ${name}=${literal(value)},`);
  if (Object.keys(extra).length > 0) lines.push(`    extra_body=${literal(extra)},`);
  return `${keyVariable ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${literal(`${baseUrl}/v1`)}, api_key=${key})
chunks = client.chat.completions.create(
${lines.join("\n")}
)
for chunk in chunks:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
`;
}

// A JSON value in Python's words.
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    const items = Object.entries(value).map(([name, each]) => `${literal(name)}: ${literal(each)}`);
    return `{${items.join(", ")}}`;
  }
  return JSON.stringify(value);
}

export function asMarkdown(turns) {
  const lines = [];
  for (const turn of turns) {
    lines.push("## You", "", turn.prompt, "");
    for (const answer of turn.answers) {
      const by = [answer.model, answer.tier].filter(Boolean).join(", ");
      lines.push(`## ${answer.body.model}${by ? ` (${by})` : ""}`, "");
      for (const part of answer.parts) {
        if (part.stage) lines.push(part.stage === 1 ? "### First answer" : "### Refined answer", "");
        lines.push(part.text, "");
      }
      if (answer.trouble) lines.push(`*${answer.trouble.message}*`, "");
    }
  }
  return lines.join("\n");
}

export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
