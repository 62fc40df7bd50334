// One alert in its pane, whatever state it is in: written, approved, counted down, on its way, done.

import { call } from "./api.js";
import { composer } from "./desk-composer.js";
import { proposed, scheduled } from "./desk-decide.js";
import { listen } from "./desk-live.js";
import { status, trouble } from "./desk-loading.js";
import { ended, going } from "./desk-sent.js";
import { make } from "./page.js";

const LIVE = new Set(["proposed", "scheduled", "released", "sending"]);

/** Fills the pane and follows the alert; returns what to do when it is left. */
export function alertPane(pane, desk) {
  let shown = null; // the state that is on the page
  let view = null; // {update?, leave?} of what is on the page; leave may take a moment to save
  let mute = () => {};
  let left = false;
  const own = { ...desk, turned };

  /** What came of something done here. Lines opened before it may still bring what was true then: they are closed. */
  function turned(alert) {
    mute();
    if (left) return;
    if (alert.id !== desk.id) {
      desk.changed(alert);
      return desk.go(`#/alerts/${alert.id}`);
    }
    show(alert);
    if (goesOn(alert)) follow();
  }

  function show(alert) {
    desk.changed(alert);
    const kind = VIEWS[alert.state] === ended && goesOn(alert) ? going : VIEWS[alert.state];
    if (shown === looks(kind, alert)) view.update?.(alert);
    else draw(alert, kind);
  }

  function draw(alert, kind) {
    const held = pane.contains(document.activeElement);
    view?.leave?.();
    pane.replaceChildren();
    shown = looks(kind, alert);
    view = kind(pane, own, alert);
    if (held && !pane.contains(document.activeElement)) pane.focus({ preventScroll: true });
    if (pane.getBoundingClientRect().top < 0) pane.scrollIntoView(); // the new state begins at its top
  }

  function follow() {
    mute = listen(() => `api/alerts/${desk.id}/events`, { progress: (alert) => (goesOn(alert) ? show(alert) : turned(alert)) });
  }

  async function begin() {
    const title = make("h1", {}, "Alert");
    pane.replaceChildren(title, status("Fetching the alert…"));
    try {
      turned(await call("GET", `api/alerts/${desk.id}`));
    } catch (problem) {
      const again = make("button", { type: "button", className: "main", onclick: begin }, "Try again");
      if (!left) pane.replaceChildren(title, trouble(problem, "the alert"), make("p", { className: "lone" }, again));
    }
  }
  begin();
  return () => {
    left = true;
    mute();
    return view?.leave?.();
  };
}

/** What makes a page another one; the rest is an update of it. */
const looks = (kind, { due_at, version, proposed_by }) => [kind.name, due_at, version, proposed_by].join(" ");

const goesOn = ({ state, finished_at: finished }) => LIVE.has(state) || (state === "recalled" && !finished);

const VIEWS = { draft: drafted, proposed, scheduled, released: going, sending: going, finished: ended, recalled: ended };

function drafted(pane, desk, alert) {
  return { leave: composer(pane, desk, alert) };
}
