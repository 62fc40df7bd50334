// Server-sent events: what happens is told as it happens, and asked for anew when the line breaks.

import { call, home } from "./api.js";

const AGAIN = 3_000; // milliseconds until a line that was refused is tried anew; a broken one the browser mends itself

/** `heard`: {event name: (data) => …}. The line ends with "end", or when the returned function is called. */
export function listen(path, heard, lost = () => {}) {
  let source;
  let timer;
  let over = false;
  const stop = () => {
    over = true;
    clearTimeout(timer);
    source?.close();
  };
  function begin() {
    if (over) return;
    source = new EventSource(new URL(path, home));
    for (const [name, act] of Object.entries(heard)) {
      source.addEventListener(name, ({ data }) => act(JSON.parse(data)));
    }
    source.addEventListener("end", stop);
    source.onerror = () => {
      lost();
      if (source.readyState === EventSource.CLOSED) refused();
    };
  }
  /** Not told why; whoever is not signed in any more is asked to. */
  async function refused() {
    await call("GET", "api/session").catch(() => {});
    if (!over) timer = setTimeout(begin, AGAIN);
  }
  begin();
  return stop;
}
