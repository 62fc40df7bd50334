// An alert on its way, and after: stopping it, putting it right, what came of it.

import { call, intention } from "./api.js";
import { mayRing, telling, text } from "./desk-decision.js";
import { counted, lasting } from "./desk-figures.js";
import { doing, field, form, inDialog, sure } from "./desk-forms.js";
import { progressView } from "./desk-progress.js";
import { report } from "./desk-report.js";
import { changes } from "./desk-words.js";
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
    ? make("a", { className: "button", href: `#/alerts/${alert.corrected_by}` }, "See its correction")
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

function inWords({ state, recipients, outcomes, released_at: released, finished_at: finished }) {
  if (!recipients) return state === "recalled" ? "Recalled before anybody got it." : "Nobody follows these topics yet, so nobody got it.";
  const took = (Date.parse(finished) - Date.parse(released)) / 1_000;
  const rest = OTHERS.filter(([key]) => outcomes[key]).map(([key, words]) => `${outcomes[key].toLocaleString(language)} ${words}`);
  const got = `${counted(outcomes.accepted, "reader")} of ${recipients.toLocaleString(language)} got it in ${lasting(took)}`;
  return rest.length ? `${got}; ${rest.join(", ")}.` : `${got}.`;
}

const OTHERS = [
  ["held", "held back by their own rules"],
  ["gone", "gone"],
  ["refused", "refused"],
  ["failed", "failed"],
  ["expired", "too late"],
  ["recalled", "recalled"],
];

function correcting(desk, alert) {
  return doing("Correct", () => correct(desk, alert), desk.tell);
}

/** In a dialog: what is being written there stays, whatever the page behind it comes to show. */
function correct(desk, alert) {
  const reached = counted(alert.outcomes.accepted, "reader");
  const who = alert.finished_at ? `the ${reached} who got it` : "exactly those who got it by then; the others get nothing";
  return inDialog({ title: "Correct it", className: "correction" }, (dialog, close) =>
    dialog.append(
      form({
        parts: [
          make("p", {}, `The correction replaces it, silently, on the screens of ${who}. It goes out at once.`),
          field({ label: "Title", name: "title", rows: 2, maxLength: 300, value: alert.title }),
          field({ label: "Text", name: "body", rows: 3, maxLength: 1_000, value: alert.body }),
          field({ label: "Link", name: "url", type: "url", maxLength: 2_048, value: alert.url }),
        ],
        action: "Send the correction",
        cancel: () => close(),
        send: async (whole) => {
          const { title, body, url } = whole.elements;
          const words = { title: title.value.trim(), body: body.value.trim(), url: url.value.trim() };
          const right = await call("POST", `api/alerts/${alert.id}/correct`, { body: changes(alert, words), once: intention() });
          close();
          desk.turned(right);
        },
      }),
    ),
  );
}
