// A correction: an alert like every other, which takes the place of a wrong one with exactly those who got that.

import { call, intention, Problem } from "./api.js";
import { doing } from "./desk-forms.js";
import { make } from "./page.js";

/** Begins one as a draft; or goes to the one that there is. */
export function correcting(desk, alert) {
  return doing("Correct", () => begin(desk, alert), desk.tell);
}

async function begin(desk, alert) {
  try {
    const body = { draft: true, version: alert.version };
    desk.turned(await call("POST", `api/alerts/${alert.id}/correct`, { body, once: intention() }));
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 409) throw problem;
    const { corrected_by: theirs } = await call("GET", `api/alerts/${alert.id}`);
    if (!theirs) throw problem;
    desk.go(`#/alerts/${theirs}`);
  }
}

const host = (url) => {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
};

/** What is said of another link, before anybody sends it or approves it; nothing if it is the same. */
export function linkChange(wrong, right) {
  if (!wrong || wrong.url === right.url) return [];
  const hosts = host(wrong.url) === host(right.url) ? "" : ` That is another site: ${host(right.url)}, not ${host(wrong.url)}.`;
  return [`The link changes from ${wrong.url} to ${right.url}.${hosts}`];
}

/** What a correction takes the place of: fetched once, as `known()` when it is there, and in words as it stands. */
export function whatItCorrects({ corrects }, said = () => {}) {
  const element = make("div", { className: "corrects" });
  let wrong = null;
  call("GET", `api/alerts/${corrects}`).then(
    (found) => {
      wrong = found;
      element.replaceChildren(...inWords(found).map((sentence) => make("p", {}, sentence)));
      said(found);
    },
    () => element.replaceChildren(make("p", {}, "It takes the place of an alert that could not be fetched.")),
  );
  return { element, known: () => wrong };
}

function inWords({ title, state, finished_at: finished }) {
  const replaces = `It takes the place of “${title}”, silently, on the screens of exactly those who got that.`;
  if (["released", "sending"].includes(state)) return [replaces, "That one is still going out: sending this stops it at once."];
  const stopped = state === "recalled" ? ["That one was stopped, and stays so."] : [];
  return finished ? [replaces, ...stopped] : [replaces, "That one is being stopped."];
}
