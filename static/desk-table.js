// A table that becomes a list where it has little room: there, each cell says itself what it is. The roles are named
// because a browser forgets that it is a table as soon as the style sheet lays it out as something else.

import { make } from "./page.js";

/** `columns`: [{name, cell: (row) => node or text, figure?: true, unseen?: true}]; the first names the row. */
export function table(caption, columns, rows) {
  const head = columns.map(({ name, figure, unseen }) => {
    const words = unseen ? make("span", { className: "unseen" }, name) : name;
    return role("columnheader", make("th", { scope: "col", className: kind(figure) }, words));
  });
  const lines = rows.map((row) => line(columns, row));
  const whole = make(
    "table",
    { className: "turning" },
    make("caption", { className: "unseen" }, caption),
    role("rowgroup", make("thead", {}, role("row", make("tr", {}, ...head)))),
    role("rowgroup", make("tbody", {}, ...lines)),
  );
  return make("div", { className: "frame" }, role("table", whole));
}

function line(columns, row) {
  const cells = columns.map(({ name, cell, figure, unseen }, at) => {
    const tag = at ? "td" : "th";
    const place = make(tag, { className: kind(figure) }, ...[cell(row)].flat());
    if (!at) place.scope = "row";
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
