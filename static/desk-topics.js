// Topics: what readers follow, and the words in publishers' tags that speak of it.

import { call } from "./api.js";
import { count, counted } from "./desk-figures.js";
import { doing, field, form, sure } from "./desk-forms.js";
import { table } from "./desk-table.js";
import { isolated, listed, make } from "./page.js";

/** `place` is where a form stands while a topic is changed. */
export function topicsPart(topics, desk, place) {
  if (topics.length) return [list(topics, desk, place)];
  return [
    make(
      "p",
      { className: "lone" },
      "No topic yet. Readers choose from topics when they subscribe, so the first one comes before all else.",
    ),
  ];
}

function list(topics, desk, place) {
  const columns = [
    {
      name: "Topic",
      cell: ({ name, description }) => [name, ...(description ? [make("small", { dir: "auto" }, description)] : [])],
    },
    { name: "Short name", cell: ({ slug }) => make("code", {}, slug) },
    { name: "Also called", cell: ({ synonyms }) => (synonyms.length ? listed(synonyms, "unit") : "–") },
    { name: "Readers", cell: ({ followers }) => count(followers ?? 0), figure: true },
  ];
  if (desk.owner) columns.push({ name: "What you can do", unseen: true, cell: (topic) => actions(topic, desk, place) });
  return table("Topics", columns, topics, { most: 25 });
}

function actions(topic, desk, place) {
  const unseen = () => make("span", { className: "unseen" }, ` ${isolated(topic.name)}`);
  const change = make("button", { type: "button" }, "Change", unseen());
  change.addEventListener("click", () => changing(place, topic, desk, change));
  const remove = doing("Delete", () => removed(topic, desk), desk.say, "final");
  remove.append(unseen());
  return make("span", { className: "buttons small" }, change, remove);
}

// Forms.

const fields = ({ name = "", description = "", synonyms = [] }) => [
  field({
    label: "Name",
    name: "name",
    value: name,
    maxLength: 100,
    autocomplete: "off",
    hint: "As readers see it: World News.",
  }),
  field({
    label: "What it is about",
    name: "description",
    value: description,
    maxLength: 500,
    autocomplete: "off",
    hint: "One sentence under the name. May stay empty.",
  }),
  field({
    label: "Also called",
    name: "synonyms",
    value: synonyms.join(", "),
    autocomplete: "off",
    hint: "Words in publishers’ tags that mean this topic, with commas between. A tag must be the whole word.",
  }),
];

function said({ elements }) {
  const words = elements.synonyms.value
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
  return { name: elements.name.value.trim(), description: elements.description.value.trim(), synonyms: words };
}

function sheet(place, title, back, parts) {
  const close = () => {
    place.replaceChildren();
    back.focus();
  };
  const whole = form({ ...parts, cancel: close, send: (given) => parts.send(given, close) });
  place.replaceChildren(make("div", { className: "sheet" }, make("h3", {}, title), whole));
  whole.querySelector("input").focus();
  place.scrollIntoView({ block: "nearest" });
  return whole;
}

export function addTopic(place, desk, back) {
  const slug = field({
    label: "Short name",
    name: "slug",
    maxLength: 64,
    autocomplete: "off",
    spellcheck: false,
    hint: "For addresses and programs: small letters, digits, hyphens. It stays as it is for ever.",
  });
  const [name, ...rest] = fields({});
  const whole = sheet(place, "Add a topic", back, {
    parts: [name, slug, ...rest],
    action: "Add this topic",
    send: async (given, close) => {
      const topic = await call("POST", "api/topics", {
        body: { slug: given.elements.slug.value.trim(), ...said(given) },
      });
      desk.say(`Readers can follow “${isolated(topic.name)}” now.`);
      close();
      await desk.refresh();
    },
  });
  suggest(whole.elements);
}

/** The short name follows the name until somebody writes their own. */
function suggest({ name, slug }) {
  let own = false;
  slug.addEventListener("input", () => (own = slug.value !== ""));
  name.addEventListener("input", () => {
    if (!own)
      slug.value = name.value
        .normalize("NFD")
        .replaceAll(/\p{M}/gu, "")
        .toLowerCase()
        .replaceAll(/[^a-z0-9]+/g, "-")
        .replaceAll(/^-|-$/g, "");
  });
}

function changing(place, topic, desk, back) {
  sheet(place, `Change “${isolated(topic.name)}”`, back, {
    parts: fields(topic),
    action: "Save the changes",
    send: async (given, close) => {
      await call("PATCH", `api/topics/${topic.slug}`, { body: said(given) });
      desk.say("Saved.");
      close();
      await desk.refresh();
    },
  });
}

async function removed(topic, desk) {
  const followers = topic.followers ?? 0;
  const words = followers
    ? `${counted(followers, "reader follows", "readers follow")} it, and will hear nothing of it any more. ` +
      "Who follows nothing else gets nothing at all from then on."
    : "No reader follows it.";
  const brought = topic.feeds
    ? [`${counted(topic.feeds, "feed brings", "feeds bring")} it, and will go on without.`]
    : [];
  if (
    !(await sure({
      question: `Delete the topic “${isolated(topic.name)}”?`,
      words: [words, ...brought, "It can’t be undone."],
      yes: "Delete this topic",
      no: "Keep it",
    }))
  )
    return;
  await call("DELETE", `api/topics/${topic.slug}?force=true`); // The question above has said how many follow it.
  desk.say(`The topic “${isolated(topic.name)}” is deleted.`);
  await desk.refresh();
}
