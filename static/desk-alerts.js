// All alerts, the newest first: what waits for somebody, and what went out.

import { call } from "./api.js";
import { exactly } from "./desk-clock.js";
import { count } from "./desk-figures.js";
import { loading } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { ago, make } from "./page.js";

const KINDS = [
  { name: "All", states: [] },
  { name: "Waiting for somebody", states: ["draft", "proposed", "scheduled"] },
  { name: "On their way", states: ["released", "sending"] },
  { name: "Sent", states: ["finished", "recalled"] },
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
  const buttons = KINDS.map((kind) => make("button", { type: "button", onclick: () => choose(kind) }, kind.name));
  main.append(
    make("div", { className: "part-head" }, make("h1", { tabIndex: -1 }, "Alerts"), write),
    make("p", { className: "either" }, ...buttons),
    place,
  );
  function choose(kind) {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(KINDS[at] === kind)));
    place.replaceChildren();
    return page(place, kind.states);
  }
  await choose(KINDS[0]);
}

async function page(place, states, after = null) {
  const part = make("div", {});
  place.append(part);
  const query = new URLSearchParams(states.map((state) => ["state", state]));
  if (after) query.set("after", after);
  await loading(part, {
    what: after ? "older alerts" : "the alerts",
    load: () => call("GET", `api/alerts?${query}`),
    show: ({ items, next }) => [
      items.length ? table("Alerts", COLUMNS, items) : make("p", { className: "lone" }, "No alerts here yet."),
      ...(next ? [older(place, states, next)] : []),
    ],
  });
}

function older(place, states, next) {
  const button = make("button", { type: "button" }, "Older alerts");
  button.addEventListener("click", () => {
    button.parentElement.remove();
    page(place, states, next);
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
  { name: "By", cell: ({ made_by: who }) => who },
];

function when({ released_at: released, due_at: due, created_at: made }) {
  const moment = new Date(released ?? due ?? made);
  const words = released || !due ? ago(moment, Date.now()) : exactly(moment);
  return make("time", { dateTime: moment.toISOString(), title: exactly(moment) }, words);
}
