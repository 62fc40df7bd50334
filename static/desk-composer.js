// The composer: an alert as it is written, with how it will look, whom it will reach and what to mind.

import { call, intention, Problem } from "./api.js";
import { audienceLine } from "./desk-audience.js";
import { clock, serverNow } from "./desk-clock.js";
import { linkChange, whatItCorrects } from "./desk-correction.js";
import { doing, explain, sure } from "./desk-forms.js";
import { counted } from "./desk-figures.js";
import { keeping } from "./desk-keep.js";
import { previews } from "./desk-previews.js";
import { askAndSend, testHere } from "./desk-ring.js";
import { whenFields } from "./desk-when.js";
import { wordsOf } from "./desk-wire.js";
import { alikeIn, changes, fields, put, written } from "./desk-words.js";
import { language, make } from "./page.js";

const PAUSE = 800; // milliseconds after the last key until a draft is saved
const A_CLICK = 400; // milliseconds
const EMPTY = { title: "", body: "", url: "", image: null, topics: [], level: "normal", ttl: 12 * 3_600, warnings: [] };

/** An alert from nothing, or from a story whose topics somebody has to name. */
export function newAlert(pane, desk) {
  const turned = ({ id }) => desk.go(`#/alerts/${id}`);
  return composer(pane, { ...desk, turned }, { ...EMPTY, ...(desk.story ? wordsOf(desk.story) : {}) });
}

/** `draft`: as the server knows it, or the beginning of one. Returns what to do when it is left. */
export function composer(pane, desk, draft) {
  const may = desk.session.editor.role !== "writer";
  let timer;
  let saving = Promise.resolve();
  let checked = "";
  let left = false;
  const keepingOf = ({ id, story_id: story }) => keeping(`${desk.session.editor.email} ${id ?? `new ${story ?? ""}`}`);
  let unsaved = keepingOf(draft);
  const kept = unsaved.kept();
  const parts = fields({ ...draft, ...kept }, desk.topics);
  const wrong = draft.corrects ? whatItCorrects(draft) : null;
  const when = wrong ? AT_ONCE : whenFields(desk.session.site.time_zone);
  const view = {
    problem: make("p", { className: "problem", hidden: true, tabIndex: -1 }),
    saved: make("p", { className: "saved" }),
    warnings: make("ul", { className: "warnings" }),
    link: make("p", { className: "note-small" }),
  };
  for (const live of [view.saved, view.link]) live.setAttribute("role", "status");
  view.warnings.setAttribute("aria-label", "What to mind");
  view.problem.setAttribute("role", "alert");
  parts.link.append(doing("Check the link", () => ((checked = ""), checkLink()), tell, "small-button"), view.link);
  const audience = audienceLine((found) => nameButtons(found));
  const shown = previews();
  const send = doing("Send", sendIt, tell, "main send");
  const test = doing("Test in my browser", tryIt, tell);
  const drop = doing("Delete the draft", deleteIt, tell, "final quiet");
  drop.hidden = !may || !draft.id;
  const buttons = make("p", { className: "buttons" }, ...(may ? [send] : []), test, drop);
  const form = make(
    "form",
    { className: "form composer", noValidate: true },
    ...(wrong ? [wrong.element] : []),
    ...parts.all,
    ...(may ? [when.element] : [make("p", { className: "note-small" }, "An editor releases it. Your draft is kept here.")]),
  );
  const beside = make("div", { className: "beside" }, audience.element, view.warnings, shown.element);
  const title = make("h1", {}, wrong ? "Correction" : draft.id ? "Draft" : "New alert");
  const held = draft.held_because ? [make("p", { className: "note" }, draft.held_because)] : [];
  pane.append(
    title,
    ...held,
    make("div", { className: "composing" }, form, beside),
    make("div", { className: "foot" }, view.problem, view.saved, buttons),
  );

  const words = () => written(form);

  function tell(sentence) {
    view.problem.textContent = sentence;
    view.problem.hidden = !sentence;
    if (sentence) view.problem.focus();
  }

  function drawn() {
    const now = words();
    parts.count(now.title.length);
    shown.show(now, desk.session.site.name);
    form.dataset.level = now.level ?? draft.level;
    audience.ask({ corrects: draft.corrects, ...now, ...when.wish() });
  }

  function nameButtons(found) {
    const reach = found ? counted(found.rings, "reader") : "the readers";
    send.textContent = when.isLater() ? `Schedule for ${reach}` : `Send ${wrong ? "the correction " : ""}to ${reach}`;
  }

  form.addEventListener("input", () => {
    drawn();
    unsaved.keep(changes(draft, words()));
    clearTimeout(timer);
    timer = setTimeout(() => save().catch(() => {}), PAUSE);
  });
  form.addEventListener("change", ({ target }) => {
    drawn();
    nameButtons(audience.found());
    // Not in the middle of the click that has left the field: what it says would move the page away under it.
    if (target.name === "url") setTimeout(checkLink, A_CLICK);
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  /** Saves are one after the other; the answer is the draft as the server has it, or null while it is no alert yet. */
  function save() {
    clearTimeout(timer);
    return (saving = saving.catch(() => {}).then(async () => {
      const now = words();
      const changed = changes(draft, now);
      if (draft.id && !Object.keys(changed).length) return draft;
      const missing = MISSING.filter(([name]) => name in now && !now[name].length).map(([, what]) => what);
      if (missing.length) {
        view.saved.textContent = `Not saved yet: it needs ${new Intl.ListFormat(language).format(missing)}.`;
        return mind(now).then(() => null);
      }
      view.saved.textContent = "Saving…";
      try {
        await store(now, changed);
      } catch (error) {
        view.saved.textContent = "";
        explain(view.problem, error);
        throw error;
      }
      view.problem.hidden = true;
      view.saved.textContent = `Draft saved at ${clock(serverNow())}.`;
      warn(draft.warnings);
      return draft;
    }));
  }

  /** Only what was changed here: somebody else may be writing the rest. */
  async function store(now, changed) {
    if (draft.id) adopt(await call("PATCH", `api/alerts/${draft.id}`, { body: changed }), now);
    else {
      const body = draft.story_id ? { ...now, story_id: draft.story_id } : now;
      draft = await call("POST", "api/alerts", { body, once: intention() });
      unsaved.forget();
      unsaved = keepingOf(draft);
      title.textContent = "Draft";
      drop.hidden = !may;
      if (!left) history.replaceState(null, "", `#/alerts/${draft.id}`);
    }
    desk.changed(draft);
    unsaved.keep(changes(draft, words()));
  }

  /** The draft as the server has it; what others changed there, and nobody here meanwhile, is shown. */
  function adopt(theirs, seen) {
    const mine = changes(seen, words());
    draft = theirs;
    for (const [name, value] of Object.entries(changes(words(), alikeIn(theirs, words())))) {
      if (!(name in mine)) put(form, name, value);
    }
    drawn();
  }

  async function mind({ title, body, url, level }) {
    if (!title) return warn([]);
    warn((await call("POST", "api/advice", { body: { title, body, url, level, id: draft.id ?? null } })).warnings);
  }

  function warn(found) {
    const lines = found.map(({ text }) => make("li", {}, text));
    if (view.warnings.textContent !== lines.map((line) => line.textContent).join("")) view.warnings.replaceChildren(...lines);
  }

  async function checkLink() {
    const { url } = words();
    if (!url || url === checked) return;
    checked = url;
    view.link.textContent = "Looking whether the link answers…";
    try {
      const told = await call("POST", "api/links/check", { body: { url } });
      if (url === words().url) view.link.textContent = told.sentence;
    } catch (error) {
      checked = "";
      view.link.textContent = error instanceof Problem ? error.message : "The link could not be looked at.";
    }
  }

  async function whole() {
    const stored = await save();
    if (!stored) throw new Problem("An alert needs a title, a link and at least one topic.");
    return stored;
  }

  async function sendIt() {
    const stored = await whole();
    const warnings = [...draft.warnings.map(({ text }) => text), ...linkChange(wrong?.known(), stored)];
    const done = await askAndSend(stored, { when: when.wish(), found: audience.found(), topics: desk.topics, warnings });
    if (!done) return;
    if (done.state !== "draft") return desk.turned(done);
    adopt(done, words());
    throw new Problem("Somebody changed this draft meanwhile. Read it once more, then send it.");
  }

  async function tryIt(button) {
    const stored = await whole();
    await testHere(stored, desk, button);
  }

  async function deleteIt() {
    const yes = await sure({ question: "Delete this draft?", words: "Nobody has seen it.", yes: "Delete it", no: "Keep it" });
    if (!yes) return;
    clearTimeout(timer);
    await saving.catch(() => {});
    await call("DELETE", `api/alerts/${draft.id}`);
    left = true;
    unsaved.forget();
    desk.forgotten(draft);
    desk.say("The draft is deleted.");
    desk.go("#/");
  }

  const hidden = () => document.hidden && save().catch(() => {});
  document.addEventListener("visibilitychange", hidden);
  drawn();
  warn(draft.warnings);
  if (Object.keys(kept).length) save().catch(() => {});
  if (draft.url) checkLink();
  return () => {
    document.removeEventListener("visibilitychange", hidden);
    clearTimeout(timer);
    if (left) return null;
    left = true;
    return save().catch(() => {}); // What cannot be saved is kept.
  };
}

const MISSING = [
  ["title", "a title"],
  ["url", "a link"],
  ["topics", "a topic"],
];

/** A correction cannot wait: readers have the wrong text meanwhile. */
const AT_ONCE = { element: "", isLater: () => false, wish: () => null };
