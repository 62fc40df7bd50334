// Who else was let in, or could come in as oneself: it stands at the top until somebody has read it.

import { exactly } from "./desk-clock.js";
import { make } from "./page.js";

/** `session`: of whoever is signed in, or null. */
export function showNotes(place, session) {
  const key = session && `newsbell.notes.${session.editor.email}`;
  const read = Number((key && localStorage.getItem(key)) ?? 0);
  const unread = (session?.notes ?? []).filter(({ id }) => id > read);
  if (!unread.length) return place.replaceChildren();
  const lines = unread.map(({ at, text }) => make("li", {}, `${exactly(new Date(at))}: ${text}`));
  const done = make("button", { type: "button" }, "I have read this");
  done.addEventListener("click", () => {
    localStorage.setItem(key, String(Math.max(...unread.map(({ id }) => id))));
    place.replaceChildren();
  });
  place.replaceChildren(make("div", { className: "notes" }, make("ul", {}, ...lines), make("p", {}, WHAT_TO_DO, " ", done)));
}

const WHAT_TO_DO = "If you do not know why, ask, and tell an owner: links can be ended and people signed out under People.";
