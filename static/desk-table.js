// A table that becomes a list where it has little room: there, each cell says itself what it is. The roles are named
// because a browser forgets that it is a table as soon as the style sheet lays it out as something else.

import { make } from "./page.js";

/**
 * What names a row is read from the side that its own script begins at: as text, since a `bdi` would not count.
 *
 * `columns`: [{name, cell: (row) => node or text, figure?: true, unseen?: true}]; the first names the row. `most`: so
 * many rows are shown until somebody wants all of them.
 */
export function table(caption, columns, rows, { most = Infinity } = {}) {
  const head = columns.map(({ name, figure, unseen }) => {
    const words = unseen ? make("span", { className: "unseen" }, name) : name;
    return role("columnheader", make("th", { scope: "col", className: kind(figure) }, words));
  });
  const lines = rows.slice(0, most).map((row) => line(columns, row));
  const whole = make(
    "table",
    { className: "turning" },
    make("caption", { className: "unseen" }, caption),
    role("rowgroup", make("thead", {}, role("row", make("tr", {}, ...head)))),
    role("rowgroup", make("tbody", {}, ...lines)),
  );
  const frame = make("div", { className: "frame" }, role("table", whole));
  if (rows.length > most) frame.append(theRest(whole, columns, rows, most));
  return frame;
}

/** The keyboard goes to the first row that was not there before. */
function theRest(whole, columns, rows, most) {
  const button = make("button", { type: "button", className: "all" }, `Show all ${rows.length}`);
  button.addEventListener("click", () => {
    const lines = rows.slice(most).map((row) => line(columns, row));
    whole.querySelector("tbody").append(...lines);
    lines[0].tabIndex = -1;
    lines[0].focus();
    button.remove();
  });
  return button;
}

function line(columns, row) {
  const cells = columns.map(({ name, cell, figure, unseen }, at) => {
    const tag = at ? "td" : "th";
    const place = make(tag, { className: kind(figure) }, ...[cell(row)].flat());
    if (!at) Object.assign(place, { scope: "row", dir: "auto" });
    place.dataset.name = unseen ? "" : name;
    return role(at ? "cell" : "rowheader", place);
  });
  return role("row", make("tr", {}, ...cells));
}

const kind = (figure) => (figure ? "figure" : "");

function role(name, element) {
  element.setAttribute("role", name);
  return element;
}
