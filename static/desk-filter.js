// A bar over a list: words to search for and things to choose from. What is chosen stands in the address.

import { filters, keepFilters } from "./desk-address.js";
import { field } from "./desk-forms.js";
import { make } from "./page.js";

const PAUSE = 250; // milliseconds after the last key until a search begins

/** `choices`: [{label, name, options: [[value, words]]}]. `changed` is called when something else is wanted. */
export function filterBar({ search, choices = [] }, changed) {
  const kept = filters();
  const parts = [
    field({ label: search, name: "q", type: "search", autocomplete: "off", maxLength: 200, value: kept.q ?? "" }),
    ...choices.map(({ label, name, options }) => field({ label, name, options, value: kept[name] ?? "" })),
  ];
  const inputs = parts.map((part) => part.querySelector("input, select"));
  const element = make("div", { className: "filter" }, ...parts);
  element.setAttribute("role", "search");
  element.setAttribute("aria-label", search);
  const wanted = () => Object.fromEntries(inputs.map(({ name, value }) => [name, value.trim()]));
  function act() {
    keepFilters({ ...filters(), ...wanted() });
    changed(wanted());
  }
  let wait;
  inputs[0].addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(act, PAUSE);
  });
  for (const select of inputs.slice(1)) select.addEventListener("change", act);
  return { element, wanted };
}

export const topicOptions = (topics) => [["", "All topics"], ...topics.map(({ slug, name }) => [slug, name])];
