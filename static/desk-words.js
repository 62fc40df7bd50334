// The words of an alert: the fields that they are typed into, and what has changed in them.

import { choices, chosen, field } from "./desk-forms.js";
import { make } from "./page.js";

const LEVELS = [
  { value: "breaking", words: "Breaking", about: "Passes quiet hours and limits." },
  { value: "normal", words: "Normal", about: "A new story." },
  { value: "low", words: "Low", about: "May wait until the device is awake anyway." },
];
const LIVES = [
  [1, "1 hour"],
  [4, "4 hours"],
  [12, "12 hours"],
  [24, "A day"],
  [72, "3 days"],
].map(([hours, words]) => [String(hours * 3_600), words]);

/** The fields of an alert; `count` shows how long the title is. Whom a correction is for is settled already. */
export function fields(draft, topics) {
  const counter = make("span", { className: "counter" });
  const title = field({ label: "Title", name: "title", rows: 2, maxLength: 300, value: draft.title, required: true });
  title.querySelector("label").append(counter);
  const link = field({ label: "Link", name: "url", type: "url", maxLength: 2_048, value: draft.url, required: true });
  const all = [
    title,
    field({ label: "Text", name: "body", rows: 4, maxLength: 1_000, value: draft.body }),
    link,
    field({ label: "Picture", name: "image", type: "url", maxLength: 2_048, value: draft.image ?? "", hint: "https:// address; Chrome and Android show it." }),
    ...(draft.corrects ? [] : forWhom(draft, topics)),
  ];
  return {
    all,
    link,
    count(length) {
      counter.textContent = ` ${length} of 90`;
      counter.classList.toggle("over", length > 90);
    },
  };
}

function forWhom(draft, topics) {
  const options = topics.map(({ slug, name }) => ({ value: slug, words: name }));
  return [
    choices({ legend: "Topics", type: "checkbox", name: "topics", options, chosen: draft.topics }),
    choices({ legend: "Level", type: "radio", name: "level", options: LEVELS, chosen: [draft.level] }),
    field({ label: "Worth telling for", name: "ttl", options: lives(draft.ttl), value: String(draft.ttl) }),
  ];
}

function lives(seconds) {
  if (LIVES.some(([value]) => value === String(seconds))) return LIVES;
  return [[String(seconds), `${Math.round(seconds / 360) / 10} hours`], ...LIVES];
}

export function written(form) {
  const { title, body, url, image, ttl } = form.elements;
  return {
    title: title.value.replace(/\s+/g, " ").trim(),
    body: body.value.trim(),
    url: url.value.trim(),
    image: image.value.trim() || null,
    ...(ttl && { topics: chosen(form, "topics"), level: chosen(form, "level")[0], ttl: Number(ttl.value) }),
  };
}

/** Of an alert, the words that `written` has. */
export const alikeIn = (alert, words) => Object.fromEntries(Object.keys(words).map((name) => [name, alert[name]]));

const alike = (one, other) =>
  Array.isArray(one) ? [...one].sort().join() === [...other].sort().join() : (one ?? null) === (other ?? null);

/** What `now` has otherwise than `before`, as {field: value}. */
export const changes = (before, now) => Object.fromEntries(Object.entries(now).filter(([name, value]) => !alike(value, before[name])));

export function put(form, name, value) {
  const inputs = [...form.querySelectorAll(`[name=${name}]`)];
  const choice = inputs[0].type === "checkbox" || inputs[0].type === "radio";
  for (const input of inputs) {
    if (choice) input.checked = [value].flat().includes(input.value);
    else input.value = value ?? "";
  }
}
