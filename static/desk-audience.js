// Whom an alert would ring for, each reader once, and how many their own rules keep it from.

import { call } from "./api.js";
import { counted } from "./desk-figures.js";
import { make } from "./page.js";

const PAUSE = 300; // milliseconds

/** `at`: when, if not now, as the server takes it. `corrects`: who got that alert, instead of followers of topics. */
export function audiencePath({ corrects = null, topics, level, at, time_zone: zone }) {
  if (corrects) return `api/audience?${new URLSearchParams({ corrects })}`;
  const query = new URLSearchParams({ topics: topics.join(","), level });
  if (at) query.set("at", at);
  if (at && zone) query.set("time_zone", zone);
  return `api/audience?${query}`;
}

/** `told` hears the answer, or null while there is none. */
export function audienceLine(told) {
  const element = make("p", { className: "audience" });
  element.setAttribute("role", "status");
  let timer;
  let asked = "";
  let found = null;
  function settle(words, answer) {
    element.replaceChildren(...words);
    found = answer;
    told(answer);
  }
  async function fetchIt(path) {
    try {
      const answer = await call("GET", path);
      if (path === asked) settle(inWords(answer), answer);
    } catch (problem) {
      if (path === asked) settle([problem.message], null);
    }
  }
  return {
    element,
    found: () => found,
    /** The number of before is not the number of what is asked now: until it comes there is none. */
    ask(wanted) {
      const path = wanted.corrects || wanted.topics.length ? audiencePath(wanted) : "";
      if (path === asked && element.textContent) return;
      const first = !asked;
      asked = path;
      clearTimeout(timer);
      if (!path) return settle(["Tick a topic: then it says here how many readers it reaches."], null);
      found = null;
      told(null);
      timer = setTimeout(() => fetchIt(path), first ? 0 : PAUSE);
    },
  };
}

function inWords({ rings, held_back: held }) {
  const sentence = [make("b", {}, counted(rings, "reader")), rings === 1 ? ", once." : ", once each."];
  const back = [
    [held.paused, "paused"],
    [held.quiet_hours, "in quiet hours"],
    [held.daily_limit, "at their daily limit"],
    [held.level, "without this level"],
  ].filter(([count]) => count);
  if (!back.length) return sentence;
  const all = back.reduce((sum, [count]) => sum + count, 0);
  const why = back.map(([count, words]) => `${count.toLocaleString("en-GB")} ${words}`).join(", ");
  return [...sentence, ` ${counted(all, "more")}`.replace("mores", "more"), ` kept back by their own rules: ${why}.`];
}
