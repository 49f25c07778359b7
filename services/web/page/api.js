// The API as a page calls it: the key of this tab, errors of google.rpc.Status, server-sent events.

const KEY = "realm-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

export class Failure extends Error {
  constructor(status, http) {
    super(status.message || `HTTP ${http}`);
    this.http = http;
  }
}

export async function call(method, path, body) {
  const response = await send(method, path, body);
  return response.json();
}

// Server-sent events by fetch: EventSource can show no key.
export async function* events(path) {
  const response = await send("GET", path);
  let waiting = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (waiting + text).split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]),
      );
      if (fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

async function send(method, path, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body) });
  } catch {
    throw new Failure({ message: "the web service cannot be reached" }, 0);
  }
  if (!response.ok) throw new Failure(await response.json().catch(() => ({})), response.status);
  return response;
}

export function query(path, terms) {
  const parameters = new URLSearchParams();
  for (const [name, value] of terms) if (value) parameters.append(name, value);
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

// "lang=en, year>=1990": a condition each.
export const conditions = (text) =>
  text.split(",").map((each) => ["where", each.trim()]);
