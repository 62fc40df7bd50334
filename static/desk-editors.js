// People: who works at the desk, and in which role.

import { call } from "./api.js";
import { counted } from "./desk-figures.js";
import { chosen, choices, doing, field, form, sure } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { secret } from "./desk-secret.js";
import { table } from "./desk-table.js";
import { ago, isolated, make, theirs } from "./page.js";

const ROLES = [
  { value: "writer", words: "Writer", about: "Writes drafts, and tests them on their own browsers." },
  { value: "editor", words: "Editor", about: "Also releases, approves, corrects and recalls." },
  { value: "owner", words: "Owner", about: "Also decides about people, keys, feeds and topics, and reads the audit." },
];

export function editorsPart(place, { session, say }) {
  const sheet = make("div", {});
  const list = make("div", {});
  const desk = { say, sheet, me: session.editor.id, refresh: () => loading(list, { what: "the people", load, show }) };
  const load = () => call("GET", "api/editors").then(({ items }) => items);
  const show = (people) => [everybody(people, desk)];
  const add = make("button", { type: "button" }, "Add a person");
  add.addEventListener("click", () => adding(desk, add));
  place.append(make("div", { className: "part-head" }, make("h2", {}, "Who works at the desk"), add), sheet, list);
  desk.refresh();
}

function everybody(people, desk) {
  const columns = [
    {
      name: "Name",
      cell: ({ id, name, email }) => [
        name || email,
        ...(id === desk.me ? [" (you)"] : []),
        ...(name ? [make("small", {}, theirs(email))] : []),
      ],
    },
    { name: "Role", cell: ({ role }) => ROLES.find(({ value }) => value === role)?.words ?? role },
    { name: "Signed in", cell: signedIn },
    { name: "What you can do", unseen: true, cell: (person) => actions(person, desk) },
  ];
  return table("Who works at the desk", columns, people);
}

function signedIn({ disabled_at: disabled, sessions, signed_in_at: last, has_password: password }) {
  if (disabled) return [make("b", {}, "Disabled"), make("small", {}, ago(new Date(disabled), Date.now()))];
  const where = sessions ? `in ${counted(sessions, "browser")}` : "nowhere";
  const notes = [
    last === undefined ? "" : last ? `last ${ago(new Date(last), Date.now())}` : "never yet",
    password ? "" : "no password",
  ];
  return [where, make("small", {}, notes.filter(Boolean).join("; "))];
}

// What an owner may do.

function actions(person, desk) {
  const { id, disabled_at: disabled, sessions } = person;
  const change = (wish) => call("PATCH", `api/editors/${id}`, { body: wish });
  const edit = make("button", { type: "button" }, "Change");
  edit.addEventListener("click", () => changing(person, desk, edit, change));
  const bar = [edit];
  if (!disabled) bar.push(doing("New link", (button) => newLink(person, desk, button, change), desk.say));
  if (sessions && id !== desk.me) bar.push(doing("Sign out", () => signedOut(person, desk), desk.say));
  if (disabled) bar.push(doing("Enable", () => enabled(person, desk, change), desk.say));
  else if (id !== desk.me) bar.push(doing("Disable", () => shutOut(person, desk, change), desk.say));
  for (const button of bar) button.append(make("span", { className: "unseen" }, ` (${isolated(named(person))})`));
  return make("span", { className: "buttons small" }, ...bar);
}

const named = ({ name, email }) => isolated(name || email);

function open(desk, back, title, parts) {
  const close = () => {
    desk.sheet.replaceChildren();
    if (back.isConnected) back.focus();
  };
  const whole = form({ ...parts, cancel: close, send: (given) => parts.send(given, close) });
  desk.sheet.replaceChildren(make("div", { className: "sheet" }, make("h3", {}, title), whole));
  desk.sheet.scrollIntoView({ block: "nearest" });
  whole.querySelector("input").focus();
}

const roles = (role) => choices({ legend: "Role", type: "radio", name: "role", options: ROLES, chosen: [role] });
const nameField = (value = "") =>
  field({
    label: "Name",
    name: "name",
    value,
    maxLength: 100,
    autocomplete: "off",
    hint: "As colleagues see it. May stay empty.",
  });

function adding(desk, back) {
  const email = field({ label: "E-mail address", name: "email", type: "email", maxLength: 254, autocomplete: "off" });
  open(desk, back, "Add a person", {
    parts: [email, nameField(), roles("editor")],
    action: "Add this person",
    send: async ({ elements }) => {
      const body = { email: elements.email.value.trim(), name: elements.name.value.trim(), role: elements.role.value };
      const person = await call("POST", "api/editors", { body });
      linked(desk, back, `${named(person)} is added`, person.sign_in_link);
      await desk.refresh();
    },
  });
}

function changing(person, desk, back, change) {
  open(desk, back, `Change ${named(person)}`, {
    parts: [nameField(person.name), roles(person.role)],
    action: "Save the changes",
    send: async (given, close) => {
      await change({ name: given.elements.name.value.trim(), role: chosen(given, "role")[0] });
      desk.say("Saved.");
      close();
      await desk.refresh();
    },
  });
}

/** A link signs them in once; nobody can show it again. */
function linked(desk, back, title, link) {
  const done = () => {
    desk.sheet.replaceChildren();
    (back.isConnected ? back : desk.sheet.previousElementSibling.querySelector("button")).focus();
  };
  const words =
    "Send them this link. It signs them in once, within a day, and they may choose a password then. " +
    "It is shown here only now; you can make a new one at any time.";
  desk.sheet.replaceChildren(secret({ title, words, value: link, what: "the sign-in link", done }));
  desk.sheet.scrollIntoView({ block: "nearest" });
}

async function newLink(person, desk, button, change) {
  const { sign_in_link: link } = await change({ sign_in_link: true });
  linked(desk, button, `A link for ${named(person)}`, link);
}

async function signedOut(person, desk) {
  await call("DELETE", `api/editors/${person.id}/sessions`);
  desk.say(`${named(person)} is signed out everywhere.`);
  await desk.refresh();
}

async function enabled(person, desk, change) {
  await change({ disabled: false });
  desk.say(`${named(person)} can sign in again.`);
  await desk.refresh();
}

async function shutOut(person, desk, change) {
  const words =
    "They are signed out everywhere at once and can’t sign in any more. " +
    "What they did stays in the audit. You can enable them again later.";
  const question = `Disable ${named(person)}?`;
  if (!(await sure({ question, words, yes: "Disable", no: "Cancel", final: false }))) return;
  await change({ disabled: true });
  desk.say(`${named(person)} is disabled.`);
  await desk.refresh();
}
