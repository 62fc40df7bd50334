// How an alert goes out, as it goes: every number of one event is of one moment, so they add up.

import { count, counted, figures, lasting } from "./desk-figures.js";
import { table } from "./desk-table.js";
import { make } from "./page.js";

const ALOUD = 10_000; // milliseconds between two readings aloud

export function progressView() {
  const bar = make("progress", { className: "sending" });
  bar.setAttribute("aria-label", "Handed over");
  const line = make("p", { className: "speed" });
  const numbers = make("div", {});
  const lanes = make("div", {});
  const troubles = make("ul", { className: "warnings" });
  const aloud = make("p", { className: "unseen" });
  aloud.setAttribute("role", "status");
  let last = -ALOUD;
  const minded = make("div", {}, troubles);
  minded.setAttribute("role", "alert");
  const element = make("div", { className: "progress" }, line, bar, aloud, minded, numbers, lanes);
  return {
    element,
    show(alert) {
      const { recipients, outcomes, per_second: speed = 0, seconds_to: to = {} } = alert;
      const done = recipients - outcomes.waiting;
      bar.max = Math.max(recipients, 1);
      if (recipients) bar.value = done;
      else bar.removeAttribute("value");
      const words = recipients ? `${count(done)} of ${counted(recipients, "reader")}.` : "Writing down who gets it…";
      line.textContent = words;
      numbers.replaceChildren(
        figures([
          { name: "Handed over", figure: count(outcomes.accepted) },
          { name: "Waiting", figure: count(outcomes.waiting) },
          { name: "A second", figure: count(Math.round(speed)) },
          { name: "Half after", figure: lasting(to[50]) },
          { name: "90\u00a0% after", figure: lasting(to[90]) },
        ]),
      );
      show(lanes, alert.lanes ?? []);
      tell(troubles, alert.troubles ?? []);
      if (performance.now() - last > ALOUD) {
        last = performance.now();
        aloud.textContent = words;
      }
    },
  };
}

function tell(list, sentences) {
  if (list.textContent === sentences.join("")) return;
  list.replaceChildren(...sentences.map((sentence) => make("li", {}, sentence)));
}

function show(place, lanes) {
  if (!lanes.length) return place.replaceChildren();
  const columns = [
    { name: "Push service", cell: ({ service, lane }) => service || lane.replace(/^https?:\/\//, "") },
    { name: "Handed over", cell: ({ outcomes }) => count(outcomes.accepted), figure: true },
    { name: "Waiting", cell: ({ outcomes }) => count(outcomes.waiting), figure: true },
    { name: "Not handed over", cell: ({ outcomes }) => count(rest(outcomes)), figure: true },
  ];
  place.replaceChildren(table("By push service", columns, lanes));
}

const rest = ({ accepted, waiting, ...others }) => Object.values(others).reduce((sum, each) => sum + each, 0);
