// All alerts, the newest first: what waits for somebody, and what went out.

import { call, site } from "./api.js";
import { exactly } from "./desk-clock.js";
import { count } from "./desk-figures.js";
import { filterBar, topicOptions } from "./desk-filter.js";
import { loading } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { ago, make, theirs } from "./page.js";

const KINDS = [
  { key: "", name: "All", states: [] },
  { key: "waiting", name: "Waiting for somebody", states: ["draft", "proposed", "scheduled"] },
  { key: "going", name: "On their way", states: ["released", "sending"] },
  { key: "sent", name: "Sent", states: ["finished", "recalled"] },
];
const STATES = {
  draft: "Draft",
  proposed: "Waits for a second person",
  scheduled: "Scheduled",
  released: "Going out",
  sending: "Going out",
  finished: "Sent",
  recalled: "Recalled",
};

export async function view(main, { go }) {
  const place = make("div", {});
  const write = make("button", { type: "button", onclick: () => go("#/new") }, "Write an alert");
  const { topics } = await site();
  const choices = [
    { label: "Which", name: "is", options: KINDS.map(({ key, name }) => [key, name]) },
    { label: "Topic", name: "topic", options: topicOptions(topics) },
  ];
  const bar = filterBar({ search: "Search alerts", choices }, show);
  main.append(make("div", { className: "part-head" }, make("h1", { tabIndex: -1 }, "Alerts"), write), bar.element, place);
  let shown = null;
  function show({ q, is, topic }) {
    const states = KINDS.find(({ key }) => key === is)?.states ?? [];
    const query = new URLSearchParams([...states.map((state) => ["state", state]), ["q", q], ["topic", topic]].filter(([, value]) => value));
    const fresh = make("div", {});
    (shown ?? place).replaceWith(fresh);
    shown = fresh;
    return page(fresh, query, Boolean(String(query)));
  }
  await show(bar.wanted());
}

/** `after`: the end of the page before, under which this one comes. */
async function page(place, wanted, filtered, after = null) {
  const part = make("div", {});
  place.append(part);
  const query = new URLSearchParams(wanted);
  query.set("limit", "25");
  if (after) query.set("after", after);
  await loading(part, {
    what: after ? "older alerts" : "the alerts",
    load: () => call("GET", `api/alerts?${query}`),
    show: ({ items, next }) => [
      items.length ? table("Alerts", COLUMNS, items) : make("p", { className: "lone" }, filtered ? NONE_FITS : "No alerts here yet."),
      ...(next ? [older(place, wanted, filtered, next)] : []),
    ],
  });
}

const NONE_FITS = "No alert fits. Search for something else, or look at all of them.";

function older(place, wanted, filtered, next) {
  const button = make("button", { type: "button" }, "Older alerts");
  button.addEventListener("click", () => {
    button.parentElement.remove();
    page(place, wanted, filtered, next);
  });
  return make("p", {}, button);
}

const COLUMNS = [
  { name: "Alert", cell: ({ id, title }) => make("a", { href: `#/alerts/${id}` }, title) },
  { name: "State", cell: ({ state, corrects }) => (corrects ? `${STATES[state]} (correction)` : STATES[state]) },
  {
    name: "Level",
    cell: ({ level }) => make("span", { className: `level-${level}` }, level),
  },
  { name: "Readers", cell: ({ recipients }) => (recipients ? count(recipients) : "–"), figure: true },
  { name: "When", cell: when },
  { name: "By", cell: ({ made_by: who }) => theirs(who) },
];

function when({ released_at: released, due_at: due, created_at: made }) {
  const moment = new Date(released ?? due ?? made);
  const words = released || !due ? ago(moment, Date.now()) : exactly(moment);
  return make("time", { dateTime: moment.toISOString(), title: exactly(moment) }, words);
}
