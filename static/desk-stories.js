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
  const over = wayOver(context.go);
  main.append(over.element, make("div", { className: "two-panes" }, wire, pane));
  const list = storyList(wire, desk);
  let leavePane = () => {};
  const heard = { changed: list.changed, forgotten: list.forgotten };
  function turn([kind, id]) {
    leavePane();
    pane.replaceChildren();
    const chosen = Boolean(kind);
    main.dataset.shows = chosen ? "alert" : "stories";
    over.mark(chosen, kind ? location.hash : null);
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

/** Only a phone shows it, since it has one pane at a time: the way to the other one. */
function wayOver(go) {
  let last = null;
  const button = make("button", { type: "button", className: "quiet" });
  return {
    element: make("p", { className: "panes" }, button),
    mark(chosen, hash) {
      if (hash) last = hash.split("?")[0];
      button.textContent = chosen ? "Back to the list" : last ? "Back to the alert" : "Write an alert";
      button.onclick = () => go(chosen ? "#/" : (last ?? "#/new"));
    },
  };
}
