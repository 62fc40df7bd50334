// The pace meter: how close the site is to what Chrome calls disruptive, and slows down or silences.

import { count, counted, figures, percent } from "./desk-figures.js";
import { make } from "./page.js";

const STEPS = [
  ["calm", "Calm"],
  ["busy", "Busy"],
  ["close", "Close to the line"],
];

export function paceMeter(pace) {
  const at = STEPS.findIndex(([verdict]) => verdict === pace.verdict);
  return [scale(at), make("p", { className: "verdict" }, pace.sentence), figures(entries(pace)), why()];
}

function scale(at) {
  const steps = STEPS.map(([, name], step) => {
    const part = make("li", {}, name);
    if (step === at) part.setAttribute("aria-current", "true");
    return part;
  });
  const list = make("ol", { className: "scale" }, ...steps);
  list.setAttribute("aria-label", "The pace");
  return list;
}

function entries(pace) {
  const slowed = Object.values(pace.throttled).reduce((sum, times) => sum + times, 0);
  const won = pace.readers_won_24h - pace.readers_lost_24h;
  return [
    { name: "Alerts today", figure: count(pace.alerts_today), note: `${count(pace.alerts_7d)} in 7 days` },
    { name: "Clicked", figure: percent(pace.clicked_share), note: "of what was handed over, in 7 days" },
    { name: "Closed", figure: percent(pace.closed_share), note: "of what was handed over, in 7 days" },
    { name: "Told to slow down", figure: counted(slowed, "time"), note: services(pace.throttled) },
    {
      name: "Readers",
      figure: signed(won),
      note: `${count(pace.readers_won_24h)} won, ${count(pace.readers_lost_24h)} lost in 24 hours`,
    },
  ];
}

const signed = (number) => `${number > 0 ? "+" : number < 0 ? "−" : "±"}${count(Math.abs(number))}`;

function services(throttled) {
  const names = Object.entries(throttled)
    .filter(([, times]) => times)
    .map(([lane]) => lane.replace(/^https?:\/\//, ""));
  return names.length ? `by ${names.join(", ")}` : "by no push service";
}

function why() {
  const told =
    "Chrome weighs how often a site pushes, how often it asks, and whether people open what it sends. A site it calls " +
    "disruptive is held to as few as 1,000 messages a minute, for 1, then 7, then 14 days; and where nearly nothing is " +
    "opened, Chrome takes the permission back by itself. Fewer alerts that more people open are the way out.";
  return make("details", { className: "more" }, make("summary", {}, "What the line is"), make("p", {}, told));
}
