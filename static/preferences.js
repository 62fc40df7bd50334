// The reader's own page: topics, limits, pause, stop. Every change is saved at once, and says so.

import { Problem, site } from "./api.js";
import { language, make, ticked, topicBox } from "./page.js";
import * as limits from "./preferences-limits.js";
import { mine, permission, resync, stop } from "./subscribe.js";

const find = (selector) => document.querySelector(selector);
const main = find("main");
const fieldset = find("#topics");
const said = find("#said");
const dialog = find("#stop-dialog");

const ODD = "Something went wrong in this browser. Reload the page, then try again.";
let known; // The preferences as they are saved.

const sentence = (error) => (error instanceof Problem ? error.message : ODD);

async function start() {
  enter("loading");
  try {
    const here = await site();
    find("#site-name").textContent = here.name;
    known = (await resync(here)) ?? (await mine(here, "GET"));
    if (!known) return enter("none");
    showTopics(here.topics, known.topics);
    limits.show(known);
    showPause(known.paused_until);
    find("#blocked").hidden = permission() === "granted";
    enter("ready");
  } catch (error) {
    find("#problem").textContent = sentence(error);
    enter("error");
  }
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
    known = preferences;
    showPause(preferences.paused_until);
    return true;
  } catch (error) {
    said.textContent = sentence(error);
    return false;
  }
}

// Topics and limits. Changes are sent one after the other, so the last one is the one that stays.

let last = Promise.resolve();

function inTurn(change, takeBack) {
  last = last.then(async () => {
    if ((await save(change)) === false) takeBack();
  });
}

function showTopics(topics, followed) {
  const boxes = topics.map((topic) => topicBox(topic, followed.includes(topic.slug), true));
  fieldset.replaceChildren(fieldset.querySelector("legend"), ...boxes);
  if (!topics.length) fieldset.append(make("p", {}, "There is no topic to follow yet."));
}

fieldset.addEventListener("change", ({ target }) => {
  inTurn(() => ({ topics: ticked(fieldset) }), () => (target.checked = !target.checked));
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

function pauseEnd(choice) {
  const end = new Date();
  UNTIL[choice](end);
  return end.toISOString();
}

const inWords = new Intl.DateTimeFormat(language, {
  weekday: "long",
  day: "numeric",
  month: "long",
  hour: "2-digit",
  minute: "2-digit",
});

function showPause(until) {
  const paused = until !== null && new Date(until) > new Date();
  find("#pause").hidden = paused;
  find("#paused").hidden = !paused;
  if (paused) find("#paused-until").textContent = `Paused until ${inWords.format(new Date(until))}.`;
}

for (const button of document.querySelectorAll("[data-pause]")) {
  button.addEventListener("click", once(async () => {
    if (await save(() => ({ paused_until: pauseEnd(button.dataset.pause) }))) find("#resume").focus();
  }));
}

find("#resume").addEventListener("click", once(async () => {
  if (await save(() => ({ paused_until: null }))) find("[data-pause]").focus();
}));

// Stop.

find("#stop").addEventListener("click", () => dialog.showModal());
find("#stop-no").addEventListener("click", () => dialog.close());
find("#stop-yes").addEventListener("click", once(async () => {
  try {
    await stop();
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
