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

let askWho = null;

/** What a page does when the server has forgotten who asks; true if it may be asked anew. Null for nothing. */
export const whenSignedOut = (act) => (askWho = act);

/** `once`: a name for what is meant, so that asking again (after a lost answer, say) does not do it twice. */
export async function call(method, path, { body, key, once } = {}) {
  const asking = () => ask(method, path, { body, key, once });
  const comesOrGoes = path === "api/session" && method !== "GET"; // There, 401 is for a wrong password, say.
  let response = await asking();
  if (response.status === 401 && askWho && !comesOrGoes && (await askWho())) response = await asking();
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({ detail: GARBLED, garbled: true }));
  if (!response.ok || answer.garbled) throw new Problem(answer.detail ?? answer.title ?? GARBLED, response.status);
  return answer;
}

function ask(method, path, { body, key, once }) {
  const headers = { Accept: "application/json" };
  if (once) headers["Idempotency-Key"] = once;
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  const request = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) };
  return fetch(new URL(path, home), request).catch(() => {
    throw new Problem(AWAY);
  });
}

/** A name for something that is meant to be done once. */
export const intention = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

let asked;

/** The site's name, key and topics: asked for once per page, and again only after a failure. */
export function site() {
  asked ??= call("GET", "api/site").catch((problem) => {
    asked = undefined;
    throw problem;
  });
  return asked;
}
