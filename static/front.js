// The front page's stories: the latest of a few topics, each story once; or, where the address names one, of that topic.

import { call, Problem, site } from "./api.js";
import { ago, exactly, folded, language, listed, make, theirs, webAddress } from "./page.js";

const OLDER = 20; // stories of a page, where one topic is shown
const PATIENCE = 1_000; // milliseconds for which stories wait for the prompt, so that it does not push them about
const MANY = 12; // topics that need no search

const latest = document.querySelector("#latest");
const shownTopic = new URLSearchParams(location.search).get("topic");

async function start() {
  if (latest.dataset.state !== "loading") enter("loading");
  const coming = shownTopic ? ofTopic(shownTopic) : ofAll();
  coming.catch(() => {}); // It is told below, when the prompt has its place.
  await promptStands();
  if (latest.dataset.state === "loading" && !latest.childElementCount) latest.append(lone("Fetching the latest stories…"));
  try {
    enter("ready", ...(await coming));
  } catch (error) {
    fail(error);
  }
}

/** What stands under the prompt does not move once it is shown; but nobody waits for the prompt for long. */
function promptStands() {
  const prompt = document.querySelector("#prompt");
  return new Promise((done) => {
    const look = () => prompt.dataset.state !== "loading" && done();
    new MutationObserver(look).observe(prompt, { attributeFilter: ["data-state"] });
    look();
    setTimeout(done, PATIENCE);
  });
}

/** A few topics with what is new in each, and the way to all others. */
async function ofAll() {
  const [{ topics }, { sections }] = await Promise.all([site(), call("GET", "api/front")]);
  const names = namesOf(topics);
  const filled = sections.map(({ topic, items }) => ({ topic, stories: openable(items) })).filter(({ stories }) => stories.length);
  const parts = filled.map((group) => section(group, names));
  if (!parts.length) parts.push(lone("No stories yet. They appear here as soon as the newsroom's feeds bring some."));
  return topics.length > sections.length ? [...parts, everyTopic(topics)] : parts;
}

/** One topic, as far back as the reader wants. */
async function ofTopic(slug) {
  const [{ topics }, page] = await Promise.all([site(), pageOf(slug)]);
  const names = namesOf(topics);
  const name = names.get(slug);
  if (!name) return [lone("There is no such topic here (any more)."), everyTopic(topics)];
  document.title = `${name} – ${document.title}`;
  const group = section({ topic: slug, stories: openable(page.items) }, names);
  if (!page.items.length) group.append(lone("No stories of this topic yet."));
  group.append(...older(group.querySelector("ul"), slug, page.next, names));
  return [group, everyTopic(topics)];
}

const pageOf = (slug, after) =>
  call("GET", `api/latest?${new URLSearchParams({ topic: slug, limit: OLDER, ...(after ? { after } : {}) })}`);

function older(list, slug, next, names) {
  if (!next) return [];
  const button = make("button", { type: "button" }, "Older stories");
  const place = make("p", {}, button);
  button.addEventListener("click", async () => {
    if (button.hasAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    try {
      const page = await pageOf(slug, next);
      const items = openable(page.items).map((story) => item(story, slug, names));
      list.append(...items);
      place.replaceWith(...older(list, slug, page.next, names));
      items[0]?.querySelector("a").focus();
    } catch (error) {
      button.removeAttribute("aria-disabled");
      place.replaceChildren(button, " ", error instanceof Problem ? error.message : ODD);
    }
  });
  return [place];
}

const namesOf = (topics) => new Map(topics.map(({ slug, name }) => [slug, name]));
const openable = (stories) => stories.filter((story) => webAddress(story.url));
const addressOf = (slug) => `/?${new URLSearchParams({ topic: slug })}`;

function everyTopic(topics) {
  const links = topics.map(({ slug, name }) => {
    const link = make("a", { href: addressOf(slug) }, theirs(name));
    if (slug === shownTopic) link.setAttribute("aria-current", "page");
    return make("li", {}, link);
  });
  const nav = make("nav", { className: "all-topics" }, make("h2", { id: "all-topics" }, "All topics"));
  nav.setAttribute("aria-labelledby", "all-topics");
  if (links.length > MANY) nav.append(search(links));
  nav.append(make("ul", {}, ...links));
  if (shownTopic) nav.append(make("p", {}, make("a", { href: "/" }, "The latest of all topics")));
  return nav;
}

function search(links) {
  const input = make("input", { type: "search", id: "topic-search", autocomplete: "off", dir: "auto" });
  input.addEventListener("input", () => {
    for (const link of links) link.hidden = !folded(link.textContent).includes(folded(input.value));
  });
  return make("p", { className: "finder" }, make("label", { htmlFor: input.id }, "Search topics"), input);
}

const ODD = "The stories can't be shown. Reload the page to try again.";

function fail(error) {
  const sentence = error instanceof Problem ? error.message : ODD;
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
  const id = `topic-${topic}`;
  const head = make("h2", { id }, make("a", { href: addressOf(topic) }, theirs(names.get(topic) ?? topic)));
  const group = make("section", { className: "topic" }, head, make("ul", {}, ...stories.map((story) => item(story, topic, names))));
  group.setAttribute("aria-labelledby", id);
  return group;
}

const item = (story, topic, names) => make("li", {}, article(story, topic, names));

function article(story, topic, names) {
  const words = make("div", {}, headline(story));
  if (story.summary) words.append(make("p", { className: "summary", dir: "auto" }, story.summary));
  words.append(facts(story, topic, names));
  return make("article", {}, words, ...picture(story));
}

const headline = ({ title, url }) => make("h3", { dir: "auto" }, make("a", { href: webAddress(url) }, title));

/** Where it stands, when it came, and its other topics. */
function facts({ url, published_at: published, seen_at: seen, topics }, topic, names) {
  const publisher = new URL(url).hostname.replace(/^www\./, "");
  const line = make("p", { className: "facts" }, theirs(publisher), " · ", moment(published ?? seen));
  const others = topics.filter((slug) => slug !== topic && names.has(slug)).map((slug) => names.get(slug));
  if (others.length) line.append(" · also ", ...listed(others));
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
