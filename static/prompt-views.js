// What the prompt says in each of its states, and the way out of each.

import { home } from "./api.js";
import { listed, make, topicBox } from "./page.js";
import { picker } from "./picker.js";

export const VIEWS = {
  loading: () => ({ words: "Looking up notifications…", parts: [] }),

  ask: (prompt) => form(prompt),

  asking: (prompt) =>
    form(prompt, {
      said: "Your browser asks now: choose “Allow” there. If you see no question, look for a bell at the address bar.",
      busy: true,
    }),

  working: (prompt) =>
    form(prompt, { said: "One moment, the bell is being set up…", busy: true, last: true }),

  subscribed: ({ site, preferences }) => ({
    words: ["You follow ", ...listed(someOf(preferences.topics.map((slug) => nameOf(site, slug)))), "."],
    parts: [
      make("p", {}, stillPaused(preferences) ? "Notifications are paused for now." : "New stories ring in this browser."),
      make("p", {}, link("preferences", "Change topics, pause or stop")),
    ],
  }),

  denied: (prompt) => ({
    words: "Notifications from this site are blocked in this browser.",
    parts: [
      make("p", {}, UNBLOCK[browser()]),
      make("p", {}, "This page notices when you have changed it. In a private window it can’t be changed: open the page in an ordinary one."),
      notNow(prompt),
    ],
  }),

  unsupported: (prompt) => ({
    words: "This browser can't show notifications from websites.",
    parts: [
      make("p", {}, "An up-to-date Firefox, Chrome, Edge or Safari can, though not in a private window."),
      notNow(prompt),
    ],
  }),

  "home-screen": (prompt) => ({
    words: "On iPhone and iPad, notifications come to sites on the Home Screen.",
    parts: [
      make(
        "ol",
        {},
        make("li", {}, "Tap the Share button (the square with an arrow) in your browser."),
        make("li", {}, "Choose “Add to Home Screen”, then “Add”."),
        make("li", {}, "Open the site from its new icon. The bell is offered there."),
      ),
      make("p", {}, "This needs iOS or iPadOS 16.4 or newer."),
      notNow(prompt),
    ],
  }),

  insecure: (prompt) => ({
    words: "Notifications need a secure connection.",
    parts: [make("p", {}, make("a", { href: secureAddress() }, "Open this page with https")), notNow(prompt)],
  }),

  unreachable: (prompt) => ({
    words: "Notifications can't be set up at the moment.",
    parts: [
      make("p", {}, prompt.problem),
      make("p", {}, button("again", "Try again", () => prompt.again(), "main")),
    ],
  }),

  "not-now": (prompt) => ({
    words: "Notifications are off.",
    parts: [button("bring-back", "Turn them on", () => prompt.bringBack(), "quiet")],
  }),
};

const NO_TOPICS = "There is no topic to follow yet. Come back a little later.";

// The same form stands through ask, asking and working, so nothing jumps and the ticks stay.
function form(prompt, { said, busy = false, last = false } = {}) {
  const { topics } = prompt.site;
  if (!topics.length) return { words: NO_TOPICS, parts: [notNow(prompt)] };
  prompt.form ??= newForm(prompt);
  prompt.form.querySelector("fieldset").disabled = busy;
  prompt.form.querySelector("#ok").disabled = busy;
  prompt.form.querySelector("#not-now").disabled = last;
  prompt.form.setAttribute("aria-busy", String(busy));
  return { words: invitation(prompt), said, parts: [prompt.form] };
}

function invitation({ site, before }) {
  if (!before.length) return site.prompt.text;
  const names = listed(someOf(before.map((slug) => nameOf(site, slug))));
  return ["You followed ", ...names, ` here before. Click “${site.prompt.ok}” to follow again.`];
}

const OTHERS = "At the moment, another service sends this site's notifications to this browser. With “OK”, ours take their place.";

function newForm(prompt) {
  const { topics, prompt: words } = prompt.site;
  const boxes = topics.map((topic) => topicBox(topic, topics.length === 1 || prompt.before.includes(topic.slug)));
  const fieldset = make("fieldset", {}, make("legend", {}, "Which topics?"), picker(boxes, { few: 6 }));
  fieldset.addEventListener("change", () => prompt.say(""));
  const ok = button("ok", words.ok, () => prompt.ok(), "main");
  const note = prompt.others ? [make("p", { id: "others" }, OTHERS)] : [];
  return make("form", {}, fieldset, ...note, make("p", { className: "buttons" }, ok, notNow(prompt, words.not_now)));
}

const notNow = (prompt, words = "Not now") => button("not-now", words, () => prompt.notNow(), "quiet");

const button = (id, words, onclick, className) => make("button", { id, type: "button", onclick, className }, words);

const link = (path, words) => make("a", { href: new URL(path, home).href }, words);

/** Whoever follows many has a page for them. */
const someOf = (names) => (names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : names);

const nameOf = (site, slug) => site.topics.find((topic) => topic.slug === slug)?.name ?? slug;

const stillPaused = ({ paused_until: until }) => until !== null && new Date(until) > new Date();

const secureAddress = () => location.href.replace(/^http:/, "https:");

function browser() {
  const { userAgent } = navigator;
  if (/iPhone|iPad|iPod/.test(userAgent)) return "apple-phone";
  return ["Firefox", "Edg", "Chrome", "Safari"].find((name) => userAgent.includes(`${name}/`)) ?? "other";
}

const UNBLOCK = {
  Firefox: `To undo it in Firefox: click the permissions icon just left of the address (on a phone, the padlock), find
    “Send notifications” and clear “Blocked”.`,
  Edg: `To undo it in Edge: click the padlock left of the address, choose “Permissions for this site” and set
    “Notifications” to “Allow”.`,
  Chrome: `To undo it in Chrome: click the icon left of the address, find “Notifications” (on a phone, under
    “Permissions”) and switch them on.`,
  Safari: "To undo it in Safari: open Safari, Settings, Websites, Notifications, and choose “Allow” beside this site.",
  "apple-phone": `To undo it: open the Settings app, choose Notifications, then this site, and switch on
    “Allow Notifications”.`,
  other: "To undo it: open this site's permissions in your browser's settings and allow notifications.",
};
