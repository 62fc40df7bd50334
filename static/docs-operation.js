// One request of the HTTP interface: what it does, who may, what goes in, what comes out, and an example.

import { copyButton } from "./copy.js";
import { make } from "./page.js";

export function operationView(operation, reader) {
  const { method, path } = operation;
  const lines = (operation.description ?? "").split(/\n\s*\n/).map((part) => part.replaceAll(/\s+/g, " ").trim());
  const title = (lines[0].split(SENTENCE)[0] || operation.summary) ?? "";
  const details = make("details", { id: idOf(method, path), className: "request" });
  details.append(make("summary", {}, address(method, path), make("span", { className: "does" }, title)));
  // Built when it is first opened: there are dozens.
  details.addEventListener(
    "toggle",
    () => details.childElementCount > 1 || details.append(inside(operation, lines, reader)),
  );
  return { details, said: `${method} ${path} ${title} ${lines.join(" ")}`.toLowerCase() };
}

const SENTENCE = /(?<=[.?]) /;

const idOf = (method, path) => `${method}${path.replaceAll(/[^a-z0-9.]+/gi, "-").replace(/-$/, "")}`;

function address(method, path) {
  const steps = path.split("/").flatMap((step, at) => (at ? ["/", document.createElement("wbr"), step] : [step]));
  return make("code", {}, make("b", {}, method.toUpperCase()), " ", ...steps);
}

function inside(operation, lines, reader) {
  const parts = make("div", { className: "parts" });
  const [first, ...others] = lines;
  const rest = [first.slice(first.split(SENTENCE)[0].length).trim(), ...others]; // The first is in the summary.
  parts.append(...rest.filter(Boolean).map((line) => make("p", {}, ...inCode(line))));
  parts.append(make("p", { className: "who" }, who(operation)));
  const taken = [...parameters(operation, reader), ...body(operation, reader)];
  if (taken.length) parts.append(heading("Takes"), list(taken));
  parts.append(heading("For example"), example(operation, reader), heading("Answers"), ...answers(operation, reader));
  return parts;
}

const heading = (text) => make("h4", {}, text);

/** Text in which `these` are code. */
const inCode = (text) => text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));

// Who may. The role stands beside the key in the document's security.

const ROLES = {
  writer: "For writers, editors and owners, and for keys of any role.",
  editor: "For editors and owners, and for keys with the role of an editor.",
  owner: "For owners, signed in at the desk. No key is enough.",
};

function who({ security = [] }) {
  const entries = security.flatMap(Object.entries);
  if (!entries.length) return "For everybody, without a key.";
  const role = entries.flatMap(([, roles]) => roles).find((name) => name in ROLES);
  return role ? ROLES[role] : "For a reader’s browser, with the key it got when it subscribed.";
}

// What goes in.

const PLACES = { path: "in the address", query: "after the question mark", header: "as a header" };

function parameters({ parameters: all = [] }, reader) {
  return all
    .filter((parameter) => parameter.in !== "cookie")
    .map(({ name, in: place, required, schema, description }) => ({
      name,
      needed: required,
      words: `${reader.words(schema).replace(/ or null$/, "")}, ${PLACES[place]}`,
      about: description ?? schema?.description ?? "",
    }));
}

const jsonOf = (content = {}) => Object.entries(content).find(([type]) => type.endsWith("json"))?.[1].schema;

function body({ requestBody }, reader) {
  const schema = jsonOf(requestBody?.content);
  return schema ? reader.fields(schema) : [];
}

function list(entries) {
  const parts = entries.flatMap(({ name, needed, words, about }) => [
    make("dt", {}, make("code", {}, name), make("span", {}, words), ...(needed ? [make("b", {}, "needed")] : [])),
    make("dd", {}, ...inCode(asSentence(about))),
  ]);
  return make("dl", { className: "fields" }, ...parts);
}

function asSentence(text) {
  if (!text || /^https?:/.test(text)) return text;
  return text[0].toUpperCase() + text.slice(1) + (/[.?…]$/.test(text) ? "" : ".");
}

// The example.

function example(operation, reader) {
  const code = make("code", {}, curl(operation, reader));
  const pre = make("pre", { tabIndex: 0 }, code);
  return make("div", { className: "example" }, pre, copyButton(code, "this example"));
}

function curl(operation, reader) {
  const { method, path, parameters: all = [], security = [], requestBody } = operation;
  const sample = ({ name, schema, example: given }) =>
    given ?? reader.example({ properties: { [name]: schema } })[name];
  const filled = all.filter((p) => p.in === "path").reduce((text, p) => text.replace(`{${p.name}}`, sample(p)), path);
  const asked = all
    .filter((p) => p.in === "query" && p.required)
    .map((p) => `${p.name}=${encodeURIComponent(sample(p))}`);
  const url = `${location.origin}${filled}${asked.length ? `?${asked.join("&")}` : ""}`;
  const usual = { get: path.endsWith("/events") ? " -N" : "", post: requestBody ? "" : " -X POST" }; // -N: as it comes
  const lines = [`curl${usual[method] ?? ` -X ${method.toUpperCase()}`} ${quoted(url)}`];
  const key = security.length && ("reader key" in security[0] ? "READER_KEY" : "NEWSBELL_KEY");
  if (key) lines.push(`-H "Authorization: Bearer $${key}"`);
  if (all.some(({ name }) => name === "Idempotency-Key")) lines.push('-H "Idempotency-Key: any-text-of-yours"');
  const schema = jsonOf(requestBody?.content);
  if (schema) {
    lines.push('-H "Content-Type: application/json"');
    lines.push(`-d '${written(reader.request(schema)).replaceAll("'", "'\\''").replaceAll("\n", "\n  ")}'`);
  }
  return lines.join(" \\\n  ");
}

/** JSON as a person writes it: a short list of plain values on one line. */
const written = (value) =>
  JSON.stringify(value, null, 2).replaceAll(
    /\[\s+([^\[\]{}]{0,70}?)\s+\]/g,
    (_, inner) => `[${inner.replaceAll(/\s+/g, " ")}]`,
  );

const quoted = (url) => (/[&?]/.test(url) ? `"${url}"` : url);

// What comes out.

const PLAIN = {
  "Successful Response": {
    200: "Done.",
    201: "Made.",
    202: "It will be done shortly.",
    204: "Done; there is nothing to add.",
  },
  "Validation Error": { 422: "Refused; detail says why." },
};

function answers({ responses }, reader) {
  const entries = Object.entries(responses);
  const said = entries.map(([status, { description }]) => ({
    status,
    text: PLAIN[description]?.[status] ?? description,
  }));
  const lines = said.flatMap(({ status, text }) => [
    make("dt", {}, make("code", {}, status)),
    make("dd", {}, ...inCode(text)),
  ]);
  const parts = [make("dl", { className: "answers" }, ...lines)];
  const good = entries.find(([status, { content }]) => status.startsWith("2") && jsonOf(content));
  if (!good) return parts;
  const schema = jsonOf(good[1].content);
  const code = make("code", {}, written(reader.example(schema)));
  const pre = make("pre", { className: "answer", tabIndex: 0 }, code);
  pre.setAttribute("aria-label", "The answer, for example");
  return [...parts, pre, ...meanings(reader.fields(schema))];
}

/** Only what has something to say: names and kinds are in the example. */
function meanings(fields) {
  const telling = fields.filter(({ about }) => about);
  return telling.length ? [list(telling.map((field) => ({ ...field, needed: false })))] : [];
}
