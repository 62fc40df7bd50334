// An alert on its way, and after: stopping it, putting it right, what came of it.

import { call } from "./api.js";
import { correcting } from "./desk-correction.js";
import { mayRing, telling, text } from "./desk-decision.js";
import { counted, lasting } from "./desk-figures.js";
import { doing, sure } from "./desk-forms.js";
import { progressView } from "./desk-progress.js";
import { report } from "./desk-report.js";
import { language, make } from "./page.js";

export function going(pane, desk, alert) {
  const problem = telling(desk);
  const progress = progressView();
  const title = make("h1", {}, "On its way");
  const stop = doing("Stop", () => recall(desk, alert), desk.tell, "final");
  const buttons = make("p", { className: "buttons" }, ...(mayRing(desk) ? [stop, correcting(desk, alert)] : []));
  pane.append(title, progress.element, problem, buttons, text(alert, desk));
  const update = (now) => {
    const stopping = now.state === "recalled";
    title.textContent = stopping ? "Stopping" : "On its way";
    stop.hidden = stopping;
    progress.show(now);
  };
  update(alert);
  return { update };
}

async function recall(desk, alert) {
  const words = "Who has not got it yet never will. Those who have it keep it: a correction replaces it on their screens.";
  if (!(await sure({ question: "Stop sending this alert?", words, yes: "Stop it", no: "Let it go on" }))) return;
  desk.turned(await call("POST", `api/alerts/${alert.id}/recall`));
}

export function ended(pane, desk, alert) {
  const problem = telling(desk);
  const correct = alert.corrected_by
    ? make("a", { className: "button", href: `#/alerts/${alert.corrected_by}` }, "Go to its correction")
    : correcting(desk, alert);
  const place = make("div", {});
  pane.append(
    make("h1", {}, alert.state === "recalled" ? "Recalled" : alert.corrects ? "Correction sent" : "Sent"),
    make("p", { className: "summary-line" }, inWords(alert)),
    text(alert, desk),
    problem,
    make("p", { className: "buttons" }, ...(mayRing(desk) && (alert.outcomes.accepted || alert.corrected_by) ? [correct] : [])),
    place,
  );
  return { leave: alert.recipients ? report(place, alert.id) : undefined };
}

const NOBODY = "Nobody follows these topics yet, so nobody got it.";
const NOBODY_TO_CORRECT = "Nobody had got the wrong one, so there was nothing to replace.";

function inWords({ state, corrects, recipients, outcomes, released_at: released, finished_at: finished }) {
  if (!recipients) return state === "recalled" ? "Recalled before anybody got it." : corrects ? NOBODY_TO_CORRECT : NOBODY;
  const took = (Date.parse(finished) - Date.parse(released)) / 1_000;
  const rest = OTHERS.filter(([key]) => outcomes[key]).map(([key, words]) => `${outcomes[key].toLocaleString(language)} ${words}`);
  const of = counted(recipients, "reader");
  const handed = `Handed over for ${outcomes.accepted.toLocaleString(language)} of ${of} in ${lasting(took)}`;
  return rest.length ? `${handed}; ${rest.join(", ")}.` : `${handed}.`;
}

const OTHERS = [
  ["held", "held back by their own rules"],
  ["gone", "gone"],
  ["refused", "refused"],
  ["failed", "failed"],
  ["expired", "too late"],
  ["recalled", "recalled"],
];
