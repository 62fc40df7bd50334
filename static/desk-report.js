// The report of one alert: how far it came, how fast, and what readers did.

import { call } from "./api.js";
import { minutesChart } from "./desk-chart.js";
import { about, count, counted, figures, lasting, share } from "./desk-figures.js";
import { loading } from "./desk-loading.js";
import { table } from "./desk-table.js";
import { make } from "./page.js";

const AGAIN = { going: 4_000, young: 60_000 }; // milliseconds until the figures are fetched again
const YOUNG = 24 * 3_600_000; // milliseconds for which stops and clicks are still counted to an alert

/** Fills `parent` and keeps its figures fresh; what it returns ends that. */
export function report(parent, alertId) {
  const place = make("section", { className: "report" });
  parent.append(place);
  const kept = { at: 0 }; // the span of the chart, which stays when the figures are new
  let timer;
  let ended = false;
  const load = () => call("GET", `api/alerts/${alertId}/report`);
  const show = (told) => {
    later(pause(told.alert, Date.now()));
    return told.alert.released_at ? whole(told, kept) : [unreleased()];
  };
  const refresh = () => loading(place, { what: "the report", load, show });
  // What somebody has unfolded does not fold itself up.
  const quietly = (wait) => (place.querySelector("details[open]") || document.hidden ? later(wait) : refresh());
  const later = (wait) => wait && !ended && (timer = setTimeout(() => place.isConnected && quietly(wait), wait));
  refresh();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}

function pause({ released_at: released, finished_at: finished }, now) {
  if (!released) return null;
  if (!finished) return AGAIN.going;
  return now - Date.parse(released) < YOUNG ? AGAIN.young : null;
}

const unreleased = () =>
  make("p", { className: "lone" }, "This alert has not been released, so there is nothing to report yet.");

function whole(told, kept) {
  const { alert } = told;
  const path = `/api/alerts/${alert.id}/report`;
  return [
    make("h2", {}, "What came of it"),
    make("p", { className: "speed" }, ...speed(told)),
    figures(results(told)),
    make("p", { className: "note-small" }, explained(told)),
    ...(told.minutes.length ? [minutesChart(sinceRelease(told), kept)] : []),
    ...services(told.lanes),
    exports(path),
  ];
}

// How fast.

function speed({ alert, delivered, seconds_to: to }) {
  if (!alert.finished_at && !to[50]) return [`Handed over for ${counted(delivered, "reader")} so far; it is still going.`];
  const parts = [
    ["half", 50],
    ["90\u00a0%", 90],
    ["99\u00a0%", 99],
  ].filter(([, key]) => to[key] !== null && to[key] !== undefined);
  if (!parts.length) return ["There was nobody to hand it over for."];
  const said = parts.map(([name, key], at) => [at ? `${name} after ` : "", make("b", {}, lasting(to[key]))]);
  const start = "Handed over for half of the readers after ";
  return [
    start,
    ...said.flatMap((part, at) => (at ? [", for ", ...part] : part)),
    alert.finished_at ? "." : "; it is still going.",
  ];
}

// What readers did. What browsers tell us is a sample or nothing: Safari, for one, tells nothing.

function results({ alert, delivered, shown, clicked, closed, stopped, topic_off: off }) {
  const of = (part) => (share(part, delivered) ? `${share(part, delivered)} of those` : "");
  return [
    { name: "Handed over", figure: count(delivered), note: `of ${counted(alert.recipients, "reader")}` },
    {
      name: "Shown",
      figure: shown.counted ? about(shown.estimated) : "–",
      note: shown.counted ? of(shown.estimated) : "",
    },
    { name: "Clicked", figure: count(clicked), note: of(clicked) },
    { name: "Closed", figure: count(closed), note: of(closed) },
    { name: "Stopped all", figure: count(stopped), note: "within 24 hours" },
    { name: "Gave up a topic", figure: count(off), note: "within 24 hours" },
  ];
}

function explained({ alert, shown }) {
  const counting =
    Date.now() - Date.parse(alert.released_at) < YOUNG
      ? "Readers’ clicks and stops are counted for a day, so these figures still grow. "
      : "";
  const asked = shown.sample < 1 ? `one browser in ${Math.round(1 / shown.sample)} is` : "browsers are";
  const handed = "“Handed over” is what push services took; a browser that is off gets it later. ";
  return `${counting}${handed}“Shown” is an estimate: ${asked} asked to tell, ${count(shown.counted)} did, and not all can.`;
}

function sinceRelease({ alert, minutes }) {
  const start = Math.floor(Date.parse(alert.released_at) / 60_000);
  return minutes.map((each) => ({ ...each, minute: Math.max(0, minuteOf(each.minute, start)) }));
}

const minuteOf = (minute, start) =>
  typeof minute === "number" ? minute : Math.floor(Date.parse(minute) / 60_000) - start;

// By push service.

const OUTCOMES = [
  ["waiting", "Waiting"],
  ["gone", "Gone"],
  ["refused", "Refused"],
  ["failed", "Failed"],
  ["held", "Held back"],
  ["expired", "Expired"],
  ["recalled", "Recalled"],
];

function services(lanes) {
  if (!lanes.length) return [];
  const happened = OUTCOMES.filter(([key]) => lanes.some((lane) => lane[key]));
  const columns = [
    { name: "Push service", cell: ({ service, lane }) => service || lane },
    { name: "Readers", cell: ({ recipients }) => count(recipients), figure: true },
    { name: "Handed over", cell: ({ accepted }) => count(accepted), figure: true },
    { name: "Clicked", cell: ({ clicked }) => count(clicked), figure: true },
    ...happened.map(([key, name]) => ({ name, cell: (lane) => count(lane[key] ?? 0), figure: true })),
    { name: "90\u00a0% after", cell: ({ seconds_to: to }) => lasting(to?.[90]), figure: true },
  ];
  return [make("h3", {}, "By push service"), table("By push service", columns, lanes)];
}

export function exports(path, query = "") {
  const csv = make("a", { href: `${path}.csv${query}`, download: "" }, "Download as CSV");
  const json = make("a", { href: `${path}${query}`, target: "_blank", rel: "noopener" }, "Open as JSON");
  return make("p", { className: "exports" }, csv, " ", json);
}
