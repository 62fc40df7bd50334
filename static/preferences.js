// The reader's own page: topics, limits, pause, stop. Every change is saved at once, and says so.

import { Problem, site } from "./api.js";
import { language, make, topicBox } from "./page.js";
import { picker } from "./picker.js";
import * as limits from "./preferences-limits.js";
import { mine, permission, resync, stop } from "./subscribe.js";
import { tellOthers, whenChanged } from "./tabs.js";

const find = (selector) => document.querySelector(selector);
const main = find("main");
const fieldset = find("#topics");
const said = find("#said");
const dialog = find("#stop-dialog");

const ODD = "Something went wrong in this browser. Reload the page, then try again.";
let known; // The preferences as they are saved.
let behind = 0; // milliseconds that this browser's clock is behind the server's, which decides

const serverNow = () => new Date(Date.now() + behind);

const sentence = (error) => (error instanceof Problem ? error.message : ODD);

async function start() {
  enter("loading");
  try {
    const here = await site();
    const preferences = (await resync(here)) ?? (await mine(here, "GET"));
    if (!preferences) return enter("none");
    showTopics(here.topics, preferences.topics);
    show(preferences);
    find("#blocked").hidden = permission() === "granted";
    enter("ready");
  } catch (error) {
    find("#problem").textContent = sentence(error);
    enter("error");
  }
}

/** As they are saved now, whoever has changed them. */
function show(preferences) {
  known = preferences;
  behind = Date.parse(preferences.now) - Date.now();
  for (const box of fieldset.querySelectorAll("input[name=topic]")) box.checked = known.topics.includes(box.value);
  limits.show(known);
  showPause(known.paused_until);
}

function enter(state) {
  main.dataset.state = state;
  for (const part of main.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== state;
  said.textContent = "";
}

/** Change something at the server; true when it is saved, else the reader has been told why not. */
async function save(change) {
  said.textContent = "Saving…";
  try {
    const preferences = await mine(await site(), "PATCH", change());
    if (!preferences) return enter("none");
    said.textContent = "Saved.";
    if (waiting > 1) known = preferences; // What the reader has changed since then is still to be sent.
    else show(preferences);
    tellOthers();
    return true;
  } catch (error) {
    said.textContent = sentence(error);
    return false;
  }
}

// Topics and limits. Changes are sent one after the other, so the last one is the one that stays. Each says what is
// different by it and nothing else: what another tab has changed meanwhile stays.

let last = Promise.resolve();
let waiting = 0; // changes that are not saved yet

function inTurn(change, takeBack) {
  waiting += 1;
  last = last.then(async () => {
    if ((await save(change)) === false) takeBack();
    waiting -= 1;
  });
}

/** Another tab, or somebody who came back to this one: as it is now. A choice that is half made is left alone. */
async function lookAgain() {
  if (main.dataset.state === "none") return start();
  if (main.dataset.state !== "ready" || waiting || dialog.open) return;
  const preferences = await mine(await site(), "GET");
  if (waiting) return;
  if (!preferences) return enter("none");
  if (differ(preferences, known)) show(preferences);
}

const differ = ({ now: _, ...fresh }, { now: __, ...old }) => JSON.stringify(fresh) !== JSON.stringify(old);

whenChanged(() => lookAgain().catch(() => {})); // What is shown stays; the next change says what is wrong.

function showTopics(topics, followed) {
  const boxes = topics.map((topic) => topicBox(topic, followed.includes(topic.slug), true));
  fieldset.replaceChildren(fieldset.querySelector("legend"), picker(boxes));
  if (!topics.length) fieldset.append(make("p", {}, "There is no topic to follow yet."));
}

fieldset.addEventListener("change", ({ target }) => {
  if (target.name !== "topic") return;
  const change = { [target.checked ? "add_topics" : "remove_topics"]: [target.value] };
  inTurn(() => change, () => (target.checked = !target.checked));
});

limits.onChange(
  (wish) => inTurn(() => wish, () => limits.show(known)),
  (hint) => (last = last.then(() => (said.textContent = hint))),
);

// Pause.

const MORNING = 7; // o'clock, where the reader is
const SMALL_HOURS = 4; // before this, "tomorrow morning" means the one that is about to come

const UNTIL = {
  hour: (now) => now.setHours(now.getHours() + 1),
  week: (now) => now.setDate(now.getDate() + 7),
  tomorrow: (now) => {
    if (now.getHours() >= SMALL_HOURS) now.setDate(now.getDate() + 1);
    now.setHours(MORNING, 0, 0, 0);
  },
};

/** In seconds: a browser whose clock is wrong knows that too, and the server decides when they are over. */
function pauseFor(choice) {
  const end = serverNow();
  UNTIL[choice](end);
  return Math.round((end - serverNow()) / 1_000);
}

const inWords = new Intl.DateTimeFormat(language, {
  weekday: "long",
  day: "numeric",
  month: "long",
  hour: "2-digit",
  minute: "2-digit",
});

function showPause(until) {
  const paused = until !== null && new Date(until) > serverNow();
  find("#pause").hidden = paused;
  find("#paused").hidden = !paused;
  if (paused) find("#paused-until").textContent = `Paused until ${inWords.format(new Date(until))}.`;
}

for (const button of document.querySelectorAll("[data-pause]")) {
  button.addEventListener("click", once(async () => {
    if (await save(() => ({ pause_for: pauseFor(button.dataset.pause) }))) find("#resume").focus();
  }));
}

find("#resume").addEventListener("click", once(async () => {
  if (await save(() => ({ paused_until: null }))) find("[data-pause]").focus();
}));

// Stop.

for (const button of document.querySelectorAll("#stop, #stop-anyway")) {
  button.addEventListener("click", () => dialog.showModal());
}
find("#stop-no").addEventListener("click", () => dialog.close());
find("#stop-yes").addEventListener("click", once(async () => {
  try {
    await stop(site());
    tellOthers();
    dialog.close();
    find("#none").textContent = "Notifications are stopped. This browser follows nothing, and your topics here are forgotten.";
    enter("none");
    find("#none").focus();
  } catch (error) {
    dialog.close();
    said.textContent = sentence(error);
  }
}));

/** A second click while the first is at work does nothing. */
function once(action) {
  return async ({ currentTarget: button }) => {
    if (button.disabled) return;
    button.disabled = true;
    await action().finally(() => (button.disabled = false));
  };
}

find("#again").addEventListener("click", once(start));
start();
