// Filters live in the address, behind "?": a list can be kept, gone back to and sent to a colleague as it is.

export const filters = () => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1] ?? ""));

/** No step of its own in the browser's history: who goes back leaves the list. */
export function keepFilters(values) {
  const [path] = location.hash.split("?");
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  history.replaceState(null, "", [path || "#/", String(query)].filter(Boolean).join("?"));
}
