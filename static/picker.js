// Many things to tick: a few of them, the ticked ones first; all of them, or those whose name is searched for, on demand.

import { folded, make } from "./page.js";

const ENOUGH = 12; // so many are shown as they are

let made = 0;

/**
 * `boxes`: labels with a check box each. `few`: how many stand there at first. `what`: "topics", say. `quick`: the search
 * is there at once, for whoever does this all day. What is ticked is always in sight (the style sheet sees to it), so a
 * tick that a program sets shows as well.
 */
export function picker(boxes, { few = 8, what = "topics", quick = false } = {}) {
  const list = make("div", { className: "choices" });
  if (boxes.length <= ENOUGH) {
    list.append(...boxes);
    return list;
  }
  const whole = make("div", { className: "picker" });
  const id = `picker-${(made += 1)}`;
  const search = make("input", { type: "search", id, autocomplete: "off", dir: "auto" });
  const finder = make("div", { className: "finder" });
  const found = make("span", { className: "found" });
  found.setAttribute("role", "status");
  const all = make("button", { type: "button", className: "quiet" });
  const words = new Map(boxes.map((box) => [box, folded(box.textContent)]));
  let open = false;

  function draw() {
    const wanted = folded(search.value);
    whole.dataset.shows = wanted ? "found" : open ? "all" : "few";
    const fit = boxes.filter((box) => words.get(box).includes(wanted));
    for (const [at, box] of ordered(boxes).entries()) {
      box.dataset.fits = String(wanted ? fit.includes(box) : open || at < few);
    }
    found.textContent = wanted ? (fit.length ? `${fit.length} of ${boxes.length} ${what}` : `None of the ${what} is called so.`) : "";
    all.textContent = open ? `Fewer ${what}` : `All ${boxes.length} ${what}`;
    all.setAttribute("aria-expanded", String(open));
    all.hidden = Boolean(wanted);
    finder.hidden = !open && !quick;
  }

  search.addEventListener("input", draw);
  // Enter looks for what is typed; it does not send the form that the boxes stand in.
  search.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  // What is typed here is no change of a choice.
  search.addEventListener("change", (event) => event.stopPropagation());
  all.addEventListener("click", () => {
    open = !open;
    if (!quick) search.value = "";
    list.replaceChildren(...ordered(boxes));
    draw();
  });
  list.append(...ordered(boxes));
  const label = make("label", { htmlFor: id }, `Search ${what}`);
  finder.append(label, search, found);
  whole.append(finder, list, all);
  draw();
  return whole;
}

const isTicked = (box) => box.querySelector("input").checked;

/** The ticked first; else as they were. */
const ordered = (boxes) => [...boxes.filter(isTicked), ...boxes.filter((box) => !isTicked(box))];
