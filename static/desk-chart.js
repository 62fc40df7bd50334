// The minutes after a release as bars: one strip each for what was handed over, shown and clicked. Their heights are
// not comparable between strips (a click is rarer than a delivery by two orders), their times are.

import { language, make } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100; // of the drawing; how high it stands on the page is the style sheet's matter

const SERIES = [
  ["accepted", "Handed over"],
  ["shown", "Shown, about"],
  ["clicked", "Clicked"],
];

// What may be looked at, in minutes, and how many of them one bar has: a phone has room for some fifty bars.
const SPANS = [
  { span: 30, bar: 1, name: "First 30 minutes", marks: ["0", "10", "20", "30 min"] },
  { span: 360, bar: 10, name: "First 6 hours", marks: ["0", "2", "4", "6 h"] },
  { span: 1_440, bar: 30, name: "First 24 hours", marks: ["0", "6", "12", "18", "24 h"] },
];

const number = new Intl.NumberFormat(language);

/** `minutes`: [{minute, accepted, shown, clicked}], `minute` counted from the release. `kept.at` is what was chosen. */
export function minutesChart(minutes, kept = { at: 0 }) {
  const last = Math.max(0, ...minutes.map(({ minute }) => minute));
  const offered = SPANS.slice(0, SPANS.findIndex(({ span }) => last < span) + 1 || SPANS.length);
  const now = offered[kept.at] ?? offered[0];
  const strips = make("div", { className: "strips" });
  const figure = make("figure", { className: "chart" }, make("figcaption", {}, "The minutes after the release"));
  const choose = (span) => {
    kept.at = SPANS.indexOf(span);
    draw(strips, minutes, span);
  };
  if (offered.length > 1) figure.append(choice(offered, now, choose));
  figure.append(strips, table(minutes));
  draw(strips, minutes, now);
  return figure;
}

function choice(offered, now, choose) {
  const buttons = offered.map((span) => {
    const button = make("button", { type: "button" }, span.name);
    button.setAttribute("aria-pressed", String(span === now));
    button.addEventListener("click", () => {
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      choose(span);
    });
    return button;
  });
  const group = make("div", { className: "either" }, ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Which minutes");
  return group;
}

function draw(strips, minutes, chosen) {
  const axis = make("p", { className: "axis" }, ...chosen.marks.map((mark) => make("span", {}, mark)));
  axis.setAttribute("aria-hidden", "true");
  strips.replaceChildren(...SERIES.map(([key, name]) => strip(name, sums(minutes, key, chosen), chosen)), axis);
}

/** One sum a bar. */
function sums(minutes, key, { span, bar }) {
  const bars = Array(span / bar).fill(0);
  for (const { minute, [key]: count } of minutes) if (minute < span) bars[Math.floor(minute / bar)] += count;
  return bars;
}

function strip(name, bars, { bar }) {
  const [most, all] = [Math.max(...bars), bars.reduce((sum, count) => sum + count, 0)];
  const svg = drawing("svg", { viewBox: `0 0 ${bars.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.setAttribute(
    "aria-label",
    all ? `${name}: ${number.format(all)}, most of them ${when(bars.indexOf(most), bar)}.` : `${name}: none.`,
  );
  svg.append(...bars.flatMap((count, at) => (count ? [bar1(count, at, most, bar)] : [])));
  const words = make("p", {}, make("span", {}, name), make("b", {}, number.format(all)));
  return make("div", { className: "strip" }, words, svg);
}

/** At least a line high: one click in a thousand is one to be seen. */
function bar1(count, at, most, bar) {
  const height = Math.max((count / most) * HEIGHT, 2);
  const rect = drawing("rect", { x: at + 0.1, width: 0.8, y: HEIGHT - height, height });
  const title = drawing("title", {});
  title.textContent = `${number.format(count)} ${when(at, bar)}`;
  rect.append(title);
  return rect;
}

const when = (at, bar) => (bar === 1 ? `in minute ${at + 1}` : `in minutes ${at * bar + 1} to ${(at + 1) * bar}`);

function drawing(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The same for those who do not see bars, or want the numbers. */
function table(minutes) {
  const head = ["Minute", ...SERIES.map(([, name]) => name)].map((name) => make("th", { scope: "col" }, name));
  const rows = minutes.filter((each) => SERIES.some(([key]) => each[key]));
  const lines = rows.map((each) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, number.format(each.minute + 1)),
      ...SERIES.map(([key]) => make("td", {}, number.format(each[key]))),
    ),
  );
  const caption = make("caption", { className: "unseen" }, "The minutes after the release");
  const whole = make(
    "table",
    { className: "figures" },
    caption,
    make("thead", {}, make("tr", {}, ...head)),
    make("tbody", {}, ...lines),
  );
  return make("details", { className: "more" }, make("summary", {}, "The same as a table"), whole);
}
