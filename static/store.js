// What this browser remembers, in IndexedDB so that the service worker (which has its own copy of these lines) can
// read it too. One record: {key, subscription, vapid, home}, written when the server has accepted a subscription.

export async function read() {
  return (await within("readonly", (reader) => reader.get("me"))) ?? {};
}

export const write = (record) => within("readwrite", (reader) => reader.put(record, "me"));

export const forget = () => within("readwrite", (reader) => reader.delete("me"));

async function within(mode, action) {
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

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("newsbell", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("reader");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
