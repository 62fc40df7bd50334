// When an alert goes out: at once, or at a time on the clock of a named place.

import { forField, serverNow } from "./desk-clock.js";
import { choices, chosen, field } from "./desk-forms.js";
import { make } from "./page.js";

const AN_HOUR = 3_600_000; // milliseconds

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
  const input = time.querySelector("input");
  const clock = place.querySelector("select");
  let proposed = "";
  /** Until somebody names a time: in an hour, on whichever clock is chosen. */
  function propose() {
    if (!isLater() || input.value !== proposed) return;
    input.value = proposed = forField(new Date(serverNow().getTime() + AN_HOUR), clock.value);
  }
  now.addEventListener("change", () => {
    later.hidden = !isLater();
    propose();
  });
  clock.addEventListener("input", propose);
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
