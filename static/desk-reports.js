// What came of it: the pace, the day and the week on one page. The report of one alert stands on the alert's own page.

import { call } from "./api.js";
import { saying } from "./desk-clock.js";
import { count, counted, figures, share } from "./desk-figures.js";
import { loading } from "./desk-loading.js";
import { paceMeter } from "./desk-pace.js";
import { exports } from "./desk-report.js";
import { table } from "./desk-table.js";
import { language, make } from "./page.js";

export { report } from "./desk-report.js";

const REFRESH = 60_000; // milliseconds
const A_DAY = 24 * 3_600_000; // milliseconds

export async function view(main) {
  const places = Object.fromEntries(["pace", "day", "week"].map((name) => [name, make("div", {})]));
  main.append(
    make("h1", { tabIndex: -1 }, "Reports"),
    part("Pace", "pace-title", places.pace),
    part("The last 24 hours", "day-title", places.day),
    part("The last 7 days", "week-title", places.week),
  );
  const fetchAll = () => {
    loading(places.pace, { what: "the pace", load: () => call("GET", "api/pace"), show: paceMeter });
    loading(places.day, { what: "the day", load: () => call("GET", "api/reports?days=1"), show: day });
    loading(places.week, { what: "the week", load: () => call("GET", "api/reports?days=7"), show: week });
  };
  fetchAll();
  const timer = setInterval(() => document.hidden || busy(main) || fetchAll(), REFRESH);
  return () => clearInterval(timer);
}

/** Somebody has unfolded something: it does not fold itself up again. */
const busy = (main) => main.querySelector("details[open]");

function part(title, id, ...content) {
  const section = make("section", { className: "part" }, make("h2", { id }, title), ...content);
  section.setAttribute("aria-labelledby", id);
  return section;
}

function day({ items }) {
  if (!items.length) return [make("p", { className: "lone" }, "No alert has been released in the last 24 hours.")];
  return [figures(sums(items)), alerts("Alerts of the last 24 hours", items), exports("/api/reports", "?days=1")];
}

function week({ items, days }) {
  if (!items.length) return [make("p", { className: "lone" }, "No alert has been released in the last 7 days.")];
  const before = items.filter(({ alert }) => Date.now() - Date.parse(alert.released_at) > A_DAY);
  const earlier = before.length
    ? [make("h3", {}, "Before the last 24 hours"), alerts("Alerts of the days before", before)]
    : [];
  return [figures(sums(items)), perDay(days), ...earlier, exports("/api/reports", "?days=7")];
}

function sums(items) {
  const [handed, clicked, closed, stopped, off] = ["delivered", "clicked", "closed", "stopped", "topic_off"].map(
    (key) => items.reduce((sum, item) => sum + item[key], 0),
  );
  return [
    { name: "Alerts", figure: count(items.length) },
    { name: "Handed over", figure: count(handed), note: "messages" },
    { name: "Clicked", figure: count(clicked), note: share(clicked, handed) },
    { name: "Closed", figure: count(closed), note: share(closed, handed) },
    { name: "Stopped all", figure: count(stopped), note: "readers" },
    { name: "Gave up a topic", figure: count(off), note: "readers" },
  ];
}

const weekday = new Intl.DateTimeFormat(language, { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });

function perDay(days) {
  const most = Math.max(1, ...days.map(({ delivered }) => delivered));
  const when = (cell) => (day) => (day.alerts ? cell(day) : ""); // Nothing to say of a day without alerts.
  const columns = [
    { name: "Day", cell: ({ day }) => weekday.format(new Date(day)) },
    { name: "Alerts", cell: ({ alerts }) => (alerts ? count(alerts) : "none"), figure: true },
    {
      name: "Handed over",
      cell: when(({ delivered }) => make("span", { className: "drawn" }, bar(delivered / most), count(delivered))),
      figure: true,
    },
    {
      name: "Clicked",
      cell: when(({ clicked, delivered }) => [count(clicked), aside(clicked && share(clicked, delivered))]),
      figure: true,
    },
    { name: "Stopped all", cell: when(({ stopped }) => count(stopped)), figure: true },
  ];
  return table(
    "The days",
    columns,
    days.toSorted((one, other) => other.day.localeCompare(one.day)),
  );
}

function bar(ratio) {
  const drawn = make("span", { className: "bar" });
  drawn.style.setProperty("--ratio", ratio);
  return drawn;
}

const aside = (text) => (text ? make("small", {}, text) : "");
const clock = saying({ weekday: "short", hour: "2-digit", minute: "2-digit" });

function alerts(caption, items) {
  const columns = [
    { name: "Alert", cell: ({ alert }) => named(alert) },
    {
      name: "Released",
      cell: ({ alert }) => make("time", { dateTime: alert.released_at }, clock(new Date(alert.released_at))),
    },
    {
      name: "Handed over",
      cell: ({ delivered, alert }) => [count(delivered), aside(`of ${counted(alert.recipients, "reader")}`)],
      figure: true,
    },
    {
      name: "Clicked",
      cell: ({ clicked, delivered }) => [count(clicked), aside(clicked && share(clicked, delivered))],
      figure: true,
    },
    { name: "Stopped all", cell: ({ stopped }) => count(stopped), figure: true },
  ];
  return table(caption, columns, items, { most: 25 });
}

function named({ id, title, level }) {
  const link = make("a", { href: `#/alerts/${id}` }, title);
  return level === "breaking" ? [make("bdi", { className: "level-breaking" }, "Breaking "), link] : link;
}
