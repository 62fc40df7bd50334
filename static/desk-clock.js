// The newsroom's clock. Whatever the desk names a time of, it is on this one, wherever an editor's computer is or thinks it is.

import { language } from "./page.js";

let zone = "UTC";
let ahead = 0; // milliseconds by which this computer's monotonic clock is behind the server's

/** As the session tells: the newsroom's time zone, and what time the server has. */
export function setClock({ site, now }) {
  zone = site.time_zone;
  ahead = Date.parse(now) - performance.now();
}

/** By the server's clock. */
export const serverNow = () => new Date(performance.now() + ahead);

const formats = new Map();

/** A way to say moments; in `place` if it is named, else on the newsroom's clock. */
export const saying = (options) => (moment, place = zone) => format(options, place).format(moment);

function format(options, place) {
  const key = JSON.stringify([options, place]);
  if (!formats.has(key)) formats.set(key, made(options, place));
  return formats.get(key);
}

/** A browser that does not know the zone yet (Europe/Kyiv is of 2022) says it on the clock that all know. */
function made(options, timeZone) {
  try {
    return new Intl.DateTimeFormat(language, { ...options, timeZone });
  } catch {
    return new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC", timeZoneName: "short" });
  }
}

const DAY_AND_TIME = { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
const dayAndTime = saying(DAY_AND_TIME);

export const clock = saying({ hour: "2-digit", minute: "2-digit" });

const named = (place) => place.replaceAll("_", " ");

/** "Tuesday 1 December at 04:57 (Europe/Kyiv)" */
export const exactly = (moment, place = zone) => `${dayAndTime(moment, place)} (${named(place)})`;

/** Of what stands in a field of date and time, "2026-12-01T04:57": the same words, for they are of no place yet. */
export const onTheWall = (text) => dayAndTime(new Date(`${text}Z`), "UTC");

/** What the clocks of `place` show then, for such a field. */
export function forField(moment, place) {
  const digits = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const parts = format(digits, place).formatToParts(moment).map(({ type, value }) => [type, value]);
  const { year, month, day, hour, minute } = Object.fromEntries(parts);
  return `${year}-${month}-${day}T${hour}:${minute}`;
}
