// What waits for the operator, whatever part of the desk is open: sentences at the top, and nothing while all is well.

import { call } from "./api.js";
import { make } from "./page.js";

const AGAIN = 60_000; // milliseconds

/** `start` when somebody has signed in, `stop` when they have left. */
export function standingWarnings(place) {
  let timer;
  const look = () => document.hidden || call("GET", "api/warnings").then(show, () => {}); // The next look may tell.
  function show({ items }) {
    const now = items.map((sentence) => make("li", { dir: "auto" }, sentence));
    if (place.textContent === items.join("")) return; // It is read aloud once.
    place.replaceChildren(...(now.length ? [make("ul", { className: "standing" }, ...now)] : []));
  }
  function stop() {
    clearInterval(timer);
    place.replaceChildren();
  }
  return {
    start() {
      stop();
      look();
      timer = setInterval(look, AGAIN);
    },
    stop,
  };
}
