// API keys: what a program may do in the newsroom's name.

import { call, site } from "./api.js";
import { chosen, choices, doing, field, form, sure } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { secret } from "./desk-secret.js";
import { table } from "./desk-table.js";
import { ago, isolated, language, make } from "./page.js";

const ROLES = [
  { value: "writer", words: "Writer", about: "Makes drafts; a person releases them." },
  { value: "editor", words: "Editor", about: "Also releases, corrects and recalls, by itself." },
];
const LEVELS = [
  { value: "breaking", words: "Breaking" },
  { value: "normal", words: "Normal" },
  { value: "low", words: "Low" },
];

export function keysPart(place, { say }) {
  const sheet = make("div", {});
  const list = make("div", {});
  const load = () => call("GET", "api/keys").then(({ items }) => items);
  const desk = {
    say,
    sheet,
    refresh: () => loading(list, { what: "the keys", load, show: (keys) => shown(keys, desk) }),
  };
  const add = make("button", { type: "button" }, "Make a key");
  add.addEventListener("click", () => adding(desk, add).catch((error) => say(error.message)));
  const lead = make(
    "p",
    {},
    "With a key, a program such as your CMS writes and releases alerts. ",
    make("a", { href: "/docs" }, "How, with examples"),
  );
  place.append(make("div", { className: "part-head" }, make("h2", {}, "API keys"), add), lead, sheet, list);
  desk.refresh();
}

function shown(keys, desk) {
  const [valid, revoked] = [keys.filter((key) => !key.revoked_at), keys.filter((key) => key.revoked_at)];
  const parts = [
    valid.length ? listed("API keys", valid, desk) : make("p", { className: "lone" }, "No program has a key."),
  ];
  if (revoked.length)
    parts.push(
      make(
        "details",
        { className: "more" },
        make("summary", {}, "Revoked keys"),
        listed("Revoked keys", revoked, desk),
      ),
    );
  return parts;
}

function listed(caption, keys, desk) {
  const columns = [
    { name: "Name", cell: ({ name, start }) => [name, make("small", {}, make("code", {}, `${start}…`))] },
    { name: "Role", cell: ({ role }) => ROLES.find(({ value }) => value === role)?.words ?? role },
    { name: "Limits", cell: limits },
    { name: "Used", cell: used },
    { name: "What you can do", unseen: true, cell: (key) => (key.revoked_at ? "" : actions(key, desk)) },
  ];
  return table(caption, columns, keys);
}

function limits({ topics, levels }) {
  const all = new Intl.ListFormat(language);
  const parts = [
    topics.length ? `only ${all.format(topics)}` : "",
    levels.length ? `only the ${levels.length === 1 ? "level" : "levels"} ${all.format(levels)}` : "",
  ];
  return parts.filter(Boolean).join("; ") || "not limited";
}

function used({ used_at: at, created_at: made, created_by: by, revoked_at: revoked }) {
  const last = at ? ago(new Date(at), Date.now()) : "never";
  const ended = revoked ? `, revoked ${ago(new Date(revoked), Date.now())}` : "";
  return [last, make("small", {}, `made ${ago(new Date(made), Date.now())} by ${by}${ended}`)];
}

function actions(key, desk) {
  const revoke = doing("Revoke", () => revoked(key, desk), desk.say, "final");
  revoke.append(make("span", { className: "unseen" }, ` (${isolated(key.name)})`));
  return make("span", { className: "buttons small" }, revoke);
}

async function revoked(key, desk) {
  const words = "Whatever uses it is refused from that moment on. It can’t be undone; make a new key instead.";
  if (!(await sure({ question: `Revoke the key “${isolated(key.name)}”?`, words, yes: "Revoke this key", no: "Keep it" })))
    return;
  await call("DELETE", `api/keys/${key.id}`);
  desk.say(`The key “${isolated(key.name)}” opens nothing any more.`);
  await desk.refresh();
}

async function adding(desk, back) {
  const { topics } = await site();
  const close = () => {
    desk.sheet.replaceChildren();
    back.focus();
  };
  const options = topics.map(({ slug, name }) => ({ value: slug, words: name }));
  const parts = [
    field({
      label: "Name",
      name: "name",
      maxLength: 100,
      autocomplete: "off",
      hint: "That of the program that will have it.",
    }),
    choices({ legend: "Role", type: "radio", name: "role", options: ROLES, chosen: ["writer"] }),
    choices({
      legend: "Only these levels",
      type: "checkbox",
      name: "levels",
      options: LEVELS,
      chosen: [],
      hint: "Tick none, and it may use them all.",
    }),
  ];
  if (options.length) {
    parts.push(
      choices({
        legend: "Only these topics",
        type: "checkbox",
        name: "topics",
        options,
        chosen: [],
        hint: "Tick none, and it may use them all.",
      }),
    );
  }
  const whole = form({ parts, action: "Make this key", cancel: close, send: (given) => made(given, desk, close) });
  desk.sheet.replaceChildren(make("div", { className: "sheet" }, make("h3", {}, "Make a key"), whole));
  whole.querySelector("input").focus();
}

async function made(given, desk, close) {
  const body = {
    name: given.elements.name.value.trim(),
    role: chosen(given, "role")[0],
    topics: chosen(given, "topics"),
    levels: chosen(given, "levels"),
  };
  const { name, key } = await call("POST", "api/keys", { body });
  const words = "Give it to the program now. It is shown here only this once; nobody can look it up later.";
  desk.sheet.replaceChildren(secret({ title: `The key “${isolated(name)}”`, words, value: key, what: "the key", done: close }));
  await desk.refresh();
}
