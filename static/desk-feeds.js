// Where stories come from and what readers follow: feeds and topics.

import { call } from "./api.js";
import { addFeed, feedChoices, feedRules } from "./desk-feed-add.js";
import { counted } from "./desk-figures.js";
import { filterBar, topicOptions } from "./desk-filter.js";
import { doing, form, sure } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { tabBar } from "./desk-tabs.js";
import { ahead } from "./desk-times.js";
import { addTopic, topicsPart } from "./desk-topics.js";
import { ago, exactly, folded, isolated, listed, make, theirs, webAddress } from "./page.js";

const REFRESH = 30_000; // milliseconds
const SOON = [1_500, 3_000, 6_000]; // milliseconds: when to look what a poll has brought

const TABS = [
  { name: "feeds", title: "Feeds" },
  { name: "topics", title: "Topics" },
];

export async function view(main, { session, say, parameters }) {
  const owner = session.editor.role === "owner";
  const tab = [parameters].flat()[0] === "topics" ? "topics" : "feeds";
  const places = { sheet: make("div", {}), bar: make("div", {}), list: make("div", {}) };
  const refresh = () => show(tab, places, desk);
  const quietly = () => document.hidden || inUse(main) || refresh();
  const watch = () => SOON.forEach((wait) => setTimeout(quietly, wait));
  const desk = { owner, say, topics: [], refresh, watch, unfolded: new Set() };
  main.append(make("h1", { tabIndex: -1 }, "Feeds and topics"), tabBar("feeds", "Feeds, topics", TABS, tab));
  if (!owner) main.append(make("p", { className: "note-small" }, LOOK));
  const add = tab === "feeds" ? ["Add a feed", addFeed] : ["Add a topic", addTopic];
  main.append(section(TABS.find(({ name }) => name === tab).title, owner ? [opener(add, places.sheet, desk)] : [], ...Object.values(places)));
  await refresh();
  const timer = setInterval(quietly, REFRESH);
  return () => clearInterval(timer);
}

const LOOK = "Owners of this newsroom change feeds and topics. You can look at all of it.";

/** Somebody fills in a form or answers a question: nothing changes under their hands. */
const inUse = (main) => main.querySelector("form") || document.querySelector("dialog[open]");

function section(title, beside, ...content) {
  const head = make("div", { className: "part-head" }, make("h2", { id: "list-title" }, title), ...beside);
  const whole = make("section", { className: "part" }, head, ...content);
  whole.setAttribute("aria-labelledby", "list-title");
  return whole;
}

function opener([words, open], place, desk) {
  const button = make("button", { type: "button" }, words);
  button.addEventListener("click", () => open(place, desk, button));
  return button;
}

const everything = (path) => call("GET", path).then(({ items }) => items);

async function show(tab, places, desk) {
  await loading(places.list, {
    what: `the ${tab}`,
    load: () => Promise.all([everything("api/feeds"), everything("api/topics")]),
    show([feeds, topics]) {
      desk.topics = topics;
      const { all, bar, list } = tab === "feeds" ? ofFeeds(feeds, topics, desk) : ofTopics(topics, desk, places.sheet);
      const wanted = filtering(places, bar, all.length > FEW, () => inner.replaceChildren(...list(wanted())));
      const inner = make("div", {}, ...list(wanted()));
      return [inner];
    },
  });
}

/** The bar stays while the list is fetched anew: somebody may be typing in it. What it wants now. */
function filtering(places, bar, useful, changed) {
  places.changed = changed;
  if (useful && !places.filter) {
    places.filter = filterBar(bar, () => places.changed());
    places.bar.replaceChildren(places.filter.element);
  }
  return () => places.filter?.wanted() ?? {};
}

function ofFeeds(feeds, topics, desk) {
  const order = feeds.toSorted((one, other) => RANK.indexOf(one.state) - RANK.indexOf(other.state));
  const states = RANK.filter((state) => feeds.some((feed) => feed.state === state));
  const count = (state) => feeds.filter((feed) => feed.state === state).length;
  return {
    all: feeds,
    bar: {
      search: "Search feeds",
      choices: [
        { label: "State", name: "state", options: [["", "All states"], ...states.map((state) => [state, `${STATES[state]} (${count(state)})`])] },
        { label: "Topic", name: "topic", options: topicOptions(topics) },
      ],
    },
    list({ q = "", state = "", topic = "" }) {
      if (!feeds.length) return [make("p", { className: "lone" }, desk.owner ? `${NO_FEED} ${FIRST_FEED}` : `${NO_FEED} An owner can add one.`)];
      const fit = order.filter(
        (feed) => folded(`${nameOf(feed)} ${feed.url}`).includes(folded(q)) && (!state || feed.state === state) && (!topic || feed.topics.includes(topic)),
      );
      if (!fit.length) return [make("p", { className: "lone" }, "No feed fits. Search for something else, or look at all of them.")];
      const lines = fit.map((feed) => make("li", {}, one(feed, topics, desk, feeds.length > FEW)));
      return growing(make("ul", { className: "feeds" }), lines, PAGE, "feeds");
    },
  };
}

/** What needs somebody comes first. */
const RANK = ["trouble", "paused", "well", "new"];
const FEW = 5; // so many are shown with all that is known of them, and need no search
const PAGE = 20;
const NO_FEED = "No feed yet, so no story comes by itself.";
const FIRST_FEED = "Add the first one: the address of an RSS or Atom document.";

function growing(list, lines, most, what) {
  list.append(...lines.slice(0, most));
  if (lines.length <= most) return [list];
  const button = make("button", { type: "button", className: "all" }, `Show all ${lines.length} ${what}`);
  button.addEventListener("click", () => {
    const rest = lines.slice(most);
    list.append(...rest);
    rest[0].tabIndex = -1;
    rest[0].focus();
    button.remove();
  });
  return [list, button];
}

function ofTopics(topics, desk, place) {
  return {
    all: topics,
    bar: { search: "Search topics" },
    list({ q = "" }) {
      const fit = topics.filter(({ name, slug, synonyms }) => folded([name, slug, ...synonyms].join(" ")).includes(folded(q)));
      if (topics.length && !fit.length) return [make("p", { className: "lone" }, "No topic is called so.")];
      return topicsPart(fit, desk, place);
    },
  };
}

// One feed.

const STATES = { well: "All is well", trouble: "In trouble", paused: "Paused", new: "New: not asked yet" };
const POLICIES = {
  auto: "Every story rings at once",
  draft: "Every story becomes a draft",
  store: "Stories are only remembered",
};

const nameOf = ({ title, url }) => title || hostOf(url);
const hostOf = (url) => (webAddress(url) ? new URL(url).hostname.replace(/^www\./, "") : url);

/** `folds`: among many, what is known of a feed is unfolded on demand. */
function one(feed, topics, desk, folds) {
  const place = make("div", { className: "feed" });
  const address = make("a", { href: webAddress(feed.url) ?? "#", rel: "noopener", target: "_blank" }, theirs(feed.url));
  const head = make("div", { className: "part-head" }, make("h3", { dir: "auto" }, nameOf(feed)), state(feed));
  const rest = [make("p", { className: "address" }, address), facts(feed, topics)];
  place.append(head);
  if (feed.trouble) place.append(make("p", { className: "note", dir: "auto" }, feed.trouble, tried(feed)));
  if (desk.owner) rest.push(actions(feed, topics, desk, place));
  if (folds) place.append(unfolding(feed, desk, rest));
  else place.append(...rest);
  return place;
}

/** It stays as it is when the list is fetched anew. */
function unfolding(feed, desk, rest) {
  const asked = feed.polled_at ? ["asked ", moment(feed.polled_at), " · "] : [];
  const words = [...asked, brought(feed), make("span", { className: "unseen" }, ` (${isolated(nameOf(feed))})`)];
  const whole = make("details", { className: "more", open: desk.unfolded.has(feed.id) }, make("summary", {}, make("span", {}, ...words)), ...rest);
  whole.addEventListener("toggle", () => (whole.open ? desk.unfolded.add(feed.id) : desk.unfolded.delete(feed.id)));
  return whole;
}

function state(feed) {
  const words = make("p", { className: "state" }, STATES[feed.state] ?? feed.state);
  words.dataset.state = feed.state;
  return words;
}

const tried = ({ misses }) => (misses > 1 ? ` It failed ${counted(misses, "time")} in a row.` : "");

function facts(feed, topics) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const followed = feed.topics.map((slug) => names.get(slug) ?? slug);
  return grid([
    ["Last asked", feed.polled_at ? [moment(feed.polled_at)] : ["not yet"]],
    [
      "Next",
      feed.next_poll_at
        ? [ahead(new Date(feed.next_poll_at), Date.now()), because(feed)]
        : [feed.state === "paused" ? "when somebody resumes it" : "at once"],
    ],
    ["New stories", [POLICIES[feed.policy], small(brought(feed))]],
    ["Topics", topicsOf(followed, feed.tags_add_topics)],
  ]);
}

function brought({ stories_24h: stories, held_back_24h: held, hourly_limit: most }) {
  const back = held ? `, ${held} held back as drafts: at most ${most} ring within an hour` : "";
  return `${counted(stories, "story", "stories")} in 24 hours${back}`;
}

function topicsOf(followed, tags) {
  if (!followed.length) return [tags ? "by each story’s own tags only" : "none: its stories ring for nobody"];
  return [...listed(followed), ...(tags ? [small("and those of each story’s own tags")] : [])];
}

export function grid(entries) {
  const parts = entries.map(([name, words]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...words)));
  return make("dl", { className: "facts-grid" }, ...parts);
}

const small = (text) => make("small", {}, text);
const because = ({ next_poll_because: reason }) => (reason ? small(reason) : "");

function moment(text) {
  const date = new Date(text);
  return make("time", { dateTime: text, title: exactly(date) }, ago(date, Date.now()));
}

// What an owner may do with it.

function actions(feed, topics, desk, place) {
  const paused = feed.state === "paused";
  const change = (wish) => call("PATCH", `api/feeds/${feed.id}`, { body: wish });
  const bar = make("p", { className: "buttons small" });
  const named = (words, action, className) => {
    const button = doing(words, action, desk.say, className);
    button.append(make("span", { className: "unseen" }, ` (${isolated(nameOf(feed))})`));
    return button;
  };
  const edit = named("Change", () => edited(feed, topics, desk, place, bar, change));
  const hold = named(paused ? "Resume" : "Pause", async () => {
    await change({ paused: !paused });
    desk.say(
      paused
        ? `“${isolated(nameOf(feed))}” is asked again. What came out meanwhile is remembered and does not ring.`
        : `“${isolated(nameOf(feed))}” is paused. Nothing is asked until somebody resumes it.`,
    );
    await desk.refresh();
  });
  const now = named("Ask now", () => poll(feed, desk));
  const remove = named("Remove", () => removed(feed, desk), "final");
  bar.append(...(paused ? [] : [now]), hold, edit, remove);
  return bar;
}

async function poll(feed, desk) {
  await call("POST", `api/feeds/${feed.id}/poll`);
  desk.say(`“${isolated(nameOf(feed))}” is asked now.`);
  desk.watch();
}

function edited(feed, topics, desk, place, bar, change) {
  const back = () => {
    changing.remove();
    bar.hidden = false;
    bar.querySelector("button:nth-last-child(2)").focus();
  };
  const changing = form({
    parts: feedChoices(topics, feed),
    action: "Save the changes",
    cancel: back,
    send: async (whole) => {
      await change(feedRules(whole));
      desk.say("Saved. It counts from the next story on.");
      back();
      await desk.refresh();
    },
  });
  bar.hidden = true;
  place.append(changing);
  changing.querySelector("input").focus();
}

async function removed(feed, desk) {
  const words =
    "It is not asked any more. The stories it brought stay, and so do the alerts made of them. " +
    "You can add it again, and begin anew.";
  if (!(await sure({ question: `Remove “${isolated(nameOf(feed))}”?`, words, yes: "Remove this feed", no: "Keep it" }))) return;
  await call("DELETE", `api/feeds/${feed.id}`);
  desk.say(`“${isolated(nameOf(feed))}” is removed.`);
  await desk.refresh();
}
