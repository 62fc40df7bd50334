// The only file that touches the browser's PushManager: makes a subscription, keeps the server's copy in step with
// the browser's, and ends it.

import { call, home, Problem } from "./api.js";
import * as store from "./store.js";

// A worker must come from the page's own origin and stand at its root, so a site that embeds the prompt names its file.
const WORKER = document.querySelector("[data-worker]")?.dataset.worker ?? "/sw.js";

// Firefox loses a subscribe() that comes while it is still starting up; the next one succeeds.
const TRIES = 3;
const PATIENCE = 3_500; // milliseconds for one try

const AWAY =
  "Your browser's push service doesn't answer. It may be switched off in the browser's settings, or blocked by this network.";

const PRIVATE =
  "This browser refuses notifications here. It does so in private windows: open the page in an ordinary one, and they can be set up.";

/** "ok", or the state of the prompt that says why this page cannot have notifications. */
export function support() {
  if (!window.isSecureContext) return "insecure";
  if ("PushManager" in window && "Notification" in window && "serviceWorker" in navigator) return "ok";
  return isApplePhone() ? "home-screen" : "unsupported";
}

// An iPad calls itself a Mac, but no Mac has a touch screen.
function isApplePhone() {
  const { userAgent, maxTouchPoints } = navigator;
  return /iPhone|iPad|iPod/.test(userAgent) || (userAgent.includes("Macintosh") && maxTouchPoints > 1);
}

export const permission = () => globalThis.Notification?.permission ?? "default";

/** Opens the browser's own prompt, so only ever call it from a click. */
export const askPermission = () => Notification.requestPermission();

let watched; // Held, so that the browser does not collect it together with its listeners.

export async function onPermissionChange(act) {
  let last = permission();
  const look = () => {
    if (permission() === last) return;
    last = permission();
    act(last);
  };
  document.addEventListener("visibilitychange", look); // For browsers that do not tell.
  watched = await navigator.permissions?.query({ name: "notifications" }).catch(() => undefined);
  watched?.addEventListener("change", look);
}

/** Follow these topics with this browser; the answer is the reader's preferences. */
export async function follow(site, topics) {
  return tell(await subscription(site), site, topics);
}

/** This browser's own live PushSubscription, for an editor who wants tests here; it follows nothing by that. */
export const subscriptionHere = (site) => subscription(site);

/**
 * Bring browser and server into step; the preferences, or null when this browser follows nothing. A page view is enough
 * for it, so it leaves alone what another service has here.
 */
export async function resync(site) {
  if (support() !== "ok" || permission() !== "granted") return null;
  const known = await store.read();
  const live = await current();
  if (live ? !isOurs(live, known, site) : !known.key || (await othersWorker())) return null;
  const ours = await subscription(site);
  const preferences = await tell(ours, site).catch(unlessRefused);
  if (preferences || !live) return preferences;
  // The server has forgotten this browser, and its reader has changed nothing meanwhile.
  const topics = await followedBefore(site);
  return topics.length ? tell(ours, site, topics).catch(unlessRefused) : null;
}

/** What this browser followed when the server last knew it, of the topics that there still are. */
export async function followedBefore(site) {
  const { topics = [] } = await store.read();
  return topics.filter((slug) => site.topics.some((topic) => topic.slug === slug));
}

/** Whether this site's notifications come from another service here; following ours ends them. */
export async function othersHere(site) {
  const live = await current();
  return Boolean(live) && !isOurs(live, await store.read(), site);
}

// A server that no longer knows this browser does not guess its topics.
function unlessRefused(problem) {
  if (problem.status >= 400 && problem.status < 429) return null;
  throw problem;
}

/** GET or PATCH the reader's preferences; a key that the server has forgotten is replaced once. */
export async function mine(site, method, body) {
  const { key } = await store.read();
  if (!key) return null;
  try {
    return await kept(await call(method, "api/subscriptions/me", { body, key }));
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    const preferences = await resync(site);
    if (!preferences || method === "GET") return preferences;
    return kept(await call(method, "api/subscriptions/me", { body, key: (await store.read()).key }));
  }
}

/** The topics, for the day when the server has forgotten this browser. */
async function kept(preferences) {
  const known = await store.read();
  if (known.key) await store.write({ ...known, topics: preferences.topics }); // Another tab may have stopped meanwhile.
  return preferences;
}

/**
 * The reader's wish wins: once the browser has let go, a server that is away finds out at the next push. `asking`: what
 * the site says, which only matters where the browser has no record of whose subscription it has.
 */
export async function stop(asking) {
  const known = await store.read();
  const live = await current();
  const site = await asking.catch((problem) => (live && !known.vapid ? Promise.reject(problem) : null));
  const ours = live && isOurs(live, known, site) ? live : null;
  const letGo = ours ? within(PATIENCE, ours.unsubscribe()) : true;
  const [told, ended] = await Promise.allSettled([sayGoodbye(known, ours), letGo]);
  if (told.status === "rejected" && !ended.value) throw told.reason;
  await store.forget();
}

async function sayGoodbye({ key }, ours) {
  // The server knows a browser that stores nothing by its subscription.
  const known = key ?? (ours && (await post(ours).catch(unlessRefused))?.key);
  if (known) await call("DELETE", "api/subscriptions/me", { key: known }).catch(unlessRefused);
}

// The browser's side: one live subscription, made with the key that the site has now.

async function subscription(site) {
  const known = await store.read();
  const live = await current();
  if (live && keyOf(live, known) === site.vapid_public_key) return live;
  if (live) await letGo(live, known, site);
  return make(site);
}

async function current() {
  const registration = await navigator.serviceWorker?.getRegistration().catch(() => undefined); // All data is blocked.
  return (await registration?.pushManager?.getSubscription()) ?? null;
}

/** Made with the site's key, or with one that it had before. */
function isOurs(live, known, site) {
  const keys = [site?.vapid_public_key, known.vapid].filter(Boolean);
  return keys.includes(keyOf(live, known)) || live.endpoint === known.subscription?.endpoint;
}

/** Whether the pages here have a service worker, and it is not ours. */
async function othersWorker() {
  const registration = await navigator.serviceWorker.getRegistration();
  const worker = registration?.active ?? registration?.waiting ?? registration?.installing;
  return Boolean(worker) && new URL(worker.scriptURL).pathname !== new URL(WORKER, location.href).pathname;
}

function keyOf(live, known) {
  const bytes = live.options?.applicationServerKey;
  return bytes ? base64url(bytes) : known.vapid;
}

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// A subscription cannot change its key. What it was is kept, so that the server can carry the reader over.
async function letGo(live, known, site) {
  if (!known.subscription && isOurs(live, known, site)) await store.write({ ...known, subscription: live.toJSON() });
  await live.unsubscribe();
}

async function make(site) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await within(PATIENCE, ask(site));
    } catch (error) {
      if (error.name === "NotAllowedError") throw error;
      // Chromium's words in a private window, where it says that everything is allowed and lets nothing be told apart.
      if (/permission denied/.test(error.message)) throw new Problem(PRIVATE);
      if (attempt === TRIES) throw new Problem(AWAY);
      await pause(attempt * 250);
    }
  }
}

async function ask(site) {
  await navigator.serviceWorker.register(WORKER, { updateViaCache: "none" });
  const { pushManager } = await navigator.serviceWorker.ready;
  return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: site.vapid_public_key });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function within(milliseconds, promise) {
  const late = pause(milliseconds).then(() => {
    throw new Error("No answer in time.");
  });
  return Promise.race([promise, late]);
}

// The server's side: it knows this browser by what is stored, until it has accepted something newer.

async function tell(live, site, topics) {
  const known = await store.read();
  const moved = known.subscription && known.subscription.endpoint !== live.endpoint;
  let answer = moved ? await renew(known.subscription, live) : null;
  if (!answer || topics) answer = await post(live, topics, answer?.key ?? known.key);
  const { topics: followed } = answer.preferences;
  const subscription = live.toJSON();
  await store.write({ key: answer.key, subscription, vapid: site.vapid_public_key, home, topics: followed });
  return answer.preferences;
}

async function renew({ endpoint, keys }, live) {
  try {
    const body = { old: { endpoint, auth: keys.auth }, subscription: live.toJSON() };
    return await call("POST", "api/subscriptions/renew", { body });
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    return null;
  }
}

async function post(live, topics, key) {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const body = { subscription: live.toJSON(), topics, time_zone: timeZone, language: navigator.language };
  try {
    return await call("POST", "api/subscriptions", { body, key });
  } catch (problem) {
    if (problem.status !== 401 || !key) throw problem;
    return call("POST", "api/subscriptions", { body });
  }
}
