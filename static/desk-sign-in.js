// Signing in: with a password, with a one-time link, or by the newsroom's own single sign-on.

import { call, home } from "./api.js";
import { field, form, inDialog } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { make } from "./page.js";

const BACK = {
  ended: "You have been signed out. Sign in again to go on: what you wrote is still here.",
  again: "That took too long, or began in another window. Sign in once more.",
  refused: "Your single sign-on knows you, but this desk does not. Ask an owner to add you.",
  slower: "That was tried too often. Wait a little, then sign in once more.",
  unreachable: "The single sign-on does not answer. Try again in a minute, or use your password.",
};

/** `wish`: {link} or {"sign-in": word} from the address, or null. `done` gets the session. */
export async function signIn(main, { wish, done }) {
  const place = make("section", { className: "entrance" });
  main.replaceChildren(place);
  await loading(place, {
    what: "the ways in",
    load: () => call("GET", "api/sign-in"),
    show: (ways) => (wish?.link ? withLink(ways, wish.link, done) : ways_in(ways, BACK[wish?.["sign-in"]], done)),
  });
  place.querySelector("input")?.focus();
}

/** The session ended under an open page. The new one of the same person, so that it can go on; else null. */
export function signInAgain({ editor }) {
  return inDialog({ title: "Sign in again", unseen: true }, (dialog, close) => {
    const place = make("div", {});
    const out = make("button", { type: "button", onclick: () => close() }, "Leave the desk");
    dialog.append(place, make("p", { className: "buttons" }, out));
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // Not by a key that was meant for another one.
    const done = (session) => (session.editor.email === editor.email ? close(session) : location.reload());
    signIn(place, { wish: { "sign-in": "ended" }, done });
  });
}

/** Under this name the tab knows where to come back to. */
export const PLACE = "newsbell.place";

const head = (title, words) => [make("h1", {}, title), ...(words ? [make("p", {}, words)] : [])];

const email = () =>
  field({ label: "E-mail", type: "email", name: "email", autocomplete: "username", required: true });

const password = (label, autocomplete, hint = "") =>
  field({ label, type: "password", name: "password", autocomplete, hint });

const value = (whole, name) => whole.elements[name]?.value.trim() || undefined;

async function enter(body, done) {
  done(await call("POST", "api/session", { body }));
}

function ways_in(ways, said, done) {
  const way = form({
    parts: [email(), password("Password", "current-password")],
    action: "Sign in",
    send: (whole) => enter({ email: value(whole, "email") ?? "", password: whole.elements.password.value }, done),
  });
  const parts = [...head("Sign in to the desk", said), way];
  const sso = ways.single_sign_on;
  if (sso) {
    const words = `Sign in with ${sso.name || "single sign-on"}`;
    const onclick = () => sessionStorage.setItem(PLACE, location.hash || "#/");
    const link = make("a", { className: "button", href: new URL(sso.url, home).href, onclick }, words);
    parts.push(make("p", { className: "or" }, "or"), make("p", {}, link));
  }
  parts.push(make("p", { className: "note-small" }, ways.first_owner ? FIRST : FORGOTTEN));
  return parts;
}

const FIRST =
  "Nobody owns this desk yet. Open the one-time link that ./newsbell up prints, or run: ./newsbell editor add you@example.com --role owner";
const FORGOTTEN = "No password, or forgotten it? An owner of this desk can give you a one-time link.";

function withLink(ways, link, done) {
  const first = ways.first_owner;
  const words = first
    ? "This link makes you the first owner of this desk. It works once."
    : "This link signs you in, once. You may choose a new password with it.";
  const rule = "At least 12 characters. A few words are good.";
  const way = form({
    parts: [
      ...(first ? [email()] : []),
      password(first ? "Choose a password" : "New password, if you want one", "new-password", rule),
    ],
    action: first ? "Open the desk" : "Sign in",
    send: (whole) =>
      enter({ link, email: value(whole, "email"), password: whole.elements.password.value || undefined }, done),
  });
  return [...head(first ? "Welcome to your desk" : "Sign in to the desk", words), way];
}
