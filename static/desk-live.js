// Server-sent events: what happens is told as it happens, and asked for anew when the line breaks.

import { call, home } from "./api.js";

const AGAIN = 3_000; // milliseconds until a line that was refused is tried anew; a broken one the browser mends itself

/**
 * `path()`: where, each time that a line is opened. `heard`: {event name: (data) => …}. The line ends with "end", or when
 * the returned function is called. A page that nobody sees has none: a browser allows six to a server, for all its tabs.
 */
export function listen(path, heard) {
  let source = null;
  let timer;
  let turn = 0; // counts lines, so that what belongs to an earlier one can be told

  function begin() {
    if (document.hidden || source) return;
    source = new EventSource(new URL(path(), home));
    for (const [name, act] of Object.entries(heard)) {
      source.addEventListener(name, ({ data }) => act(JSON.parse(data)));
    }
    source.addEventListener("end", stop);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) refused();
    };
  }

  function hangUp() {
    turn += 1;
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  /** Not told why; whoever is not signed in any more is asked to. */
  async function refused() {
    hangUp();
    const mine = turn;
    await call("GET", "api/session").catch(() => {});
    if (mine === turn) timer = setTimeout(begin, AGAIN);
  }

  const seen = () => (document.hidden ? hangUp() : begin());

  function stop() {
    hangUp();
    document.removeEventListener("visibilitychange", seen);
  }

  document.addEventListener("visibilitychange", seen);
  begin();
  return stop;
}
