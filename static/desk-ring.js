// Ringing: asked once, with what goes to how many. And the test before it, on one's own browsers.

import { call, intention, Problem } from "./api.js";
import { onTheWall } from "./desk-clock.js";
import { counted } from "./desk-figures.js";
import { sure } from "./desk-forms.js";
import { ownThisBrowser } from "./desk-own-browser.js";
import { isolated, language, make } from "./page.js";
import { permission } from "./subscribe.js";

/** Ask, then send or schedule. The alert as it is then; null if the editor thought better of it. */
export async function askAndSend(alert, { when, found, topics, warnings = [] }) {
  const reach = found ? counted(found.rings, "reader") : "the readers";
  const yes = when ? `Schedule for ${reach}` : `Send ${alert.corrects ? "the correction " : ""}to ${reach}`;
  if (!(await sure({ question: `${yes}?`, words: summary(alert, when, topics, warnings), yes, no: "Not yet", final: false }))) {
    return null;
  }
  const body = when ? { ...when } : { recipients_seen: found?.rings ?? null };
  return withSecondThoughts(alert, when ? "schedule" : "release", body);
}

function summary(alert, when, topics, warnings) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const of = new Intl.ListFormat(language).format(alert.topics.map((slug) => isolated(names.get(slug) ?? slug)));
  const minded = warnings.map((text) => `Mind: ${text}`);
  const how = when
    ? `It goes out on ${onTheWall(when.at)}, ${when.time_zone.replaceAll("_", " ")} time.`
    : "It goes out after ten seconds, in which you can take it back.";
  const whom = alert.corrects ? "to those who got the wrong one, silently" : `to readers of ${of}`;
  return [make("strong", {}, alert.title), `${LEVEL[alert.level]}, ${whom}. ${how}`, ...minded];
}

const LEVEL = { breaking: "Breaking", normal: "Normal level", low: "Low level" };

/**
 * The server may say that the same story went out just now: then it is the editor's word that counts. The alert as it is
 * then, which somebody else may have changed or sent meanwhile; null if the editor thought better of it.
 */
export async function withSecondThoughts(alert, how, wish) {
  const path = `api/alerts/${alert.id}/${how}`;
  const body = { ...wish, version: alert.version };
  try {
    return await call("POST", path, { body, once: intention() });
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 409) throw problem;
    const now = await call("GET", `api/alerts/${alert.id}`);
    if (now.state !== alert.state || now.version !== alert.version) return now;
    const yes = "Send it all the same";
    const question = "The same story?";
    if (!(await sure({ question, words: problem.message, yes, no: "Do not send", final: false }))) return null;
    return call("POST", path, { body: { ...body, again: true }, once: intention() });
  }
}

/** Send it to one's own browsers first; the one at hand becomes one of them if it is not yet. */
export async function testHere(alert, desk, button) {
  const { session, refresh, say } = desk;
  if (!session.browsers.length || permission() !== "granted") {
    button.textContent = "Setting up this browser…";
    try {
      await ownThisBrowser();
      await refresh();
    } finally {
      button.textContent = "Test in my browser";
    }
  }
  const { browsers } = await call("POST", `api/alerts/${alert.id}/test`, { once: intention() });
  say(`The test rings in ${counted(browsers, "browser")} of yours now, and nowhere else.`);
}
