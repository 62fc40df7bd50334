// The page for people who write programs: the guide is in docs.html, the list of requests comes from /openapi.json.

import { call, Problem, site } from "./api.js";
import { copyButton } from "./copy.js";
import { schemas } from "./docs-schema.js";
import { operationView } from "./docs-operation.js";
import { make } from "./page.js";

const find = (selector) => document.querySelector(selector);
const reference = find("#reference");
const METHODS = ["get", "post", "patch", "put", "delete"];

async function start() {
  enter(lone("Fetching the list of requests…"));
  reference.setAttribute("aria-busy", "true");
  try {
    show(await call("GET", "openapi.json"));
    openNamed();
  } catch (error) {
    fail(error);
  } finally {
    reference.setAttribute("aria-busy", "false");
  }
}

function fail(error) {
  const sentence =
    error instanceof Problem ? error.message : "The list of requests can’t be shown. Reload the page to try again.";
  enter(
    lone(sentence),
    make("p", {}, make("button", { type: "button", className: "main", onclick: start }, "Try again")),
  );
}

function enter(...parts) {
  const held = reference.contains(document.activeElement);
  reference.replaceChildren(...parts);
  if (held) reference.focus({ preventScroll: true });
}

function lone(sentence) {
  const words = make("p", { className: "lone" }, sentence);
  words.setAttribute("role", "status");
  return words;
}

// The list.

function show(document) {
  const reader = schemas(document);
  const groups = grouped(document).map(({ tag, operations }) => group(tag, operations, reader));
  find("#contents-tags").replaceChildren(
    ...groups.map(({ id, name }) => make("li", {}, make("a", { href: `#${id}` }, name))),
  );
  const none = lone("No request is called so.");
  enter(finder(groups, none), none, ...groups.map(({ section }) => section));
}

/** In the order of the document's tags; what has none comes last. */
function grouped({ paths, tags = [] }) {
  const groups = new Map(tags.map((tag) => [tag.name, { tag, operations: [] }]));
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of METHODS.filter((name) => name in methods)) {
      const name = methods[method].tags?.[0] ?? "others";
      if (!groups.has(name)) groups.set(name, { tag: { name }, operations: [] });
      groups.get(name).operations.push({ path, method, ...methods[method] });
    }
  }
  return [...groups.values()].filter(({ operations }) => operations.length);
}

function group(tag, operations, reader) {
  const id = `about-${tag.name.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase()}`;
  const name = tag.name[0].toUpperCase() + tag.name.slice(1);
  const views = operations.map((operation) => operationView(operation, reader));
  const section = make("section", { className: "requests" }, make("h3", { id, tabIndex: -1 }, name));
  if (tag.description) section.append(make("p", {}, tag.description));
  section.append(...views.map(({ details }) => details));
  return { id, name, section, views };
}

function finder(groups, none) {
  none.hidden = true;
  const input = make("input", { type: "search", id: "find-request", autocomplete: "off", spellcheck: false });
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const { section, views } of groups) {
      for (const { details, said } of views) details.hidden = !said.includes(wanted);
      section.hidden = views.every(({ details }) => details.hidden);
    }
    none.hidden = groups.some(({ section }) => !section.hidden);
  });
  const label = make("label", { htmlFor: input.id }, "Find a request");
  return make("p", { className: "finder" }, label, input);
}

/** A link to one request opens it. */
function openNamed() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!named || !reference.contains(named)) return;
  if (named.localName === "details") named.open = true;
  named.scrollIntoView();
}

// The guide's examples name this server, and can be copied.

for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;
// What is wider than the screen must be scrolled without a mouse, too.
for (const pre of document.querySelectorAll("#words pre")) pre.tabIndex = 0;
for (const [at, pre] of document.querySelectorAll("#words pre:not(.answer, dd pre)").entries()) {
  const frame = make("div", { className: "example" });
  pre.replaceWith(frame);
  frame.append(pre, copyButton(pre.firstElementChild, `example ${at + 1}`));
}

site()
  .then(({ name }) => (find("#site-name").textContent = name))
  .catch(() => {});
addEventListener("hashchange", openNamed);
start();
