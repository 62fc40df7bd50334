// The desk: who is signed in, which part of it is open, and what it says aloud.

import { call, whenSignedOut } from "./api.js";
import { setClock } from "./desk-clock.js";
import { doing } from "./desk-forms.js";
import { status, trouble } from "./desk-loading.js";
import { showNotes } from "./desk-notes.js";
import { PLACE, signIn, signInAgain } from "./desk-sign-in.js";
import { standingWarnings } from "./desk-standing.js";
import { make, theirs } from "./page.js";

// The parts, by the first word of the address behind "#/". Each exports view(main, context), which fills the page and
// may return { turn(parameters), leave() }: what to do when only the rest of the address changes, and at the end.
const PARTS = {
  "": { name: "Stories", load: () => import("./desk-stories.js") },
  alerts: { name: "Alerts", load: () => import("./desk-alerts.js") },
  reports: { name: "Reports", load: () => import("./desk-reports.js") },
  feeds: { name: "Feeds", load: () => import("./desk-feeds.js") },
  people: { name: "People", load: () => import("./desk-people.js") },
};
// Alerts are written and watched beside the stories.
const BESIDE = { alerts: (rest) => rest.length > 0, new: () => true };
const SAID = 6_000; // milliseconds for which what was said stays in sight

const find = (selector) => document.querySelector(selector);
const main = find("#main");
const said = find("#said");
const warned = standingWarnings(find("#standing"));

let session = null;
let open = { part: null, view: null };
let quiet;

function say(sentence) {
  said.textContent = "";
  // A new text in the same breath is not read out.
  requestAnimationFrame(() => (said.textContent = sentence));
  clearTimeout(quiet);
  quiet = setTimeout(() => (said.textContent = ""), SAID);
}

/** Within a part the filters of its list stay as they are. */
function go(path) {
  const kept = location.hash.split("?")[1];
  const hash = kept && !path.includes("?") && wanted(path).part === open.part ? `${path}?${kept}` : path;
  if (location.hash === hash) turn();
  else location.hash = hash;
}

async function start() {
  if (!main.querySelector("[role=status]")) main.append(status("Opening the desk…"));
  const wish = secretWish();
  if (!location.hash) comeBack();
  try {
    session = wish ? null : await call("GET", "api/session");
  } catch (problem) {
    if (problem.status !== 401) return show(trouble(problem, "the desk"), again(start));
  }
  if (session) return enter();
  await askWho(wish);
}

/** A one-time link, or word from the single sign-on; it must not stay in the address. */
function secretWish() {
  const [, name, value] = location.hash.match(/^#(link|sign-in)=(.+)$/) ?? [];
  if (name) history.replaceState(null, "", "/desk");
  return name ? { [name]: decodeURIComponent(value) } : null;
}

/** To where the single sign-on was asked for. */
function comeBack() {
  const place = sessionStorage.getItem(PLACE);
  sessionStorage.removeItem(PLACE);
  if (place) history.replaceState(null, "", place);
}

async function askWho(wish) {
  session = null;
  whenSignedOut(null);
  warned.stop();
  showNotes(find("#notes"), null);
  leave();
  frame(null);
  await signIn(main, { wish, done: (who) => ((session = who), enter()) });
}

function enter() {
  whenSignedOut(askAgain);
  setClock(session);
  frame(session);
  warned.start();
  showNotes(find("#notes"), session);
  turn();
}

let asking = null;

/** Once for all that is asked meanwhile. */
function askAgain() {
  return (asking ??= signedInAgain().finally(() => (asking = null)));
}

async function signedInAgain() {
  const anew = await signInAgain(session);
  if (!anew) await askWho(null);
  else Object.assign(session, anew);
  return anew !== null;
}

function frame(who) {
  document.body.classList.toggle("signed-in", who !== null);
  find("#parts").hidden = find("#who").hidden = who === null;
  if (!who) return;
  find("#site-name").textContent = who.site.name;
  const own = { people: who.editor.role === "owner" ? "People" : "Your account" }; // That is all of it they may see.
  const links = Object.entries(PARTS).map(([key, { name }]) => make("a", { href: `#/${key}` }, own[key] ?? name));
  find("#parts").replaceChildren(make("ul", {}, ...links.map((link) => make("li", {}, link))));
  const out = doing("Sign out", signOut, say, "quiet");
  find("#who").replaceChildren(make("a", { href: "#/people/me" }, theirs(who.editor.name || who.editor.email)), out);
}

async function signOut() {
  await leave(); // which may save
  await call("DELETE", "api/session").catch((problem) => {
    if (problem.status === 401) return; // They are out already.
    turn();
    throw problem;
  });
  history.replaceState(null, "", "/desk");
  await askWho(null);
  say("You are signed out.");
}

// Which part is open.

function wanted(hash = location.hash) {
  const words = hash.replace(/^#\/?/, "").split("?")[0].split("/").filter(Boolean);
  const [first = "", ...rest] = words.map(decodeURIComponent);
  if (BESIDE[first]?.(rest)) return { part: "", parameters: words };
  return first in PARTS ? { part: first, parameters: rest } : { part: "", parameters: [] };
}

async function turn() {
  if (!session || !find("#main").isConnected) return;
  const { part, parameters } = wanted();
  mark(part);
  if (open.part === part && open.view?.turn) return open.view.turn(parameters);
  leave();
  const opening = (open = { part, view: null });
  show(status("One moment…"));
  const place = make("div", { className: "part-of-desk" });
  try {
    const { view } = await PARTS[part].load();
    if (open !== opening) return;
    show(place);
    const made = await view(place, { session, go, say, parameters, refresh });
    if (open !== opening) return end(made);
    opening.view = typeof made === "function" ? { leave: made } : made;
  } catch (error) {
    if (open === opening) show(trouble(error, "this part of the desk"), again(turn));
  }
}

/** What is known of the person has changed: a browser of their own, say. */
async function refresh() {
  Object.assign(session, await call("GET", "api/session"));
  return session;
}

function leave() {
  const { view } = open;
  open = { part: null, view: null };
  return end(view);
}

const end = (view) => (typeof view === "function" ? view() : view?.leave?.());

function mark(part) {
  document.title = `${PARTS[part].name} – ${session.site.name}`;
  for (const link of find("#parts").querySelectorAll("a")) {
    if (link.hash === `#/${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function show(...parts) {
  const moved = document.activeElement !== document.body && !main.contains(document.activeElement);
  main.replaceChildren(...parts);
  if (!moved) return;
  main.focus({ preventScroll: true });
}

const again = (action) =>
  make("p", { className: "lone" }, make("button", { type: "button", className: "main", onclick: action }, "Try again"));

addEventListener("hashchange", () => (/^#(link|sign-in)=/.test(location.hash) ? start() : turn()));
start();
