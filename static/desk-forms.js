// Forms of the desk: labelled fields, a button that says what will happen, and the reason when it does not.

import { Problem } from "./api.js";
import { make, theirs } from "./page.js";
import { picker } from "./picker.js";

let made = 0;

/** A text field, or a select if there are `options` ([value, words]). The hint is read with it. */
export function field({ label, hint = "", options = null, ...properties }) {
  const id = `field-${(made += 1)}`;
  const input = options ? select(options, properties) : make(properties.rows ? "textarea" : "input", properties);
  input.id = id;
  if (!options && !["url", "email", "password", "datetime-local"].includes(properties.type)) input.dir = "auto";
  const parts = [make("label", { htmlFor: id }, label), input];
  if (hint) {
    parts.push(make("small", { id: `${id}-hint` }, hint));
    input.setAttribute("aria-describedby", `${id}-hint`);
  }
  return make("div", { className: "field" }, ...parts);
}

function select(options, { value, ...properties }) {
  return make(
    "select",
    properties,
    ...options.map(([key, words]) => make("option", { value: key, selected: key === value }, words)),
  );
}

/** Radio buttons or check boxes: `options` is [{value, words, about?}], `chosen` the values that are on. */
export function choices({ legend, type, name, options, chosen, hint = "" }) {
  const boxes = options.map(({ value, words, about }) => {
    const box = make("input", { type, name, value, checked: chosen.includes(value) });
    const text = make("span", {}, theirs(words));
    if (about) text.append(make("small", { dir: "auto" }, about));
    return make("label", { className: "choice" }, box, text);
  });
  const set = make("fieldset", { className: "field" }, make("legend", {}, legend));
  if (hint) set.append(make("small", {}, hint));
  const several = type === "checkbox" && !options.some(({ about }) => about);
  const list = type === "checkbox" ? picker(boxes, { what: legend.toLowerCase().replace(/^only these /, ""), quick: true }) : make("div", { className: "choices" }, ...boxes);
  if (several) (list.querySelector(".choices") ?? list).classList.add("several");
  set.append(list);
  return set;
}

export const chosen = (form, name) =>
  [...form.querySelectorAll(`input[name=${name}]:checked`)].map(({ value }) => value);

/** `send` gets the form; what it throws stands above the button, for a person to read. */
export function form({ parts, action, send, cancel = null, className = "" }) {
  const problem = make("p", { className: "problem", hidden: true, tabIndex: -1 });
  problem.setAttribute("role", "alert");
  const button = make("button", { className: "main" }, action);
  const buttons = make("p", { className: "buttons" }, button);
  if (cancel) buttons.append(make("button", { type: "button", onclick: cancel }, "Cancel"));
  const whole = make("form", { className: `form ${className}`, noValidate: true }, ...parts, problem, buttons);
  whole.addEventListener("submit", (event) => {
    event.preventDefault();
    problem.hidden = true;
    busy(button, () => send(whole).catch((error) => explain(problem, error)));
  });
  return whole;
}

/** Not `disabled`, which would take the keyboard away from whoever has just pressed it. */
async function busy(button, action) {
  if (button.hasAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  await action().finally(() => button.removeAttribute("aria-disabled"));
}

const ODD = "Something went wrong in this browser. Reload the page, then try again.";

function sentence(error) {
  if (error instanceof Problem) return error.message;
  console.error(error);
  return ODD;
}

export function explain(place, error) {
  place.textContent = sentence(error);
  place.hidden = false;
}

/** A button that does one thing at a time; what it throws goes to `tell`. */
export function doing(words, action, tell, className = "") {
  const button = make("button", { type: "button", className }, words);
  const act = async () => action(button);
  button.addEventListener("click", () => busy(button, () => act().catch((error) => tell(sentence(error)))));
  return button;
}

/** A dialog before everything else. `fill` gets it, and what closes it with an answer; the promise: that one, or null. */
export function inDialog({ title, className = "", unseen = false }, fill) {
  return new Promise((answer) => {
    const id = `field-${(made += 1)}`;
    const dialog = make("dialog", { className }, make("h2", { id, className: unseen ? "unseen" : "" }, title));
    dialog.setAttribute("aria-labelledby", id);
    let given = null;
    fill(dialog, (value = null) => ((given = value), dialog.close()));
    dialog.addEventListener("close", () => (dialog.remove(), answer(given)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks before something that weighs; true for yes. `final`: it cannot be undone. */
export async function sure({ question, words, yes, no = "Keep it", final = true }) {
  const answer = await inDialog({ title: question }, (dialog, close) => {
    const stay = make("button", { type: "button", autofocus: true, onclick: () => close() }, no);
    const go = make("button", { type: "button", className: final ? "final" : "main", onclick: () => close(true) }, yes);
    const lines = [words].flat().map((line) => make("p", { dir: "auto" }, line));
    dialog.append(...lines, make("p", { className: "buttons" }, go, stay));
  });
  return answer === true;
}
