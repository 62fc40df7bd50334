// The audit: who did what, as sentences; the newest first. It can be read and filtered, and by nobody changed.

import { call } from "./api.js";
import { filters, keepFilters } from "./desk-address.js";
import { exactly, saying } from "./desk-clock.js";
import { doing, explain, field } from "./desk-forms.js";
import { loading, status } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { make, theirs } from "./page.js";

const NOUNS = [
  ["", "Everything"],
  ["alert", "Alerts"],
  ["feed", "Feeds"],
  ["topic", "Topics"],
  ["editor", "People"],
  ["session", "Sign-ins"],
  ["link", "Sign-in links"],
  ["key", "API keys"],
  ["browser", "Own browsers"],
];

export function auditPart(place, { say }) {
  const list = make("div", {});
  const { form, wanted } = filter(() => refresh());
  const ask = (after) => call("GET", `api/audit?${new URLSearchParams({ ...wanted(), ...(after ? { after } : {}) })}`);
  const refresh = () => {
    list.replaceChildren();
    return loading(list, { what: "the audit", load: () => ask(), show: (page) => shown(page, ask, say) });
  };
  place.append(make("h2", {}, "Who did what"), form, list);
  refresh();
}

function filter(changed) {
  const kept = filters();
  const fields = [
    field({ label: "What", name: "action", options: NOUNS, value: kept.action ?? "" }),
    field({ label: "By", name: "by", autocomplete: "off", value: kept.by ?? "", placeholder: "ada@news.example" }),
    field({ label: "On", name: "subject", autocomplete: "off", value: kept.subject ?? "", placeholder: "an e-mail, an alert’s id …" }),
  ];
  const form = make("form", { className: "filter", noValidate: true }, ...fields, make("button", {}, "Show"));
  form.setAttribute("aria-label", "Filter the audit");
  const act = () => {
    keepFilters(wanted());
    changed();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  form.elements.action.addEventListener("change", act);
  const wanted = () =>
    Object.fromEntries(
      [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value),
    );
  return { form, wanted };
}

function shown({ items, next }, ask, say) {
  if (!items.length) return [status("Nothing of this kind has been written down.")];
  const whole = listed(items);
  return [whole, ...(next ? [older(whole, next, ask, say)] : [])];
}

/** The next page goes on under this one; the keyboard goes to its first line. */
function older(whole, next, ask, say) {
  let cursor = next;
  const problem = make("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  const button = doing(
    "Older entries",
    async () => {
      problem.hidden = true;
      try {
        const page = await ask(cursor);
        const rows = [...listed(page.items).querySelectorAll("tbody tr")];
        whole.querySelector("tbody").append(...rows);
        rows[0].tabIndex = -1;
        rows[0].focus();
        cursor = page.next;
        if (!cursor) button.replaceWith(make("p", { className: "lone" }, "This is the beginning."));
      } catch (error) {
        explain(problem, error);
      }
    },
    say,
  );
  return make("div", {}, problem, button);
}

const listed = (items) =>
  table(
    "Who did what",
    [
      { name: "When", cell: ({ at }) => when(at) },
      { name: "Who", cell: ({ actor }) => theirs(actor) },
      { name: "What", cell: ({ action }) => inWords(action) },
      { name: "On", cell: ({ subject, action }) => subjectOf(subject, action) },
      { name: "More", cell: ({ detail }) => theirs(details(detail)) },
    ],
    items,
  );

const clock = saying({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

function when(text) {
  const date = new Date(text);
  return make("time", { dateTime: text, title: exactly(date) }, clock(date));
}

const WORDS = {
  ...{ "alert.make": "wrote an alert", "alert.edit": "changed a draft", "alert.delete": "deleted a draft" },
  ...{
    "alert.release": "released an alert",
    "alert.schedule": "scheduled an alert",
    "alert.undo": "took an alert back",
  },
  ...{ "alert.propose": "asked for approval", "alert.approve": "approved an alert", "alert.test": "tested an alert" },
  ...{ "alert.override": "did without approval", "alert.correct": "corrected an alert" },
  ...{ "alert.recall": "recalled an alert", "session.open": "signed in", "session.end": "ended a session" },
  ...{ "session.refused": "was refused", "link.made": "made a sign-in link", "link.used": "used a sign-in link" },
  ...{ "editor.add": "added a person", "editor.change": "changed a person", "editor.disable": "disabled a person" },
  ...{ "browser.add": "added an own browser", "browser.remove": "removed an own browser" },
  ...{ "key.add": "made a key", "key.revoke": "revoked a key" },
  ...{ "feed.add": "added a feed", "feed.change": "changed a feed", "feed.delete": "removed a feed" },
  ...{ "feed.poll": "asked a feed", "topic.add": "added a topic", "topic.change": "changed a topic" },
  ...{ "topic.delete": "deleted a topic", "feed.pause": "paused a feed", "feed.resume": "resumed a feed" },
};

/** What is not among them is as the server names it. */
const inWords = (action) => WORDS[action] ?? action.replaceAll(/[._]/g, " ");

const subjectOf = (subject, action) =>
  action.startsWith("alert.") && subject ? make("a", { href: `#/alerts/${subject}` }, "the alert") : theirs(subject ?? "");

/** What is empty is left out; what is simply so needs no "true". */
function details(detail) {
  const telling = Object.entries(detail).filter(([, value]) => value !== null && value !== "" && value?.length !== 0);
  return telling
    .map(([name, value]) => (value === true ? plain(name) : `${plain(name)}: ${told(value, name)}`))
    .join("; ");
}

const plain = (name) => name.replaceAll("_", " ");

function told(value, name) {
  if (Array.isArray(value)) return value.map((each) => told(each, name)).join(", ");
  if (/_at$/.test(name) && !Number.isNaN(Date.parse(value))) return clock(new Date(value));
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}
