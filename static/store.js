// What this browser remembers, in IndexedDB so that the service worker (which has its own copy of these lines) can
// read it too. One record: {key, subscription, vapid, home, topics}, written when the server has accepted something.
//
// A browser whose IndexedDB is blocked or broken works without it: the server knows it by its subscription.

const PATIENCE = 2_000; // milliseconds

let here = {}; // The record of this page.

export async function read() {
  try {
    return (await within("readonly", (reader) => reader.get("me"))) ?? {};
  } catch {
    return here;
  }
}

export async function write(record) {
  here = record;
  await within("readwrite", (reader) => reader.put(record, "me")).catch(() => undefined);
}

export async function forget() {
  here = {};
  await within("readwrite", (reader) => reader.clear()).catch(() => undefined);
}

function within(mode, action) {
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error("IndexedDB does not answer.")));
  return Promise.race([transact(mode, action), late]);
}

async function transact(mode, action) {
  const database = await open();
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
async function open(version) {
  const database = await new Promise((resolve, reject) => {
    const request = indexedDB.open("newsbell", version);
    request.onupgradeneeded = () => request.result.createObjectStore("reader");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  if (database.objectStoreNames.contains("reader")) return database;
  database.close();
  return open(database.version + 1);
}
