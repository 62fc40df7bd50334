// What may ring, how often and when: levels, a daily limit, quiet hours. Shown as they are saved, and read for saving.

import { make } from "./page.js";

const find = (selector) => document.querySelector(selector);
const levels = find("#levels");
const limit = find("#daily-limit");
const quiet = find("#quiet");
const [from, to] = [find("#quiet-from"), find("#quiet-to")];

const LIMITS = ["1", "2", "3", "5", "10", "20", "50"];
const HALF_HOURS = Array.from({ length: 48 }, (_, half) => `${half >> 1}:${half % 2 ? "30" : "00"}`.padStart(5, "0"));
const NIGHT = { from: "22:00", to: "07:00" };

limit.append(make("option", { value: "" }, "no limit"), ...LIMITS.map(aLimit));
for (const clock of [from, to]) clock.append(...HALF_HOURS.map((time) => make("option", {}, time)));

function aLimit(value) {
  return make("option", { value }, value === "1" ? "1 notification" : `${value} notifications`);
}

export function show({ levels: wanted, daily_limit: most, quiet_hours: hours, time_zone: zone }) {
  for (const box of levels.querySelectorAll("input")) box.checked = wanted.includes(box.value);
  choose(limit, most === null ? "" : String(most), aLimit);
  quiet.checked = hours !== null;
  choose(from, (hours ?? NIGHT).from);
  choose(to, (hours ?? NIGHT).to);
  find("#quiet-zone").textContent = zone && `By the clock of ${zone.replaceAll("_", " ")}, where this browser is.`;
  showHours();
}

/** Programs may have chosen something that does not stand in the list yet: it gets its place there. */
function choose(list, value, option = (time) => make("option", {}, time)) {
  const options = [...list.options];
  const after = options.find((other) => order(other.value) > order(value)) ?? null;
  if (!options.some((other) => other.value === value)) list.insertBefore(option(value), after);
  list.value = value;
}

function order(value) {
  return Number(value.replace(":", ""));
}

function showHours() {
  find("#hours").hidden = !quiet.checked;
}

/**
 * Call `changed` with what there is to save, whenever the reader has changed something here; `unfinished` with a
 * sentence where there is nothing yet: who moves a night that ends at seven to the morning begins with seven to seven.
 */
export function onChange(changed, unfinished) {
  levels.addEventListener("change", ({ target }) => {
    changed({ [target.checked ? "add_levels" : "remove_levels"]: [target.value] });
  });
  limit.addEventListener("change", () => changed({ daily_limit: limit.value ? Number(limit.value) : null }));
  quiet.addEventListener("change", showHours);
  for (const control of [quiet, from, to])
    control.addEventListener("change", () => {
      if (quiet.checked && from.value === to.value)
        return unfinished("Quiet hours begin and end at different times. Choose the other one, too, and they are saved.");
      changed({ quiet_hours: quiet.checked ? { from: from.value, to: to.value } : null });
    });
}
