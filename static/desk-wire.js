// The stories as they arrive: searched, by topic, each with what was made of it.

import { call, intention } from "./api.js";
import { filters, keepFilters } from "./desk-address.js";
import { doing } from "./desk-forms.js";
import { status, trouble } from "./desk-loading.js";
import { listen } from "./desk-live.js";
import { ago, exactly, listed, make, theirs, webAddress } from "./page.js";

const PAUSE = 300; // milliseconds after the last key until a search begins
const MINUTE = 60_000; // milliseconds; as often, what others do to the stories is looked up

export function storyList(wire, desk) {
  const list = make("ol", { className: "stories" });
  const foot = make("div", { className: "foot" });
  const filter = filterForm(desk.topics, () => show());
  wire.append(...filter.parts, list, foot);
  let newest = 0;
  let shown = new Map(); // story id → its place
  const stories = new Map();
  let run = 0;
  let chosen = null;

  async function show(after = null) {
    const mine = (run += 1);
    foot.replaceChildren(status(after ? "Fetching older stories…" : "Fetching the stories…"));
    try {
      const page = await call("GET", `api/stories?${filter.query(after)}`);
      if (mine !== run) return;
      if (!after) {
        list.replaceChildren();
        shown = new Map();
      }
      for (const story of page.items) put(story, "append");
      newest = Math.max(newest, ...page.items.map(({ id }) => id));
      foot.replaceChildren(...ending(page.next));
    } catch (problem) {
      if (mine === run) foot.replaceChildren(trouble(problem, "the stories"), tryAgain(() => show(after)));
    }
  }

  function put(story, where) {
    const place = item(story, { ...desk, look });
    stories.set(String(story.id), story);
    shown.get(story.id)?.remove();
    shown.set(story.id, place);
    list[where](place);
    outline(place);
  }

  function outline(place) {
    if (chosen && place.dataset.alert === chosen) place.setAttribute("aria-current", "true");
    else place.removeAttribute("aria-current");
  }

  function ending(next) {
    if (next) return [make("button", { type: "button", onclick: () => show(next) }, "Older stories")];
    if (shown.size) return [];
    const words = filter.isOn() ? "No story fits. Search for something else, or look at all topics." : NONE;
    return [make("p", { className: "lone" }, words)];
  }

  let stop = () => {};
  let left = false;
  show().then(() => {
    if (left) return;
    stop = listen(() => `api/stories/events?after=${newest}`, {
      story(story) {
        newest = Math.max(newest, story.id);
        if (!filter.fits(story)) return;
        put(story, "prepend");
        if (list.childElementCount === 1) foot.replaceChildren();
      },
    });
  });

  /** What colleagues made of the stories meanwhile, and what has gone out. */
  async function look() {
    const { items } = await call("GET", "api/stories?limit=100");
    for (const { id, alert } of items) {
      const place = shown.get(id);
      if (!place) continue;
      if (alert) remark(place, alert);
      else unmark(place);
    }
  }

  const clock = setInterval(() => {
    keepTime(list);
    if (!document.hidden) look().catch(() => {});
  }, MINUTE);
  return {
    mark(alertId) {
      chosen = alertId;
      for (const place of shown.values()) outline(place);
    },
    story: (id) => stories.get(id),
    changed(alert) {
      const place = shown.get(alert.story_id);
      if (place) remark(place, alert);
    },
    forgotten(alert) {
      const place = shown.get(alert.story_id);
      if (place) unmark(place);
    },
    leave() {
      left = true;
      stop();
      clearInterval(clock);
    },
  };
}

const NONE = "No stories yet. They appear here as soon as a feed brings one; Feeds says when that is.";

const tryAgain = (onclick) => make("p", {}, make("button", { type: "button", className: "main", onclick }, "Try again"));

function keepTime(list) {
  for (const time of list.querySelectorAll("time")) time.textContent = ago(new Date(time.dateTime), Date.now());
}

// Which stories.

function filterForm(topics, changed) {
  const kept = filters();
  const words = make("input", {
    ...{ type: "search", id: "wire-search", placeholder: "Search stories", autocomplete: "off", dir: "auto" },
    ...{ maxLength: 200, value: kept.q ?? "" },
  });
  const topic = make(
    "select",
    { id: "wire-topic" },
    make("option", { value: "" }, "All topics"),
    ...topics.map(({ slug, name }) => make("option", { value: slug }, name)),
  );
  topic.value = topics.some(({ slug }) => slug === kept.topic) ? kept.topic : "";
  const act = () => {
    keepFilters({ q: words.value.trim(), topic: topic.value });
    changed();
  };
  let wait;
  words.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(act, PAUSE);
  });
  topic.addEventListener("change", act);
  const labelled = (input, text) =>
    make("div", { className: "field" }, make("label", { htmlFor: input.id, className: "unseen" }, text), input);
  const bar = make("div", { className: "filter" }, labelled(words, "Search stories"), labelled(topic, "Topic"));
  return {
    parts: [make("h1", {}, "Stories"), bar],
    isOn: () => Boolean(words.value.trim() || topic.value),
    query(after) {
      const query = new URLSearchParams({ limit: "30" });
      if (words.value.trim()) query.set("q", words.value.trim());
      if (topic.value) query.set("topic", topic.value);
      if (after) query.set("after", after);
      return query;
    },
    fits(story) {
      const text = `${story.title} ${story.summary}`.toLocaleLowerCase();
      const asked = words.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      return (!topic.value || story.topics.includes(topic.value)) && asked.every((word) => text.includes(word));
    },
  };
}

// One story.

function item(story, desk) {
  const place = make("li", { className: "story" });
  const title = doing(story.title, () => open(story, place, desk), desk.say, "headline");
  title.dir = "auto";
  const line = make("p", { className: "facts" }, ...facts(story, desk.topics));
  place.append(make("h2", {}, title), line, make("p", { className: "made" }));
  if (story.alert) remark(place, story.alert);
  return place;
}

function facts({ url, published_at: published, seen_at: seen, topics: slugs }, topics) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const moment = new Date(published ?? seen);
  const time = make("time", { dateTime: moment.toISOString(), title: exactly(moment) }, ago(moment, Date.now()));
  const host = webAddress(url) ? [theirs(new URL(url).hostname.replace(/^www\./, "")), " · "] : [];
  const of = slugs.map((slug) => names.get(slug) ?? slug);
  return [...host, time, ...(of.length ? [" · ", ...listed(of)] : [])];
}

/** What was made of it. */
function remark(place, alert) {
  place.dataset.alert = alert.id;
  const line = place.querySelector(".made");
  const released = alert.released_at && new Date(alert.released_at);
  const words = MADE[alert.state] ?? "Sent";
  line.replaceChildren(words);
  if (released) line.append(" ", make("time", { dateTime: alert.released_at }, ago(released, Date.now())));
}

function unmark(place) {
  delete place.dataset.alert;
  place.querySelector(".made").replaceChildren();
}

const MADE = {
  draft: "Draft",
  proposed: "Waits for a second person",
  scheduled: "Goes out at its time",
  released: "Being sent",
  sending: "Being sent",
  finished: "Sent",
  recalled: "Recalled",
};

/** One click makes a draft of a story, or opens what was made of it. */
async function open(story, place, { go, look }) {
  if (place.dataset.alert) return go(`#/alerts/${place.dataset.alert}`);
  if (!story.topics.length) return go(`#/new/${story.id}`); // An alert needs one, and only a person can say which.
  try {
    remark(place, await call("POST", "api/alerts", { body: wordsOf(story), once: intention() }));
  } catch (problem) {
    if (problem.status === 409) await look(); // A colleague was quicker: theirs is opened.
    if (!place.dataset.alert) throw problem;
  }
  go(`#/alerts/${place.dataset.alert}`);
}

/** A story as the beginning of an alert. */
export const wordsOf = ({ id, title, summary, url, image, topics }) => ({
  title,
  body: cut(summary, 300),
  url,
  image: webAddress(image)?.startsWith("https:") ? image : null,
  topics,
  story_id: id,
});

function cut(text, most) {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 1).replace(/\s+\S*$/, "")}…`;
}
