// The soft prompt: asks in the page's own words before the browser asks in its own, and says at any time how things
// stand. Mounts itself on `#prompt`; `data-state` there is always one of the states below.

import { Problem, site } from "./api.js";
import { make, ticked } from "./page.js";
import { VIEWS } from "./prompt-views.js";
import {
  askPermission,
  follow,
  followedBefore,
  mine,
  onPermissionChange,
  othersHere,
  permission,
  resync,
  support,
} from "./subscribe.js";
import { tellOthers, whenChanged } from "./tabs.js";

// Where the prompt can go from each state. Anything else is a late answer, and is ignored.
const WAYS = {
  loading: ["ask", "subscribed", "denied", "unsupported", "home-screen", "insecure", "unreachable", "not-now"],
  ask: ["asking", "not-now", "denied", "loading", "subscribed"],
  asking: ["working", "ask", "denied", "not-now"], // The browser's own prompt is open.
  working: ["subscribed", "denied", "unreachable"],
  subscribed: ["loading", "denied", "ask", "not-now"],
  denied: ["ask", "loading", "not-now"],
  unsupported: ["not-now"],
  "home-screen": ["not-now"], // An iPhone or iPad that has yet to put the site on its Home Screen.
  insecure: ["not-now"],
  unreachable: ["loading", "working", "denied"], // The push service or our server does not answer.
  "not-now": ["loading", "ask", "subscribed"],
};

const PASSING = ["loading", "asking", "working"];

const CHOOSE = "Choose at least one topic first.";
const CLOSED = "Nothing was changed: your browser's own question was closed without an answer.";
const ODD = "Something went wrong in this browser. Reload the page, then try again.";

export class Prompt {
  constructor(section) {
    this.section = section;
    this.state = "loading";
    this.before = [];
    this.words = make("p", { className: "words", tabIndex: -1 });
    this.parts = make("div", { className: "parts" });
    this.said = make("p", { className: "said" });
    this.said.setAttribute("role", "status");
    section.replaceChildren(this.words, this.parts, this.said);
    section.addEventListener("click", () => (this.touched = true), { capture: true });
    this.draw();
  }

  /** How things stand, from the beginning. `wanted`: the reader has asked for it, so a "not now" is over. */
  async start({ wanted = false } = {}) {
    try {
      this.site = await site();
      this.preferences = await resync(this.site);
      await this.recall();
      this.enter(standing(this.preferences, wanted));
    } catch (error) {
      this.fail(error);
    }
  }

  /** What the reader should know before clicking OK: what they had here, and what somebody else sends. */
  async recall() {
    this.before = this.preferences ? [] : await followedBefore(this.site);
    this.others = await othersHere(this.site);
    if (this.before.length || this.others) this.form = undefined;
  }

  /** The reader clicked OK. Only this way leads to the browser's own prompt. */
  async ok() {
    this.chosen = ticked(this.form);
    if (!this.chosen.length) return this.say(CHOOSE);
    if (!this.enter("asking")) return;
    const answer = await askPermission();
    if (answer === "granted") return this.follow();
    this.enter(answer === "denied" ? "denied" : "ask", CLOSED);
  }

  async follow() {
    if (!this.enter("working")) return;
    try {
      this.preferences = await follow(this.site, this.chosen);
      this.chosen = undefined;
      this.enter("subscribed");
      tellOthers();
    } catch (error) {
      this.fail(error);
    }
  }

  notNow() {
    if (this.enter("not-now")) declined.remember();
  }

  bringBack() {
    declined.forget();
    if (this.enter("loading")) this.start({ wanted: true });
  }

  /** Again from where it stopped: with the reader's choice, if there is one. */
  again() {
    if (this.chosen && permission() === "granted") return this.follow();
    if (this.enter("loading")) this.start({ wanted: true });
  }

  permissionChanged(now) {
    if (PASSING.includes(this.state)) return;
    const wanted = this.state !== "not-now";
    if (now === "denied") this.enter("denied");
    else if (now === "default" && this.state === "denied") this.enter("ask", "Notifications are no longer blocked.");
    else if (this.enter("loading")) this.start({ wanted });
  }

  /** Another tab, or the preferences, may have changed how things stand; who is half-way in here is left alone. */
  async lookAgain() {
    if (!["ask", "subscribed", "not-now"].includes(this.state)) return;
    const before = this.state;
    const preferences = await mine(this.site, "GET");
    if (this.state !== before) return;
    this.preferences = preferences;
    const state = standing(preferences, false);
    if (state === before && state === "subscribed") this.draw();
    else if (state !== before) this.enter(state);
  }

  fail(error) {
    this.problem = error instanceof Problem ? error.message : ODD;
    this.enter(permission() === "denied" ? "denied" : "unreachable");
  }

  enter(state, note = "") {
    if (!WAYS[this.state].includes(state)) return false;
    this.state = state;
    this.draw();
    if (state === "ask") this.say(note);
    return true;
  }

  draw() {
    const { words, parts, said = "" } = VIEWS[this.state](this);
    this.section.dataset.state = this.state;
    this.words.replaceChildren(...[words].flat());
    if (parts[0] !== this.parts.firstChild || !parts.length) this.parts.replaceChildren(...parts);
    this.say(said);
    this.keepFocus();
  }

  /** Whoever clicked here and lost the button under the finger is put on the sentence that says what came of it. */
  keepFocus() {
    if (!this.touched || PASSING.includes(this.state)) return;
    this.touched = false;
    if (!this.section.contains(document.activeElement)) this.words.focus({ preventScroll: true });
  }

  /** Beside the button, and on the screen: a phone may end just below it. */
  say(sentence) {
    this.said.textContent = sentence;
    if (sentence && this.touched) this.said.scrollIntoView({ block: "nearest" });
  }
}

/** The state to show when nobody has clicked anything yet. */
function standing(preferences, wanted) {
  if (preferences?.topics.length) return "subscribed";
  if (declined.stillHolds() && !wanted) return "not-now";
  if (support() !== "ok") return support();
  return permission() === "denied" ? "denied" : "ask";
}

// "Not now" holds for two weeks in this browser. A browser that stores nothing is asked again.
const declined = {
  name: "newsbell.not-now",
  days: 14,
  stillHolds: () => quietly(() => Number(localStorage.getItem(declined.name)) > Date.now()) ?? false,
  remember: () => quietly(() => localStorage.setItem(declined.name, Date.now() + declined.days * 86_400_000)),
  forget: () => quietly(() => localStorage.removeItem(declined.name)),
};

function quietly(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

const section = document.querySelector("#prompt");
if (section) {
  const prompt = new Prompt(section);
  onPermissionChange((now) => prompt.permissionChanged(now));
  whenChanged(() => prompt.lookAgain().catch(() => {})); // What is said stays until somebody does something here.
  prompt.start();
}
