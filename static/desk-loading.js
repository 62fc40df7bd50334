// A part of a page that is fetched: it says that it is being fetched, and when that fails why, and the way on.

import { Problem } from "./api.js";
import { make } from "./page.js";

/** `what` as in "Fetching the report…"; `show` makes the nodes. What is there stays until the new has come. */
export async function loading(parent, { what, load, show }) {
  const again = () => loading(parent, { what, load, show });
  if (!parent.childElementCount) parent.append(status(`Fetching ${what}…`));
  parent.setAttribute("aria-busy", "true");
  try {
    fill(parent, [await show(await load())].flat());
  } catch (error) {
    fill(parent, [trouble(error, what), make("p", {}, button("Try again", again))]);
  } finally {
    parent.setAttribute("aria-busy", "false");
  }
}

/** Whoever was in there with the keyboard stays there: at what reads the same, if it is there again. */
function fill(parent, parts) {
  const held = parent.contains(document.activeElement) && document.activeElement;
  parent.replaceChildren(...parts);
  if (!held) return;
  parent.tabIndex = -1;
  const same = [...parent.querySelectorAll(held.localName)].find((each) => each.textContent === held.textContent);
  (held === parent ? parent : (same ?? parent)).focus({ preventScroll: true });
}

export function status(sentence) {
  const words = make("p", { className: "lone" }, sentence);
  words.setAttribute("role", "status");
  return words;
}

export function trouble(error, what) {
  const known = error instanceof Problem;
  if (!known) console.error(error);
  const words = make("p", { className: "lone" }, known ? error.message : `Something went wrong while showing ${what}.`);
  words.setAttribute("role", "alert");
  return words;
}

const button = (words, onclick) => make("button", { type: "button", className: "main", onclick }, words);
