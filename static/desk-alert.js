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
  let view = null; // {update?, leave?} of what is on the page
  let mute = () => {};
  let left = false;
  const own = { ...desk, turned };

  function turned(alert) {
    if (left) return;
    desk.changed(alert);
    if (alert.id !== desk.id) return desk.go(`#/alerts/${alert.id}`);
    const open = alert.state === "recalled" && !alert.finished_at;
    const kind = VIEWS[alert.state] === ended && open ? going : VIEWS[alert.state];
    if (shown === `${kind.name} ${alert.due_at}` && view?.update) view.update(alert);
    else draw(alert, kind);
    if (LIVE.has(alert.state) || open) follow();
  }

  function draw(alert, kind) {
    const held = pane.contains(document.activeElement);
    view?.leave?.();
    pane.replaceChildren();
    shown = `${kind.name} ${alert.due_at}`;
    view = kind(pane, own, alert);
    if (held && !pane.contains(document.activeElement)) pane.focus({ preventScroll: true });
    if (pane.getBoundingClientRect().top < 0) pane.scrollIntoView(); // the new state begins at its top
  }

  let following = false;
  function follow() {
    if (following) return;
    following = true;
    const path = `api/alerts/${desk.id}/events`;
    mute = listen(path, {
      progress: (alert) => (alert.state === "draft" ? unfollow(alert) : turned(alert)),
      end: () => {
        following = false;
        call("GET", `api/alerts/${desk.id}`).then(turned, () => {});
      },
    });
  }

  function unfollow(alert) {
    mute();
    following = false;
    turned(alert);
  }

  async function begin() {
    pane.replaceChildren(status("Fetching the alert…"));
    try {
      turned(await call("GET", `api/alerts/${desk.id}`));
    } catch (problem) {
      const again = make("button", { type: "button", className: "main", onclick: begin }, "Try again");
      if (!left) pane.replaceChildren(trouble(problem, "the alert"), make("p", { className: "lone" }, again));
    }
  }
  begin();
  return () => {
    left = true;
    mute();
    view?.leave?.();
  };
}

const VIEWS = { draft: drafted, proposed, scheduled, released: going, sending: going, finished: ended, recalled: ended };

function drafted(pane, desk, alert) {
  return { leave: composer(pane, desk, alert) };
}
