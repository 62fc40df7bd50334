// The audit: who did what, as sentences; the newest first. It can be read and filtered, and by nobody changed.

import { call } from "./api.js";
import { doing, explain, field } from "./desk-forms.js";
import { loading, status } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { exactly, language, make } from "./page.js";

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
  const fields = [
    field({ label: "What", name: "action", options: NOUNS, value: "" }),
    field({ label: "By", name: "by", autocomplete: "off", placeholder: "ada@news.example" }),
    field({ label: "On", name: "subject", autocomplete: "off", placeholder: "an e-mail, an alert’s id …" }),
  ];
  const form = make("form", { className: "filter", noValidate: true }, ...fields, make("button", {}, "Show"));
  form.setAttribute("aria-label", "Filter the audit");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changed();
  });
  form.elements.action.addEventListener("change", changed);
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
        const rows = [...listed(page.items).tBodies[0].rows];
        whole.tBodies[0].append(...rows);
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
      { name: "Who", cell: ({ actor }) => actor },
      { name: "What", cell: ({ action }) => inWords(action) },
      { name: "On", cell: ({ subject, action }) => subjectOf(subject, action) },
      { name: "More", cell: ({ detail }) => details(detail) },
    ],
    items,
  );

const clock = new Intl.DateTimeFormat(language, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

function when(text) {
  const date = new Date(text);
  return make("time", { dateTime: text, title: exactly(date) }, clock.format(date));
}

/** "alert.release" as "alert: release": the names are the server's, and few enough to be plain. */
const inWords = (action) =>
  action
    .split(".")
    .map((word) => word.replaceAll("_", " "))
    .join(": ");

const subjectOf = (subject, action) =>
  action.startsWith("alert.") && subject ? make("a", { href: `#/alerts/${subject}` }, "the alert") : subject;

function details(detail) {
  const parts = Object.entries(detail).map(([name, value]) => `${name.replaceAll("_", " ")}: ${told(value)}`);
  return parts.join("; ");
}

function told(value) {
  if (Array.isArray(value)) return value.map(told).join(", ");
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}
