// One's own: the password, where one is signed in, and the browsers that tests go to.

import { call, Problem } from "./api.js";
import { doing, field, form } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { ago, isolated, make } from "./page.js";

export function accountPart(place, { session, say }) {
  const [signedIn, browsers, password] = [make("div", {}), make("div", {}), make("div", {})];
  place.append(
    part("Where you are signed in", "sessions-title", signedIn),
    part(
      "Your own browsers",
      "browsers-title",
      make(
        "p",
        { className: "note-small" },
        "Tests go to these, and, where two people decide, requests to approve. " +
          "At an alert, “Test on my browser” adds the one you sit at.",
      ),
      browsers,
    ),
    part("Password", "password-title", password),
  );
  const sessions = () =>
    loading(signedIn, {
      what: "your sessions",
      load: () => call("GET", "api/sessions"),
      show: ({ items }) => [sessionTable(items, say, sessions)],
    });
  const own = () =>
    loading(browsers, {
      what: "your browsers",
      load: () => call("GET", "api/session"),
      show: (now) => browserList(now.browsers, say, own),
    });
  sessions();
  own();
  password.append(passwordForm(session, say));
}

function part(title, id, ...content) {
  const section = make("section", { className: "part" }, make("h2", { id }, title), ...content);
  section.setAttribute("aria-labelledby", id);
  return section;
}

const past = (text) => ago(new Date(text), Date.now());

function sessionTable(items, say, refresh) {
  const end = ({ id, about }) => {
    const button = doing(
      "Sign out",
      async () => {
        await call("DELETE", `api/sessions/${id}`);
        say(`Signed out of ${about}.`);
        await refresh();
      },
      say,
    );
    button.append(make("span", { className: "unseen" }, ` (${isolated(about)})`));
    return make("span", { className: "buttons small" }, button);
  };
  const columns = [
    { name: "Browser", cell: ({ about, current }) => [about, current ? " (this one)" : ""] },
    { name: "Since", cell: ({ created_at: made }) => past(made) },
    { name: "Last seen", cell: ({ seen_at: seen }) => past(seen) },
    { name: "What you can do", unseen: true, cell: (each) => (each.current ? "" : end(each)) },
  ];
  return table("Where you are signed in", columns, items);
}

function browserList(items, say, refresh) {
  if (!items.length) return [make("p", { className: "lone" }, "None yet.")];
  const remove = ({ id, name }) => {
    const button = doing(
      "Remove",
      async () => {
        await call("DELETE", `api/session/browsers/${id}`);
        say(`“${name}” is removed. You can add it again from that browser.`);
        await refresh();
      },
      say,
    );
    button.append(make("span", { className: "unseen" }, ` (${isolated(name)})`));
    return make("span", { className: "buttons small" }, button);
  };
  const columns = [
    { name: "Browser", cell: ({ name }) => name },
    { name: "Added", cell: ({ added_at: added }) => past(added) },
    { name: "What you can do", unseen: true, cell: remove },
  ];
  return [table("Your own browsers", columns, items)];
}

function passwordForm({ has_password: has = true, editor }, say) {
  const user = make("input", {
    type: "email",
    value: editor.email,
    autocomplete: "username",
    hidden: true,
    readOnly: true,
  }); // For password managers.
  const old = field({
    label: "The password you have",
    name: "old",
    type: "password",
    autocomplete: "current-password",
  });
  const parts = [
    user,
    ...(has ? [old] : []),
    field({
      label: "The new password",
      name: "next",
      type: "password",
      autocomplete: "new-password",
      hint: `A sentence of a few words is best.${has ? "" : " For a first one, sign in anew: within ten minutes of that it can be set."}`,
    }),
    field({ label: "The new password once more", name: "again", type: "password", autocomplete: "new-password" }),
  ];
  return form({
    parts,
    action: has ? "Change the password" : "Set the password",
    send: async (whole) => {
      const { old: before, next, again } = whole.elements;
      if (next.value !== again.value) throw new Problem("The two new passwords are not the same.");
      await call("POST", "api/session/password", {
        body: { ...(before ? { old: before.value } : {}), new: next.value },
      });
      whole.reset();
      say("The password is changed. It counts from your next sign-in on.");
    },
  });
}
