// Something that is shown once: a one-time link, a new key. The server keeps only its hash.

import { copyButton } from "./copy.js";
import { make } from "./page.js";

/** `words` says what it is for and how long; `done` is called when the person has it. */
export function secret({ title, words, value, what, done }) {
  const code = make("code", {}, value);
  const box = make("p", { className: "secret" }, code, copyButton(code, what));
  const heading = make("h3", { tabIndex: -1 }, title);
  const have = make("button", { type: "button", className: "main", onclick: done }, "I have it");
  const sheet = make(
    "div",
    { className: "sheet" },
    heading,
    make("p", {}, words),
    box,
    make("p", { className: "buttons" }, have),
  );
  queueMicrotask(() => heading.focus());
  return sheet;
}
