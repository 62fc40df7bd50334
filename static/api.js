// Talks to the Newsbell server: JSON both ways, and every failure becomes one sentence for a person.

// The server is where this module came from, also when another site embeds the prompt.
export const home = new URL("../", import.meta.url).href;

const PATIENCE = 15_000; // milliseconds
const AWAY = "The server can't be reached at the moment. Check your connection, then try again.";
const GARBLED = "The server gave an answer that can't be read. Try again in a minute.";

/** Something went wrong that a person should read; `status` is 0 when the server did not answer. */
export class Problem extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

export async function call(method, path, { body, key } = {}) {
  const response = await ask(method, path, body, key);
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({ detail: GARBLED, garbled: true }));
  if (!response.ok || answer.garbled) throw new Problem(answer.detail ?? answer.title ?? GARBLED, response.status);
  return answer;
}

function ask(method, path, body, key) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  const request = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) };
  return fetch(new URL(path, home), request).catch(() => {
    throw new Problem(AWAY);
  });
}

let asked;

/** The site's name, key and topics: asked for once per page, and again only after a failure. */
export function site() {
  asked ??= call("GET", "api/site").catch((problem) => {
    asked = undefined;
    throw problem;
  });
  return asked;
}
