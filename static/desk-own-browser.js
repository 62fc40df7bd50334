// The browser an editor sits at becomes one of their own: tests ring here, and requests to approve.

import { call, Problem, site } from "./api.js";
import { askPermission, permission, subscriptionHere, support } from "./subscribe.js";

const WHY_NOT = {
  insecure: "This page came by plain http, so this browser shows no notifications. Open the desk with https.",
  "home-screen": "On an iPhone or iPad, add this site to the Home Screen first and open the desk from there.",
  unsupported: "This browser cannot show notifications, or not in a private window. Another one can.",
};
const BLOCKED = "Notifications from this site are blocked in this browser. Allow them beside the address, then try again.";

/** Call it from a click: the browser may ask for its permission. */
export async function ownThisBrowser() {
  const able = support();
  if (able !== "ok") throw new Problem(WHY_NOT[able]);
  if (permission() === "default") await askPermission();
  if (permission() !== "granted") throw new Problem(BLOCKED);
  const live = await subscriptionHere(await site());
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const body = { subscription: live.toJSON(), time_zone: timeZone, language: navigator.language };
  return call("POST", "api/session/browsers", { body });
}
