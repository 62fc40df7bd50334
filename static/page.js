// What the pages share: making elements from data (never from markup), and times as a person reads them.

export const language = "en-GB"; // Of the pages' own words, and so of their lists and times.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** One check box; its label is the topic's name and, where there is room, what the topic is about. */
export function topicBox({ slug, name, description }, checked, described = false) {
  const box = make("input", { type: "checkbox", name: "topic", value: slug, checked });
  const words = make("span", {}, name);
  if (described && description) words.append(make("small", {}, description));
  return make("label", { className: "choice" }, box, words);
}

export const ticked = (form) => [...form.querySelectorAll("input[name=topic]:checked")].map((box) => box.value);

/** The address as it may stand in a link: http and https only, anything else is null. */
export function webAddress(text) {
  try {
    const url = new URL(text);
    return /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const full = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "short" });
const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "long", year: "numeric" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60]]; // in seconds

export const exactly = (date) => full.format(date);

export function ago(then, now) {
  const seconds = (now - then) / 1_000;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
  if (!unit) return "just now";
  return unit === "day" && seconds > 7 * size ? day.format(then) : relative.format(-Math.floor(seconds / size), unit);
}
