// node web-push, as its README uses it, with kept-alive connections and many requests at once.
const fs = require("fs");
const https = require("https");
const readline = require("readline");
const webPush = require("web-push");

const work = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const agent = new https.Agent({ keepAlive: true, maxSockets: work.atOnce });
const options = { agent, TTL: work.ttl, urgency: "high", timeout: 15000 };
const keys = webPush.generateVAPIDKeys();
webPush.setVapidDetails(work.contact, keys.publicKey, keys.privateKey);

async function send(todo) {
  for (const subscription of todo) {
    await webPush.sendNotification(subscription, work.message, options).catch(() => {});
  }
}

async function all() {
  const todo = work.subscriptions.values();
  await Promise.all(Array.from({ length: work.atOnce }, () => send(todo)));
  console.log("done");
}

readline.createInterface({ input: process.stdin }).once("line", all);
console.log("ready");
