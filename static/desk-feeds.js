// Where stories come from and what readers follow: feeds and topics.

import { call } from "./api.js";
import { addFeed, feedChoices, feedRules } from "./desk-feed-add.js";
import { counted } from "./desk-figures.js";
import { doing, form, sure } from "./desk-forms.js";
import { loading } from "./desk-loading.js";
import { ahead } from "./desk-times.js";
import { addTopic, topicsPart } from "./desk-topics.js";
import { ago, exactly, language, make, webAddress } from "./page.js";

const REFRESH = 30_000; // milliseconds
const SOON = [1_500, 3_000, 6_000]; // milliseconds: when to look what a poll has brought

export async function view(main, { session, say }) {
  const owner = session.editor.role === "owner";
  const places = Object.fromEntries(["feeds", "newFeed", "topics", "aTopic"].map((name) => [name, make("div", {})]));
  const refresh = () => show(places, desk);
  const quietly = () => document.hidden || inUse(main) || refresh();
  const watch = () => SOON.forEach((wait) => setTimeout(quietly, wait));
  const desk = { owner, say, topics: [], refresh, watch };
  main.append(make("h1", { tabIndex: -1 }, "Feeds and topics"));
  if (!owner)
    main.append(
      make(
        "p",
        { className: "note-small" },
        "Owners of this newsroom change feeds and topics. You can look at all of it.",
      ),
    );
  const button = (words, open) => (owner ? [opener(words, open)] : []);
  main.append(
    section(
      "Feeds",
      "feeds-title",
      button("Add a feed", (back) => addFeed(places.newFeed, desk, back)),
      places.newFeed,
      places.feeds,
    ),
    section(
      "Topics",
      "topics-title",
      button("Add a topic", (back) => addTopic(places.aTopic, desk, back)),
      places.aTopic,
      places.topics,
    ),
  );
  await refresh();
  const timer = setInterval(quietly, REFRESH);
  return () => clearInterval(timer);
}

/** Somebody fills in a form or answers a question: nothing changes under their hands. */
const inUse = (main) => main.querySelector("form") || document.querySelector("dialog[open]");

function section(title, id, beside, ...content) {
  const head = make("div", { className: "part-head" }, make("h2", { id }, title), ...beside);
  const whole = make("section", { className: "part" }, head, ...content);
  whole.setAttribute("aria-labelledby", id);
  return whole;
}

function opener(words, open) {
  const button = make("button", { type: "button" }, words);
  button.addEventListener("click", () => open(button));
  return button;
}

const everything = (path) => call("GET", path).then(({ items }) => items);

async function show(places, desk) {
  const both = Promise.all([everything("api/feeds"), everything("api/topics")]);
  const load = () => both.then(([feeds, topics]) => ({ feeds, topics: (desk.topics = topics) }));
  await Promise.all([
    loading(places.feeds, { what: "the feeds", load, show: ({ feeds, topics }) => list(feeds, topics, desk) }),
    loading(places.topics, { what: "the topics", load, show: ({ topics }) => topicsPart(topics, desk, places.aTopic) }),
  ]);
}

function list(feeds, topics, desk) {
  if (!feeds.length) {
    const way = desk.owner ? "Add the first one: the address of an RSS or Atom document." : "An owner can add one.";
    return [make("p", { className: "lone" }, `No feed yet, so no story comes by itself. ${way}`)];
  }
  return [make("ul", { className: "feeds" }, ...feeds.map((feed) => make("li", {}, one(feed, topics, desk))))];
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

function one(feed, topics, desk) {
  const place = make("div", { className: "feed" });
  const address = make("a", { href: webAddress(feed.url) ?? "#", rel: "noopener", target: "_blank" }, feed.url);
  const head = make("div", { className: "part-head" }, make("h3", {}, nameOf(feed)), state(feed));
  place.append(head, make("p", { className: "address" }, address));
  if (feed.trouble) place.append(make("p", { className: "note" }, feed.trouble, tried(feed)));
  place.append(facts(feed, topics));
  if (desk.owner) place.append(actions(feed, topics, desk, place));
  return place;
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
    ["Topics", ofTopics(followed, feed.tags_add_topics)],
  ]);
}

function brought({ stories_24h: stories, held_back_24h: held, hourly_limit: most }) {
  const back = held ? `, ${held} held back as drafts: at most ${most} ring within an hour` : "";
  return `${counted(stories, "story", "stories")} in 24 hours${back}`;
}

function ofTopics(followed, tags) {
  const names = new Intl.ListFormat(language).format(followed);
  if (!tags) return [names || "none: its stories ring for nobody"];
  return names ? [names, small("and those of each story’s own tags")] : ["by each story’s own tags only"];
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
    button.append(make("span", { className: "unseen" }, ` (${nameOf(feed)})`));
    return button;
  };
  const edit = named("Change", () => edited(feed, topics, desk, place, bar, change));
  const hold = named(paused ? "Resume" : "Pause", async () => {
    await change({ paused: !paused });
    desk.say(
      paused
        ? `“${nameOf(feed)}” is asked again. What came out meanwhile is remembered and does not ring.`
        : `“${nameOf(feed)}” is paused. Nothing is asked until somebody resumes it.`,
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
  desk.say(`“${nameOf(feed)}” is asked now.`);
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
  if (!(await sure({ question: `Remove “${nameOf(feed)}”?`, words, yes: "Remove this feed", no: "Keep it" }))) return;
  await call("DELETE", `api/feeds/${feed.id}`);
  desk.say(`“${nameOf(feed)}” is removed.`);
  await desk.refresh();
}
