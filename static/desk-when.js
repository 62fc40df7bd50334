// When an alert goes out: at once, or at a time on the clock of a named place.

import { choices, chosen, field } from "./desk-forms.js";
import { make } from "./page.js";

export function whenFields(zone) {
  const now = choices({
    legend: "When",
    type: "radio",
    name: "when",
    options: [
      { value: "now", words: "At once, after 10 seconds in which you can take it back" },
      { value: "later", words: "Later" },
    ],
    chosen: ["now"],
  });
  const time = field({ label: "Date and time", name: "at", type: "datetime-local" });
  const place = field({ label: "On the clock of", name: "zone", options: zones(zone), value: zone });
  const later = make("div", { className: "later", hidden: true }, time, place);
  const element = make("div", { className: "when" }, now, later);
  const isLater = () => chosen(element, "when")[0] === "later";
  now.addEventListener("change", () => {
    later.hidden = !isLater();
    const input = time.querySelector("input");
    if (!later.hidden && !input.value) input.value = inAnHour();
  });
  return { element, isLater, wish: () => (isLater() ? wishOf(element) : null) };
}

/** `{at, time_zone}` as the server wants it. */
export const wishOf = (place) => ({
  at: place.querySelector("[name=at]").value,
  time_zone: place.querySelector("[name=zone]").value,
});

export function zones(first) {
  const all = Intl.supportedValuesOf?.("timeZone") ?? [];
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return [...new Set([first, own, "UTC", ...all].filter(Boolean))].map((name) => [name, name.replaceAll("_", " ")]);
}

function inAnHour() {
  const then = new Date(Date.now() + 3_600_000);
  then.setMinutes(then.getMinutes() - then.getTimezoneOffset(), 0, 0);
  return then.toISOString().slice(0, 16);
}
