// Stories on the left, as they come; on the right the alert that is made of one. On a phone they are two tabs.

import { site } from "./api.js";
import { alertPane } from "./desk-alert.js";
import { newAlert } from "./desk-composer.js";
import { storyList } from "./desk-wire.js";
import { make } from "./page.js";

export async function view(main, context) {
  const { topics } = await site();
  const desk = { ...context, topics };
  const wire = make("section", { className: "wire" });
  const pane = make("section", { className: "pane", tabIndex: -1 });
  wire.setAttribute("aria-label", "Stories");
  pane.setAttribute("aria-label", "Alert");
  const tabs = tabList(context.go);
  main.append(tabs.element, make("div", { className: "two-panes" }, wire, pane));
  const list = storyList(wire, desk);
  let leavePane = () => {};
  const heard = { changed: list.changed, forgotten: list.forgotten };
  function turn([kind, id]) {
    leavePane();
    pane.replaceChildren();
    const chosen = Boolean(kind);
    main.dataset.shows = chosen ? "alert" : "stories";
    tabs.mark(chosen, kind ? location.hash : null);
    list.mark(kind === "alerts" ? id : null);
    if (kind === "alerts") leavePane = alertPane(pane, { ...desk, ...heard, id });
    else if (kind === "new") leavePane = newAlert(pane, { ...desk, ...heard, story: list.story(id) });
    else pane.append(nothingChosen(context));
    if (chosen) pane.focus({ preventScroll: true });
  }
  turn(context.parameters);
  return {
    turn,
    leave() {
      list.leave();
      return leavePane();
    },
  };
}

function nothingChosen({ go }) {
  const write = make("button", { type: "button", onclick: () => go("#/new") }, "Write an alert from nothing");
  return make(
    "div",
    { className: "nothing" },
    make("p", { className: "lone" }, "Choose a story to make an alert of it."),
    make("p", {}, write),
  );
}

/** Only a phone shows it: one pane at a time. */
function tabList(go) {
  let last = "#/new";
  const stories = make("button", { type: "button", onclick: () => go("#/") }, "Stories");
  const alert = make("button", { type: "button", onclick: () => go(last) }, "Alert");
  const element = make("p", { className: "either panes" }, stories, alert);
  return {
    element,
    mark(chosen, hash) {
      if (hash) last = hash;
      stories.setAttribute("aria-pressed", String(!chosen));
      alert.setAttribute("aria-pressed", String(chosen));
    },
  };
}
