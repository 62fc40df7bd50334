// The service worker: shows every message that is pushed, opens what it is about, and keeps the server told when the
// browser changes its subscription. It imports nothing, so nothing else has to load for a message to be shown.

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(arrived(event)));
self.addEventListener("notificationclick", (event) => event.waitUntil(click(event)));
self.addEventListener("notificationclose", (event) => event.waitUntil(closed(event.notification)));
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(carryOver(event)));

// The server writes the site's name and icons before these lines (app/service_worker.py).
const SITE = { name: self.location.hostname, ...self.newsbell };

// Showing. A push that shows nothing costs the site its permission, so this comes first, waits for nothing that may
// never come, and has something to show whatever arrives.

const latest = new Map(); // By tag: the newest card, for as long as this worker lives.

// Safari replaces no card by its tag, so the older ones are closed. It is also the one that has no `requireInteraction`.
const STACKS = !("requireInteraction" in Notification.prototype);

/** `notification` instead of `data`: Safari has read a declarative message itself and lets us change it. */
async function arrived({ data, notification }) {
  const card = cardOf(notification ?? inside(data));
  const { tag } = card.options;
  card.options.silent = await wasShown(card, notification);
  if (notification) card.options.navigate = card.options.data.url; // Safari refuses a card without it.
  latest.set(tag, card);
  if (notification || STACKS) await closeOlder(tag).catch(ignored);
  const picture = pictureOf(card);
  await show(card, picture);
  // Chromium hands over the next message only when this one is done with, so what may take long is not waited for.
  sampled(card);
  addPicture(card, picture).catch(ignored);
  await within(READING, noteShown(tag)).catch(ignored);
}

function inside(data) {
  try {
    return data.json().notification;
  } catch {
    return undefined;
  }
}

/** What can be shown of a message. An odd member is left out, and nothing else with it. */
function cardOf(said) {
  const { title, body, navigate, tag, lang, dir, image, actions, data } = Object(said);
  const { alert, level, sample, proof } = Object(data);
  const buttons = [actions ?? []].flat().filter((button) => text(button?.action) && text(button.title));
  const options = {
    icon: SITE.icon,
    badge: SITE.badge,
    body: text(body),
    tag: text(tag) ?? "newsbell",
    lang: text(lang),
    dir: ["auto", "ltr", "rtl"].includes(dir) ? dir : "auto",
    actions: buttons.map(({ action, title }) => ({ action, title })),
    requireInteraction: level === "breaking",
    renotify: false, // A repeat of the same alert replaces what is shown, and does not ring again.
    data: { url: text(navigate), alert, level, proof, actions: buttons.map(({ action, navigate }) => [action, navigate]) },
  };
  options.data.tag = options.tag; // Safari may keep the one of data only.
  return { title: text(title) ?? `News from ${SITE.name}`, options, image: text(image), sample };
}

const text = (value) => (typeof value === "string" && value.trim() ? value : undefined);

/** Whether this browser has had this alert, or what it corrects: then it does not ring, even if that card is closed. */
async function wasShown({ options: { tag, data } }, declared) {
  if (!text(data.alert)) return false;
  if (latest.has(tag)) return true;
  if (tag === `alert-${data.alert}`) return false;
  return Boolean(declared) || within(READING, shown()).then((tags) => tags.includes(tag), () => false);
}

async function closeOlder(tag) {
  for (const card of await self.registration.getNotifications()) {
    const { alert, tag: ours = `alert-${alert}` } = card.data ?? {};
    if (tag !== ours) continue;
    settled.add(alert);
    card.close();
  }
}

async function put({ title, options }, image) {
  try {
    await self.registration.showNotification(title, { ...options, image });
  } catch {
    const { body, tag, navigate, data } = options;
    await self.registration.showNotification(title, { body, tag, navigate, data });
  }
}

// Pictures. Chromium, the only one that shows them, fetches a picture before it shows anything, and waits 90 seconds for
// one that does not come. So it gets only those that are in its cache already.

const PICTURE_WAIT = 1_500; // milliseconds that a message waits for its picture; breaking news does not wait
const PICTURE_LATEST = 15_000; // milliseconds after which a picture is no longer added to a card, see SPREAD

// Where a card that is replaced changes in place. On Windows it would leave the screen, and macOS is not known.
const CHANGES_IN_PLACE = ["Android", "Chrome OS", "Linux"].includes(navigator.userAgentData?.platform);

/** Whether it is here: a promise that is kept within PICTURE_LATEST. */
async function pictureOf({ image }) {
  if (!image || !("image" in Notification.prototype)) return false;
  try {
    const answer = await fetch(image, { mode: "no-cors", signal: AbortSignal.timeout(PICTURE_LATEST) });
    const store = await caches.open("newsbell");
    await store.put(image, answer); // Only so that all of it has come: the body of such an answer cannot be read.
    await store.delete(image);
    return true;
  } catch {
    return false;
  }
}

async function show(card, picture) {
  const waits = card.image && card.options.data.level !== "breaking";
  const here = waits && (await within(PICTURE_WAIT, picture).catch(ignored));
  if (here && (await within(PICTURE_WAIT, putWithPicture(card)).then(() => true, ignored))) return;
  await put(card);
}

// It does not ask which cards there are: Chromium forgets the one that it is just about to show when it is asked.
async function addPicture(card, picture) {
  if (!CHANGES_IN_PLACE || !(await picture)) return;
  if (!card.pictured && !card.gone && latest.get(card.options.tag) === card) await putWithPicture(card);
}

async function putWithPicture(card) {
  await put(card, card.image);
  card.pictured = true;
  const newest = latest.get(card.options.tag);
  if (newest !== card) await put(newest); // A correction that has come meanwhile stays.
}

/** The reader has closed or opened it: it does not come back with a picture. */
function noteGone({ tag, data }) {
  const card = latest.get(tag);
  if (card && card.options.data.alert === data?.alert) card.gone = true;
}

// Opening.

function click({ notification, action }) {
  notification.close();
  noteGone(notification);
  const opening = open(addressOf(notification.data, action)); // At once, while the click still allows it.
  return action ? opening : Promise.all([opening, opened(notification.data ?? {})]);
}

function addressOf(data, action) {
  try {
    const ofAction = new Map(data.actions).get(action);
    const url = new URL(ofAction ?? data.url ?? "/", self.location.origin);
    if (/^https?:$/.test(url.protocol)) return url.href;
  } catch {
    // Falls through to the front page.
  }
  return new URL("/", self.location.origin).href;
}

async function open(url) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pageOf(url);
  const there = windows.find((client) => client.url === url) ?? windows.find((client) => pageOf(client.url) === page);
  return there ? there.focus().catch(() => self.clients.openWindow(url)) : self.clients.openWindow(url);
}

/** The address without what leads to the same page: the fragment, and what only says where the reader came from. */
function pageOf(address) {
  const url = new URL(address);
  url.hash = "";
  for (const name of [...url.searchParams.keys()]) if (ORIGIN_OF_VISIT.test(name)) url.searchParams.delete(name);
  url.searchParams.sort();
  return url.href;
}

const ORIGIN_OF_VISIT = /^(utm_.*|at_.*|mtm_.*|pk_.*|fbclid|gclid|dclid|msclkid)$/;

// Receipts: what became of an alert, never who it was. They hold nothing up, and nobody misses one that does not arrive.
// Everybody tells of a click; of a million browsers that have shown the same, only a sample tells, and not all at once.

const SPREAD = 20_000; // milliseconds; a service worker that has nothing to do is left alive for thirty seconds

function sampled({ options: { data }, sample }) {
  if (Math.random() < sample) setTimeout(() => receipt(data, "shown"), Math.random() * SPREAD);
}

const settled = new Set(); // Alerts whose card was clicked, or closed by ourselves.

function opened(data) {
  settled.add(data.alert);
  return receipt(data, "clicked");
}

// Firefox also says "close" of what was clicked, and of what another notification has taken the place of.
async function closed({ tag, data }) {
  noteGone({ tag, data });
  if (settled.delete(data?.alert)) return;
  const { length: replaced } = await self.registration.getNotifications({ tag });
  if (!replaced) await receipt(data ?? {}, "closed");
}

async function receipt({ alert, proof }, event) {
  if (!alert) return;
  try {
    const { home, subscription } = await remembered();
    await post(home, "api/receipts", {
      ...{ alert, event, proof },
      service: subscription && new URL(subscription.endpoint).origin,
    });
  } catch {
    // It did not arrive.
  }
}

// A changed subscription. What is stored is what the server has last accepted; it is replaced only when the server has
// accepted the new one, so a change that fails here is made good at the reader's next visit. Chrome tells neither the
// old nor the new one when the reader gives a permission back.

const PAUSES = [0, 2_000, 8_000]; // milliseconds before each try
const PATIENCE = 4_000; // milliseconds for one try to subscribe

async function carryOver({ oldSubscription, newSubscription }) {
  const known = await remembered();
  if (!known.vapid) return; // The reader has stopped.
  const subscription = (newSubscription ?? (await patiently(() => subscribe(known.vapid)))).toJSON();
  const old = known.subscription ?? oldSubscription?.toJSON();
  const { key } = await patiently(() => tell(old, subscription, known));
  await remember({ ...known, key, subscription });
}

function subscribe(vapid) {
  const options = { userVisibleOnly: true, applicationServerKey: vapid };
  return within(PATIENCE, self.registration.pushManager.subscribe(options));
}

async function tell(old, subscription, { key, home, topics }) {
  const moved = old && old.endpoint !== subscription.endpoint;
  const renewal = moved && { old: { endpoint: old.endpoint, auth: old.keys.auth }, subscription };
  let response = renewal && (await post(home, "api/subscriptions/renew", renewal));
  if (!response || response.status === 404) {
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
    const body = { subscription, time_zone: timeZone, language: navigator.language };
    response = await post(home, "api/subscriptions", body, key);
    // The server has forgotten this browser, which was away for long; the topics are remembered here.
    if (response.status === 422 && topics?.length) response = await post(home, "api/subscriptions", { ...body, topics });
  }
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return response.json();
}

function post(home, path, body, key) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  return fetch(new URL(path, home ?? self.location.origin), { method: "POST", headers, body: JSON.stringify(body) });
}

async function patiently(action) {
  let failure;
  for (const pause of PAUSES) {
    await wait(pause);
    try {
      return await action();
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const ignored = () => undefined;

function within(milliseconds, promise) {
  const late = wait(milliseconds).then(() => {
    throw new Error("No answer in time.");
  });
  return Promise.race([promise, late]);
}

// The same store as in store.js. "me": {key, subscription, vapid, home, topics}; "shown": the tags of the last cards.

const READING = 300; // milliseconds that a message waits for what is stored
const STORING = 2_000; // milliseconds
const KEPT = 100; // tags

const remembered = async () => (await inStore("readonly", (reader) => reader.get("me")).catch(ignored)) ?? {};
const remember = (record) => inStore("readwrite", (reader) => reader.put(record, "me"));
const shown = async () => (await inStore("readonly", (reader) => reader.get("shown"))) ?? [];

const noteShown = (tag) =>
  inStore("readwrite", (reader) => {
    const request = reader.get("shown");
    request.onsuccess = () => {
      const others = (request.result ?? []).filter((other) => other !== tag);
      reader.put([tag, ...others].slice(0, KEPT), "shown");
    };
    return request;
  });

const inStore = (mode, action) => within(STORING, transact(mode, action));

async function transact(mode, action) {
  const database = await openStore();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction("reader", mode);
      const request = action(transaction.objectStore("reader"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

// Without a version: whichever there is. One that lacks the store is made anew with it.
async function openStore(version) {
  const database = await new Promise((resolve, reject) => {
    const request = indexedDB.open("newsbell", version);
    request.onupgradeneeded = () => request.result.createObjectStore("reader");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  if (database.objectStoreNames.contains("reader")) return database;
  database.close();
  return openStore(database.version + 1);
}
