// The front page's stories: the latest of every topic, each story once.

import { call, Problem, site } from "./api.js";
import { ago, exactly, language, make, webAddress } from "./page.js";

const SHOWN = 6; // stories of one topic
const ASKED = 2 * SHOWN; // since some of them already stand under an earlier topic

const latest = document.querySelector("#latest");

async function start() {
  enter("loading", lone("Fetching the latest stories…"));
  try {
    const { name, topics } = await site();
    document.title = name;
    document.querySelector("#site-name").textContent = name;
    show(topics, await Promise.all(topics.map(storiesOf)));
  } catch (error) {
    fail(error);
  }
}

async function storiesOf({ slug }) {
  const { items } = await call("GET", `api/latest?topic=${encodeURIComponent(slug)}&limit=${ASKED}`);
  return items.filter((story) => webAddress(story.url));
}

function show(topics, lists) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const groups = grouped(lists).map((stories, at) => ({ topic: topics[at], stories }));
  const filled = groups.filter(({ stories }) => stories.length);
  if (filled.length) enter("ready", ...filled.map((group) => section(group, names)));
  else enter("empty", lone("No stories yet. They appear here as soon as the newsroom's feeds bring some."));
}

/** Each story stands once, under the first of its topics. */
function grouped(lists) {
  const seen = new Set();
  return lists.map((stories) => {
    const fresh = stories.filter(({ id }) => !seen.has(id)).slice(0, SHOWN);
    for (const { id } of fresh) seen.add(id);
    return fresh;
  });
}

function fail(error) {
  const sentence = error instanceof Problem ? error.message : "The stories can't be shown. Reload the page to try again.";
  const again = make("button", { type: "button", className: "main", id: "latest-again", onclick: start }, "Try again");
  enter("error", lone(sentence), make("p", { className: "lone" }, again));
}

function enter(state, ...parts) {
  const held = latest.contains(document.activeElement);
  latest.dataset.state = state;
  latest.setAttribute("aria-busy", String(state === "loading"));
  latest.replaceChildren(...parts);
  if (held) latest.focus({ preventScroll: true });
}

function lone(sentence) {
  const words = make("p", { className: "lone" }, sentence);
  words.setAttribute("role", "status");
  return words;
}

function section({ topic, stories }, names) {
  const id = `topic-${topic.slug}`;
  const items = stories.map((story) => make("li", {}, article(story, topic, names)));
  const group = make("section", { className: "topic" }, make("h2", { id }, topic.name), make("ul", {}, ...items));
  group.setAttribute("aria-labelledby", id);
  return group;
}

function article(story, topic, names) {
  const words = make("div", {}, headline(story));
  if (story.summary) words.append(make("p", { className: "summary" }, story.summary));
  words.append(facts(story, topic, names));
  return make("article", {}, words, ...picture(story));
}

const headline = ({ title, url }) => make("h3", {}, make("a", { href: webAddress(url) }, title));

/** Where it stands, when it came, and its other topics. */
function facts({ url, published_at: published, seen_at: seen, topics }, topic, names) {
  const publisher = new URL(url).hostname.replace(/^www\./, "");
  const line = make("p", { className: "facts" }, publisher, " · ", moment(published ?? seen));
  const others = topics.filter((slug) => slug !== topic.slug && names.has(slug)).map((slug) => names.get(slug));
  if (others.length) line.append(" · also ", new Intl.ListFormat(language).format(others));
  return line;
}

function moment(text) {
  const date = new Date(text);
  return make("time", { dateTime: text, title: exactly(date) }, ago(date, Date.now()));
}

/** Decoration only: the box has its size before the image comes, and stays when it never comes. */
function picture({ image }) {
  const src = webAddress(image);
  if (!src?.startsWith("https:")) return [];
  const img = make("img", { alt: "", width: 120, height: 80, loading: "lazy", decoding: "async" });
  img.onerror = () => img.classList.add("missing");
  return [Object.assign(img, { referrerPolicy: "no-referrer", src })]; // The address last, or it is fetched at once.
}

function keepTime() {
  for (const time of latest.querySelectorAll("time")) time.textContent = ago(new Date(time.dateTime), Date.now());
}

document.querySelector("#today").textContent = new Intl.DateTimeFormat(language, { dateStyle: "full" }).format(new Date());
setInterval(keepTime, 60_000);
start();
