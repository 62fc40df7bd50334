// Numbers as the desk says them.

import { language, make } from "./page.js";

const whole = new Intl.NumberFormat(language);
const rough = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const hundredths = new Intl.NumberFormat(language, { maximumSignificantDigits: 2 });

export const count = (number) => whole.format(number);

/** An estimate, not more exact than it is. */
export const about = (number) => rough.format(number);

/** "1 reader", "41,203 readers". */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A share of a whole; null when there is no whole to have a share of. */
export const share = (part, of) => (of ? percent(Math.min(part / of, 1)) : null);

export const percent = (ratio) =>
  ratio === null || ratio === undefined ? "–" : `${hundredths.format(ratio * 100)}\u00a0%`;

/** "4.1 s", "2 min 5 s", "3 h 20 min". */
export function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  const [big, small, names] = all < 3_600 ? [60, 1, ["min", "s"]] : [3_600, 60, ["h", "min"]];
  const rest = Math.round((all % big) / small);
  return `${Math.floor(all / big)} ${names[0]}${rest ? ` ${rest} ${names[1]}` : ""}`;
}

/** A strip of figures: [{name, figure, note?}], each with what it counts under it. */
export function figures(entries) {
  const parts = entries.map(({ name, figure, note }) => {
    const words = make("dd", {}, make("b", {}, figure));
    if (note) words.append(make("small", {}, note));
    return make("div", {}, make("dt", {}, name), words);
  });
  return make("dl", { className: "strip-of-figures" }, ...parts);
}
