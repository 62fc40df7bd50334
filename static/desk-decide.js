// An alert that waits: for a second person's word, or for its time.

import { call } from "./api.js";
import { audiencePath } from "./desk-audience.js";
import { act, at, mayRing, telling, text } from "./desk-decision.js";
import { linkChange, whatItCorrects } from "./desk-correction.js";
import { counted } from "./desk-figures.js";
import { doing, field, form, inDialog } from "./desk-forms.js";
import { withSecondThoughts } from "./desk-ring.js";
import { wishOf, zones } from "./desk-when.js";
import { make } from "./page.js";

export function proposed(pane, desk, alert) {
  const problem = telling(desk);
  const mine = alert.proposed_by === desk.session.editor.email;
  const audience = make("p", { className: "audience" });
  const what = alert.corrects ? "send this correction" : "send it";
  const head = [
    make("h1", {}, mine ? "Waits for a second person" : "Your word is asked"),
    text(alert, desk),
    ...(alert.corrects ? [corrected(alert)] : []),
    audience,
    make("p", {}, alert.proposed_by === "newsbell" ? FEEDS : `${alert.proposed_by} wants to ${what}${at(alert)}. `, mine ? THEIRS : YOURS),
  ];
  const approve = act(desk, alert, "Approve and send", "approve", "main send", { version: alert.version });
  const back = act(desk, alert, mine ? "Take it back" : "Not so: back to the draft", "undo");
  const alone = doing("Send without a second person…", () => override(desk, alert), desk.tell, "quiet final");
  const buttons = !mayRing(desk) ? [] : mine ? [back, alone] : [approve, back];
  pane.append(...head, problem, make("p", { className: "buttons" }, ...buttons));
  reach(alert).then((rings) => {
    if (rings === null) return;
    audience.replaceChildren(make("b", {}, counted(rings, "reader")), ", once each.");
    approve.textContent = `Approve and send to ${counted(rings, "reader")}`;
  });
  return {};
}

/** The second person sees what changes, another link before all. */
function corrected(alert) {
  const place = make("div", {});
  const mind = (wrong) => place.append(...linkChange(wrong, alert).map((sentence) => make("p", { className: "note" }, sentence)));
  place.append(whatItCorrects(alert, mind).element);
  return place;
}

const THEIRS = "Another editor has to approve: they have been asked in their own browsers, and see it here.";
const FEEDS = "A feed brought it, and the rule of this newsroom asks for a person’s word. ";
const YOURS = "Read it once more: with your word it goes out, after ten seconds in which it can be taken back.";

async function reach({ corrects, topics, level, due_at: at, due_in: ahead }) {
  try {
    return (await call("GET", audiencePath({ corrects, topics, level, at: ahead > 0 ? at : null }))).rings;
  } catch {
    return null;
  }
}

/** Alone, and written down as such. */
function override(desk, alert) {
  return inDialog({ title: "Send without a second person?" }, (dialog, close) =>
    dialog.append(
      make("p", {}, "The rule of this newsroom asks for two people. Your reason is written into the audit, for everybody to read."),
      form({
        parts: [field({ label: "Why it cannot wait", name: "reason", rows: 2, maxLength: 500, required: true })],
        action: "Send it alone",
        cancel: () => close(),
        send: async (whole) => {
          const body = { override: whole.elements.reason.value.trim(), version: alert.version };
          const now = await call("POST", `api/alerts/${alert.id}/release`, { body });
          close();
          desk.turned(now);
        },
      }),
    ),
  );
}

const SOON = 60; // seconds: nearer than this, every second is counted down

export function scheduled(pane, desk, alert) {
  const problem = telling(desk);
  const due = performance.now() + alert.due_in * 1_000; // the server's clock, not this computer's
  const title = make("h1", {});
  const bar = make("progress", { max: desk.session.rules.undo_seconds, className: "countdown" });
  bar.setAttribute("aria-label", "Time to take it back");
  const told = make("p", { className: "unseen" });
  told.setAttribute("role", "status");
  const undo = act(desk, alert, "Take it back", "undo", "main undo");
  const buttons = make("p", { className: "buttons" }, ...(mayRing(desk) ? [undo] : []));
  const soon = alert.due_in <= SOON;
  pane.append(title, ...(soon ? [bar, told] : []), problem, buttons, text(alert, desk));
  if (!soon && mayRing(desk)) buttons.append(mover(pane, desk, alert));
  function tick() {
    const seconds = Math.max(0, (due - performance.now()) / 1_000);
    bar.value = Math.min(seconds, bar.max);
    const words = seconds > SOON ? `Goes out${at(alert)}` : seconds > 0 ? `Goes out in ${Math.ceil(seconds)} s` : "Going out…";
    if (title.textContent !== words) title.textContent = words;
    undo.hidden = seconds <= 0;
  }
  tick();
  const timer = setInterval(tick, soon ? 100 : 1_000);
  if (soon) {
    told.textContent = `It goes out in ${Math.ceil(alert.due_in)} seconds. You can take it back until then.`;
    // Whoever is at something else at this moment must not take it back with their next key.
    if (document.activeElement === document.body || pane.contains(document.activeElement)) undo.focus();
  }
  return { leave: () => clearInterval(timer) };
}

function mover(pane, desk, alert) {
  return doing("Move", () => {
    const place = make("div", {});
    const zone = alert.time_zone || desk.session.site.time_zone;
    const moving = form({
      parts: [
        field({ label: "Date and time", name: "at", type: "datetime-local", required: true }),
        field({ label: "On the clock of", name: "zone", options: zones(zone), value: zone }),
      ],
      action: "Move it",
      cancel: () => place.remove(),
      send: async (whole) => {
        const moved = await withSecondThoughts(alert, "schedule", wishOf(whole));
        if (moved) desk.turned(moved);
      },
    });
    place.append(moving);
    pane.append(place);
    moving.querySelector("input").focus();
  }, desk.tell);
}
