// One alert in its pane, whatever state it is in: written, approved, counted down, on its way, done.

import { call } from "./api.js";
import { composer } from "./desk-composer.js";
import { counted, lasting } from "./desk-figures.js";
import { doing, field, form, sure } from "./desk-forms.js";
import { listen } from "./desk-live.js";
import { status, trouble } from "./desk-loading.js";
import { progressView } from "./desk-progress.js";
import { report } from "./desk-report.js";
import { wishOf, zones } from "./desk-when.js";
import { language, make, webAddress } from "./page.js";

const LIVE = new Set(["proposed", "scheduled", "released", "sending"]);

/** Fills the pane and follows the alert; returns what to do when it is left. */
export function alertPane(pane, desk) {
  let shown = null; // the state that is on the page
  let view = null; // {update?, leave?} of what is on the page
  let mute = () => {};
  let left = false;
  const own = { ...desk, turned };

  function turned(alert) {
    if (left) return;
    desk.changed(alert);
    if (alert.id !== desk.id) return desk.go(`#/alerts/${alert.id}`);
    const open = alert.state === "recalled" && !alert.finished_at;
    const kind = VIEWS[alert.state] === ended && open ? going : VIEWS[alert.state];
    if (shown === `${kind.name} ${alert.due_at}` && view?.update) view.update(alert);
    else draw(alert, kind);
    if (LIVE.has(alert.state) || open) follow();
  }

  function draw(alert, kind) {
    const held = pane.contains(document.activeElement);
    view?.leave?.();
    pane.replaceChildren();
    shown = `${kind.name} ${alert.due_at}`;
    view = kind(pane, own, alert);
    if (held && !pane.contains(document.activeElement)) pane.focus({ preventScroll: true });
    if (pane.getBoundingClientRect().top < 0) pane.scrollIntoView(); // the new state begins at its top
  }

  let following = false;
  function follow() {
    if (following) return;
    following = true;
    const path = `api/alerts/${desk.id}/events`;
    mute = listen(path, {
      progress: (alert) => (alert.state === "draft" ? unfollow(alert) : turned(alert)),
      end: () => {
        following = false;
        call("GET", `api/alerts/${desk.id}`).then(turned, () => {});
      },
    });
  }

  function unfollow(alert) {
    mute();
    following = false;
    turned(alert);
  }

  async function begin() {
    pane.replaceChildren(status("Fetching the alert…"));
    try {
      turned(await call("GET", `api/alerts/${desk.id}`));
    } catch (problem) {
      const again = make("button", { type: "button", className: "main", onclick: begin }, "Try again");
      if (!left) pane.replaceChildren(trouble(problem, "the alert"), make("p", { className: "lone" }, again));
    }
  }
  begin();
  return () => {
    left = true;
    mute();
    view?.leave?.();
  };
}

const VIEWS = { draft: drafted, proposed, scheduled, released: going, sending: going, finished: ended, recalled: ended };

const mayRing = ({ session }) => session.editor.role !== "writer";

function drafted(pane, desk, alert) {
  return { leave: composer(pane, desk, alert) };
}

// Deciding about it.

/** A button that does it and shows what came of it; trouble is said under the buttons. */
function act(desk, alert, words, how, className = "", body) {
  return doing(words, async () => desk.turned(await call("POST", `api/alerts/${alert.id}/${how}`, { body })), desk.tell, className);
}

function telling(desk) {
  const problem = make("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  desk.tell = (sentence) => {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  };
  return problem;
}

function proposed(pane, desk, alert) {
  const problem = telling(desk);
  const mine = alert.proposed_by === desk.session.editor.email;
  const audience = make("p", { className: "audience" });
  const head = [
    make("h1", {}, mine ? "Waits for a second person" : "Your word is asked"),
    text(alert, desk),
    audience,
    make("p", {}, `${alert.proposed_by} wants to send it${at(alert)}. `, mine ? THEIRS : YOURS),
  ];
  const approve = act(desk, alert, "Approve and send", "approve", "main send");
  const back = act(desk, alert, mine ? "Take it back" : "Not so: back to the draft", "undo");
  const alone = doing("Send without a second person…", () => override(desk, alert), desk.tell, "quiet final");
  const buttons = !mayRing(desk) ? [] : mine ? [back, alone] : [approve, back];
  pane.append(...head, problem, make("p", { className: "buttons" }, ...buttons));
  reach(alert).then((rings) => {
    if (rings === null) return;
    audience.replaceChildren(make("b", {}, counted(rings, "reader")), ", once each.");
    approve.textContent = `Approve and send to ${counted(rings, "reader")}`;
  });
  return {};
}

const THEIRS = "Another editor has to approve: they have been asked in their own browsers, and see it here.";
const YOURS = "Read it once more: with your word it goes out, after ten seconds in which it can be taken back.";

async function reach({ topics, level }) {
  try {
    return (await call("GET", `api/audience?topics=${encodeURIComponent(topics.join(","))}&level=${level}`)).rings;
  } catch {
    return null;
  }
}

/** Alone, and written down as such. */
function override(desk, alert) {
  return new Promise((done) => {
    const dialog = make("dialog", {}, make("h2", { id: "override" }, "Send without a second person?"));
    dialog.setAttribute("aria-labelledby", "override");
    dialog.append(
      make("p", {}, "The rule of this newsroom asks for two people. Your reason is written into the audit, for everybody to read."),
      form({
        parts: [field({ label: "Why it cannot wait", name: "reason", rows: 2, maxLength: 500, required: true })],
        action: "Send it alone",
        cancel: () => dialog.close(),
        send: async (whole) => {
          const body = { override: whole.elements.reason.value.trim() };
          const now = await call("POST", `api/alerts/${alert.id}/release`, { body });
          dialog.close();
          desk.turned(now);
        },
      }),
    );
    dialog.addEventListener("close", () => (dialog.remove(), done()));
    document.body.append(dialog);
    dialog.showModal();
  });
}

const SOON = 60; // seconds: nearer than this, every second is counted down

function scheduled(pane, desk, alert) {
  const problem = telling(desk);
  const due = performance.now() + alert.due_in * 1_000; // the server's clock, not this computer's
  const title = make("h1", {});
  const bar = make("progress", { max: desk.session.rules.undo_seconds, className: "countdown" });
  bar.setAttribute("aria-label", "Time to take it back");
  const told = make("p", { className: "unseen" });
  told.setAttribute("role", "status");
  const undo = act(desk, alert, "Take it back", "undo", "main undo");
  const buttons = make("p", { className: "buttons" }, ...(mayRing(desk) ? [undo] : []));
  const soon = alert.due_in <= SOON;
  pane.append(title, ...(soon ? [bar, told] : []), problem, buttons, text(alert, desk));
  if (!soon && mayRing(desk)) buttons.append(mover(pane, desk, alert));
  function tick() {
    const seconds = Math.max(0, (due - performance.now()) / 1_000);
    bar.value = Math.min(seconds, bar.max);
    const words = seconds > SOON ? `Goes out${at(alert)}` : seconds > 0 ? `Goes out in ${Math.ceil(seconds)} s` : "Going out…";
    if (title.textContent !== words) title.textContent = words;
    undo.hidden = seconds <= 0;
  }
  tick();
  const timer = setInterval(tick, soon ? 100 : 1_000);
  if (soon) {
    told.textContent = `It goes out in ${Math.ceil(alert.due_in)} seconds. You can take it back until then.`;
    undo.focus();
  }
  return { update: () => {}, leave: () => clearInterval(timer) };
}

function mover(pane, desk, alert) {
  return doing("Move", () => {
    const place = make("div", {});
    const zone = alert.time_zone || desk.session.site.time_zone;
    const moving = form({
      parts: [
        field({ label: "Date and time", name: "at", type: "datetime-local", required: true }),
        field({ label: "On the clock of", name: "zone", options: zones(zone), value: zone }),
      ],
      action: "Move it",
      cancel: () => place.remove(),
      send: async (whole) => desk.turned(await call("POST", `api/alerts/${alert.id}/schedule`, { body: wishOf(whole) })),
    });
    place.append(moving);
    pane.append(place);
    moving.querySelector("input").focus();
  }, desk.tell);
}

function at({ due_at: due, time_zone: zone }) {
  if (!due) return "";
  const options = { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" };
  const here = new Intl.DateTimeFormat(language, zone ? { ...options, timeZone: zone } : options);
  return ` on ${here.format(new Date(due))}${zone ? ` (${zone.replaceAll("_", " ")})` : ""}`;
}

// On its way, and after.

function going(pane, desk, alert) {
  const problem = telling(desk);
  const progress = progressView();
  const title = make("h1", {}, "On its way");
  const stop = doing("Stop", () => recall(desk, alert), desk.tell, "final");
  const buttons = make("p", { className: "buttons" }, ...(mayRing(desk) ? [stop, correcting(pane, desk, alert)] : []));
  pane.append(title, progress.element, problem, buttons, text(alert, desk));
  const update = (now) => {
    const stopping = now.state === "recalled";
    title.textContent = stopping ? "Stopping" : "On its way";
    stop.hidden = stopping;
    progress.show(now);
  };
  update(alert);
  return { update };
}

async function recall(desk, alert) {
  const words = "Who has not got it yet never will. Those who have it keep it: a correction replaces it on their screens.";
  if (!(await sure({ question: "Stop sending this alert?", words, yes: "Stop it", no: "Let it go on" }))) return;
  desk.turned(await call("POST", `api/alerts/${alert.id}/recall`));
}

function ended(pane, desk, alert) {
  const problem = telling(desk);
  const correct = alert.corrected_by
    ? make("a", { className: "button", href: `#/alerts/${alert.corrected_by}` }, "See its correction")
    : correcting(pane, desk, alert);
  const place = make("div", {});
  pane.append(
    make("h1", {}, alert.state === "recalled" ? "Recalled" : alert.corrects ? "Correction sent" : "Sent"),
    make("p", { className: "summary-line" }, inWords(alert)),
    text(alert, desk),
    problem,
    make("p", { className: "buttons" }, ...(mayRing(desk) && (alert.outcomes.accepted || alert.corrected_by) ? [correct] : [])),
    place,
  );
  return { update: () => {}, leave: alert.recipients ? report(place, alert.id) : undefined };
}

function inWords({ state, recipients, outcomes, released_at: released, finished_at: finished }) {
  if (!recipients) return state === "recalled" ? "Recalled before anybody got it." : "Nobody follows these topics yet, so nobody got it.";
  const took = (Date.parse(finished) - Date.parse(released)) / 1_000;
  const rest = OTHERS.filter(([key]) => outcomes[key]).map(([key, words]) => `${outcomes[key].toLocaleString(language)} ${words}`);
  const got = `${counted(outcomes.accepted, "reader")} of ${recipients.toLocaleString(language)} got it in ${lasting(took)}`;
  return rest.length ? `${got}; ${rest.join(", ")}.` : `${got}.`;
}

const OTHERS = [
  ["held", "held back by their own rules"],
  ["gone", "gone"],
  ["refused", "refused"],
  ["failed", "failed"],
  ["expired", "too late"],
  ["recalled", "recalled"],
];

function correcting(pane, desk, alert) {
  const open = doing("Correct", () => {
    if (pane.querySelector(".correction")) return;
    const reached = counted(alert.outcomes.accepted, "reader");
    const place = make("section", { className: "sheet correction" }, make("h2", {}, "Correct it"));
    const who = alert.finished_at ? `the ${reached} who got it` : "exactly those who got it by then; the others get nothing";
    const writing = form({
      parts: [
        make("p", {}, `The correction replaces it, silently, on the screens of ${who}. It goes out at once.`),
        field({ label: "Title", name: "title", rows: 2, maxLength: 300, value: alert.title }),
        field({ label: "Text", name: "body", rows: 3, maxLength: 1_000, value: alert.body }),
        field({ label: "Link", name: "url", type: "url", maxLength: 2_048, value: alert.url }),
      ],
      action: "Send the correction",
      cancel: () => (place.remove(), open.focus()),
      send: async (whole) => {
        const { title, body, url } = whole.elements;
        const changed = Object.entries({ title, body, url }).filter(([name, input]) => input.value.trim() !== alert[name]);
        const wish = Object.fromEntries(changed.map(([name, input]) => [name, input.value.trim()]));
        desk.turned(await call("POST", `api/alerts/${alert.id}/correct`, { body: wish }));
      },
    });
    place.append(writing);
    pane.append(place);
    writing.querySelector("textarea").focus();
  }, desk.tell);
  return open;
}

/** The words, as readers get them. */
function text(alert, { topics }) {
  const names = new Map(topics.map(({ slug, name }) => [slug, name]));
  const of = new Intl.ListFormat(language).format(alert.topics.map((slug) => names.get(slug) ?? slug));
  const href = webAddress(alert.url);
  const level = make("span", { className: alert.level === "breaking" ? "level-breaking" : "" }, LEVEL[alert.level]);
  return make(
    "blockquote",
    { className: "told" },
    make("p", { className: "told-title" }, alert.title),
    ...(alert.body ? [make("p", {}, alert.body)] : []),
    make("p", { className: "facts" }, level, ` · ${of} · by ${alert.made_by}`),
    ...(href ? [make("p", { className: "facts" }, make("a", { href, rel: "noopener", target: "_blank" }, alert.url))] : []),
  );
}

const LEVEL = { breaking: "Breaking", normal: "Normal", low: "Low" };
