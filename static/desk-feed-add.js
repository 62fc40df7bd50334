// Adding a feed: its address, a look at what it would bring, and only then the decision.

import { call } from "./api.js";
import { counted } from "./desk-figures.js";
import { chosen, choices, field, form } from "./desk-forms.js";
import { ago, listed, make, theirs, webAddress } from "./page.js";

const POLICIES = [
  { value: "draft", words: "Make a draft", about: "An editor decides about each story." },
  {
    value: "auto",
    words: "Ring at once",
    about: "Each new story becomes an alert to everybody who follows its topics.",
  },
  { value: "store", words: "Only remember", about: "Stories appear at the desk, and nothing more." },
];

/** What is decided about a feed, now or later. */
export function feedChoices(topics, feed = {}) {
  const { policy = "draft", topics: on = [], tags_add_topics: tags = false, hourly_limit: most = 20 } = feed;
  const options = topics.map(({ slug, name, description }) => ({ value: slug, words: name, about: description }));
  const hint = "Every story of this feed is for those who follow these.";
  const parts = [
    choices({ legend: "A new story", type: "radio", name: "policy", options: POLICIES, chosen: [policy] }),
  ];
  if (options.length)
    parts.push(choices({ legend: "Topics", type: "checkbox", name: "topics", options, chosen: on, hint }));
  parts.push(
    choices({
      legend: "Tags",
      type: "checkbox",
      name: "tags",
      options: [{ value: "add", words: "Tags of its stories may add topics", about: ADD }],
      chosen: tags ? ["add"] : [],
    }),
    field({ label: "Alerts within an hour, at most", name: "most", type: "number", min: 1, max: 10_000, value: most, hint: MOST }),
  );
  return parts;
}

const ADD = "The publisher’s own words then decide, besides you, whom a story rings for.";
const MOST = "What comes on top does not ring: it waits as a draft for an editor.";

/** What was decided. */
export const feedRules = (whole) => ({
  policy: chosen(whole, "policy")[0],
  topics: chosen(whole, "topics"),
  tags_add_topics: chosen(whole, "tags").length > 0,
  hourly_limit: Number(whole.elements.most.value),
});

/** `desk`: {topics, say, refresh}; `back` gets the keyboard when it is over. */
export function addFeed(place, desk, back) {
  if (place.childElementCount) return place.querySelector("input").focus();
  const close = () => {
    place.replaceChildren();
    back.focus();
  };
  const next = make("div", {});
  const looking = form({
    parts: [
      field({
        label: "Address of the feed",
        name: "url",
        type: "url",
        inputMode: "url",
        placeholder: "https://news.example/rss.xml",
        autocomplete: "off",
        hint: "An RSS or Atom document. It is fetched once, to show what is in it; nothing rings.",
      }),
    ],
    action: "Look what is in it",
    cancel: close,
    send: async (whole) => {
      next.replaceChildren(make("p", { className: "lone" }, "Asking the publisher…"));
      try {
        const url = whole.elements.url.value.trim();
        shown(next, url, await call("POST", "api/feeds/preview", { body: { url } }), desk, close);
      } catch (error) {
        next.replaceChildren();
        throw error;
      }
    },
  });
  next.setAttribute("aria-live", "polite");
  place.replaceChildren(make("div", { className: "sheet" }, make("h3", {}, "Add a feed"), looking, next));
  looking.querySelector("input").focus();
}

function shown(place, url, found, desk, close) {
  const head = found.trouble
    ? [
        make("p", { className: "note" }, found.trouble),
        make("p", {}, "You can correct the address above, or add it all the same: it is asked again and again."),
      ]
    : [
        make("h4", { dir: "auto" }, found.title || url),
        make(
          "p",
          {},
          `${counted(found.count, "story is", "stories are")} in it now. They are remembered and do not ring; ` +
            "what comes later does what you choose.",
        ),
      ];
  const deciding = form({
    parts: feedChoices(desk.topics),
    action: "Add this feed",
    cancel: close,
    send: async (whole) => {
      await call("POST", "api/feeds", { body: { url, ...feedRules(whole) } });
      desk.say("The feed is added, and asked for the first time now.");
      close();
      await desk.refresh();
      desk.watch();
    },
  });
  place.replaceChildren(...head, ...(found.entries.length ? [entries(found.entries, desk.topics)] : []), deciding);
}

function entries(found, topics) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const lines = found.map(({ title, url, published_at: published, topics: matched, tags }) => {
    const link = webAddress(url)
      ? make("a", { href: webAddress(url), target: "_blank", rel: "noopener" }, theirs(title))
      : theirs(title);
    const would = matched.length ? listed(matched.map((slug) => names.get(slug) ?? slug)) : ["no topic"];
    const words = [
      ...(published ? [ago(new Date(published), Date.now()), " · "] : []),
      ...["Matches ", ...would],
      ...(tags.length ? [" · Tags: ", ...listed(tags, "unit")] : []),
    ];
    return make("li", {}, link, make("small", {}, ...words));
  });
  const list = make("ul", { className: "preview-list" }, ...lines);
  list.setAttribute("aria-label", "What is in it now, and the topics it would match");
  list.tabIndex = 0; // It scrolls.
  return list;
}
