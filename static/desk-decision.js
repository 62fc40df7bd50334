// Parts that every state of an alert shares: its words, its time, its buttons.

import { call } from "./api.js";
import { exactly } from "./desk-clock.js";
import { doing } from "./desk-forms.js";
import { listed, make, theirs, webAddress } from "./page.js";

export const mayRing = ({ session }) => session.editor.role !== "writer";

/** A button that does it and shows what came of it; trouble is said under the buttons. */
export function act(desk, alert, words, how, className = "", body) {
  return doing(words, async () => desk.turned(await call("POST", `api/alerts/${alert.id}/${how}`, { body })), desk.tell, className);
}

/** Where trouble is said; `desk.tell` says it. */
export function telling(desk) {
  const problem = make("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  desk.tell = (sentence) => {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  };
  return problem;
}

/** "on Saturday 28 November at 07:30 (Europe/Kyiv)" */
export const at = ({ due_at: due, time_zone: zone }) => (due ? ` on ${exactly(new Date(due), zone || undefined)}` : "");

/** The words, as readers get them. */
export function text(alert, { topics }) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const of = listed(alert.topics.map((slug) => names.get(slug) ?? slug));
  const href = webAddress(alert.url);
  const level = make("span", { className: alert.level === "breaking" ? "level-breaking" : "" }, LEVEL[alert.level]);
  return make(
    "blockquote",
    { className: "told" },
    make("p", { className: "told-title", dir: "auto" }, alert.title),
    ...(alert.body ? [make("p", { dir: "auto" }, alert.body)] : []),
    make("p", { className: "facts" }, level, " · ", ...of, " · by ", theirs(alert.made_by)),
    ...(href ? [make("p", { className: "facts" }, make("a", { href, rel: "noopener", target: "_blank" }, theirs(alert.url)))] : []),
  );
}

const LEVEL = { breaking: "Breaking", normal: "Normal", low: "Low" };
