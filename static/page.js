// What the pages share: making elements from data (never from markup), and times as a person reads them.

export const language = "en-GB"; // Of the pages' own words, and so of their lists and times.

/** Names and other words that somebody has typed, in whatever script: what stands around them stays in its order. */
export const theirs = (text) => make("bdi", {}, text);

/** The same for where no element can stand: in a question, or in what is read out. */
export const isolated = (text) => (RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text);

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** "Russia, Ukraine and World News", as nodes; as a "unit" without the "and". */
export const listed = (names, type = "conjunction") =>
  new Intl.ListFormat(language, { type }).formatToParts(names).map(({ type, value }) => (type === "element" ? theirs(value) : value));

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** As somebody types it who does not mind capitals and accents. */
export const folded = (text) =>
  text
    .normalize("NFD")
    .replaceAll(/\p{M}/gu, "")
    .toLocaleLowerCase()
    .trim();

/** One check box; its label is the topic's name and, where there is room, what the topic is about. */
export function topicBox({ slug, name, description }, checked, described = false) {
  const box = make("input", { type: "checkbox", name: "topic", value: slug, checked });
  const words = make("span", {}, theirs(name));
  if (described && description) words.append(make("small", { dir: "auto" }, description));
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
