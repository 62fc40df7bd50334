// Times that are still to come, as a person reads them; page.js has those that are over.

import { clock, saying } from "./desk-clock.js";
import { language } from "./page.js";

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const daily = saying({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const HOUR = 3_600; // seconds

/** "in 3 minutes, at 14:32"; far ones by their day. */
export function ahead(then, now) {
  const seconds = (then - now) / 1_000;
  if (seconds < 60) return seconds < -60 ? "overdue: no worker has come to it" : "within a minute";
  if (seconds < HOUR) return `${relative.format(Math.round(seconds / 60), "minute")}, at ${clock(then)}`;
  return seconds < 20 * HOUR
    ? `${relative.format(Math.round(seconds / HOUR), "hour")}, at ${clock(then)}`
    : daily(then);
}
