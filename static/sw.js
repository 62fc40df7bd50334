// The service worker: shows every message that is pushed, opens what it is about, and keeps the server told when the
// browser changes its subscription. It imports nothing, so nothing else has to load for a message to be shown.

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(show(event.data)));
self.addEventListener("notificationclick", (event) => event.waitUntil(click(event)));
self.addEventListener("notificationclose", ({ notification }) => closed(notification));
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(carryOver(event)));

// Showing. A push that shows nothing costs the site its permission, so this comes first, waits for nothing, and has
// something to show whatever arrives.

const LOOK = { icon: "/static/icon-192.png", badge: "/static/badge-96.png" };

async function show(data) {
  try {
    const { title, options, sample } = read(data.json());
    await self.registration.showNotification(title, options);
    sampled(options.data, sample);
  } catch {
    await self.registration.showNotification(`News from ${self.location.hostname}`, {
      ...LOOK,
      tag: "newsbell",
      data: { url: "/" },
    });
  }
}

function read({ web_push: form, notification }) {
  const { title, body, navigate, tag, lang, dir, image, actions = [], data } = notification;
  if (form !== 8030 || typeof title !== "string" || !title) throw new TypeError("Not a message of ours.");
  const { alert, level, sample, proof } = data ?? {};
  const options = {
    ...LOOK,
    ...{ body, tag, lang, dir, image },
    actions: actions.map(({ action, title }) => ({ action, title })),
    requireInteraction: level === "breaking",
    renotify: false, // A repeat of the same alert replaces what is shown, and does not ring again.
    data: { url: navigate, alert, level, proof, actions: actions.map(({ action, navigate }) => [action, navigate]) },
  };
  return { title, options, sample };
}

// Opening.

function click({ notification, action }) {
  notification.close();
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
  const there = windows.find((client) => client.url === url);
  return there ? there.focus().catch(() => self.clients.openWindow(url)) : self.clients.openWindow(url);
}

// Receipts: what became of an alert, never who it was. They hold nothing up, and nobody misses one that does not arrive.
// Everybody tells of a click; of a million browsers that have shown the same, only a sample tells, and not all at once.

const SPREAD = 20_000; // milliseconds; a service worker that has nothing to do is left alive for thirty seconds

function sampled(data, share) {
  if (Math.random() < share) setTimeout(() => receipt(data, "shown"), Math.random() * SPREAD);
}

const clicked = new Set();

function opened(data) {
  clicked.add(data.alert);
  return receipt(data, "clicked");
}

// Firefox also says "close" of what was clicked, and of what another notification has taken the place of.
async function closed({ tag, data }) {
  if (clicked.delete(data?.alert)) return;
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
// accepted the new one, so a change that fails here is made good at the reader's next visit.

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
  return Promise.race([self.registration.pushManager.subscribe(options), late()]);
}

async function tell(old, subscription, { key, home }) {
  const moved = old && old.endpoint !== subscription.endpoint;
  const renewal = moved && { old: { endpoint: old.endpoint, auth: old.keys.auth }, subscription };
  let response = renewal && (await post(home, "api/subscriptions/renew", renewal));
  if (!response || response.status === 404) {
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
    const body = { subscription, time_zone: timeZone, language: navigator.language };
    response = await post(home, "api/subscriptions", body, key);
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

async function late() {
  await wait(PATIENCE);
  throw new Error("The push service did not answer in time.");
}

// The same record as in store.js: {key, subscription, vapid, home}.

const remembered = async () => (await inStore("readonly", (reader) => reader.get("me"))) ?? {};
const remember = (record) => inStore("readwrite", (reader) => reader.put(record, "me"));

async function inStore(mode, action) {
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

function openStore() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("newsbell", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("reader");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
