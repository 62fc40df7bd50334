// A reader's other tabs: each hears when something was changed in another one, and looks again when it comes to the front.

const channel = quietly(() => new BroadcastChannel("newsbell"));

function quietly(action) {
  try {
    return action();
  } catch {
    return null; // A browser that has none, or does not let this page have it.
  }
}

export const tellOthers = () => channel?.postMessage("changed");

export function whenChanged(act) {
  channel?.addEventListener("message", act);
  document.addEventListener("visibilitychange", () => document.hidden || act());
  addEventListener("pageshow", ({ persisted }) => persisted && act()); // Brought back as it was when it was left.
}
