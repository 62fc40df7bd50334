// The composer: an alert as it is written, with how it will look, whom it will reach and what to mind.

import { call, intention, Problem } from "./api.js";
import { audienceLine } from "./desk-audience.js";
import { choices, chosen, doing, explain, field, sure } from "./desk-forms.js";
import { counted } from "./desk-figures.js";
import { previews } from "./desk-previews.js";
import { askAndSend, testHere } from "./desk-ring.js";
import { whenFields } from "./desk-when.js";
import { wordsOf } from "./desk-wire.js";
import { language, make } from "./page.js";

const PAUSE = 800; // milliseconds after the last key until a draft is saved
const A_CLICK = 400; // milliseconds
const LEVELS = [
  { value: "breaking", words: "Breaking", about: "Passes quiet hours and limits." },
  { value: "normal", words: "Normal", about: "A new story." },
  { value: "low", words: "Low", about: "May wait until the device is awake anyway." },
];
const LIVES = [
  [1, "1 hour"],
  [4, "4 hours"],
  [12, "12 hours"],
  [24, "A day"],
  [72, "3 days"],
].map(([hours, words]) => [String(hours * 3_600), words]);
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
  const parts = fields(draft, desk);
  const when = whenFields(desk.session.site.time_zone);
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
  const buttons = make("p", { className: "buttons" }, ...(may ? [send] : []), test, ...(may && draft.id ? [drop] : []));
  const form = make(
    "form",
    { className: "form composer", noValidate: true },
    ...parts.all,
    ...(may ? [when.element] : [make("p", { className: "note-small" }, "An editor releases it. Your draft is kept here.")]),
  );
  const beside = make("div", { className: "beside" }, audience.element, view.warnings, shown.element);
  const title = make("h1", {}, draft.id ? "Draft" : "New alert");
  pane.append(
    title,
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
    form.dataset.level = now.level;
    audience.ask(now.topics, now.level);
  }

  function nameButtons(found) {
    const reach = found ? counted(found.rings, "reader") : "the readers";
    send.textContent = when.isLater() ? `Schedule for ${reach}` : `Send to ${reach}`;
  }

  form.addEventListener("input", () => {
    drawn();
    clearTimeout(timer);
    timer = setTimeout(() => save().catch(() => {}), PAUSE);
  });
  form.addEventListener("change", ({ target }) => {
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
      if (!now.title || !now.url || !now.topics.length) return mind(now).then(() => null);
      if (draft.id && same(draft, now)) return draft;
      view.saved.textContent = "Saving…";
      try {
        const body = draft.id || !draft.story_id ? now : { ...now, story_id: draft.story_id };
        const made = !draft.id;
        draft = made
          ? await call("POST", "api/alerts", { body, once: intention() })
          : await call("PATCH", `api/alerts/${draft.id}`, { body });
        desk.changed(draft);
        title.textContent = "Draft";
        if (made && !left) history.replaceState(null, "", `#/alerts/${draft.id}`);
      } catch (error) {
        view.saved.textContent = "";
        explain(view.problem, error);
        throw error;
      }
      view.problem.hidden = true;
      view.saved.textContent = `Draft saved at ${clock.format(new Date())}.`;
      warn(draft.warnings);
      return draft;
    }));
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
    const done = await askAndSend(stored, { when: when.wish(), found: audience.found(), topics: desk.topics, warnings: draft.warnings });
    if (done) desk.turned(done);
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
    desk.say("The draft is deleted.");
    desk.go("#/");
  }

  drawn();
  warn(draft.warnings);
  if (draft.url) checkLink();
  return () => {
    left = true;
    clearTimeout(timer);
    if (draft.id && !same(draft, words())) save().catch(() => {});
  };
}

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });

function fields(draft, desk) {
  const counter = make("span", { className: "counter" });
  const title = field({ label: "Title", name: "title", rows: 2, maxLength: 300, value: draft.title, required: true });
  title.querySelector("label").append(counter);
  const link = field({ label: "Link", name: "url", type: "url", maxLength: 2_048, value: draft.url, required: true });
  const all = [
    title,
    field({ label: "Text", name: "body", rows: 4, maxLength: 1_000, value: draft.body }),
    link,
    field({ label: "Picture", name: "image", type: "url", maxLength: 2_048, value: draft.image ?? "", hint: "https:// address; Chrome and Android show it." }),
    choices({
      legend: "Topics",
      type: "checkbox",
      name: "topics",
      options: desk.topics.map(({ slug, name }) => ({ value: slug, words: name })),
      chosen: draft.topics,
    }),
    choices({ legend: "Level", type: "radio", name: "level", options: LEVELS, chosen: [draft.level] }),
    field({ label: "Worth telling for", name: "ttl", options: lives(draft.ttl), value: String(draft.ttl) }),
  ];
  return {
    all,
    link,
    count(length) {
      counter.textContent = ` ${length} of 90`;
      counter.classList.toggle("over", length > 90);
    },
  };
}

function lives(seconds) {
  if (LIVES.some(([value]) => value === String(seconds))) return LIVES;
  return [[String(seconds), `${Math.round(seconds / 360) / 10} hours`], ...LIVES];
}

function written(form) {
  const { title, body, url, image, ttl } = form.elements;
  return {
    title: title.value.replace(/\s+/g, " ").trim(),
    body: body.value.trim(),
    url: url.value.trim(),
    image: image.value.trim() || null,
    topics: chosen(form, "topics"),
    level: chosen(form, "level")[0],
    ttl: Number(ttl.value),
  };
}

const same = (draft, now) =>
  Object.entries(now).every(([name, value]) =>
    name === "topics" ? [...value].sort().join() === [...draft.topics].sort().join() : (draft[name] ?? null) === value,
  );
