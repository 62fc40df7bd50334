// Tabs of a part of the desk. Links, not ARIA tabs: each is an address that can be kept and gone back to.

import { make } from "./page.js";

/** `tabs`: [{name, title}]; the first one is at the part's own address. */
export function tabBar(part, label, tabs, current) {
  const links = tabs.map(({ name, title }, at) => {
    const link = make("a", { href: at ? `#/${part}/${name}` : `#/${part}` }, title);
    if (name === current) link.setAttribute("aria-current", "page");
    return make("li", {}, link);
  });
  const bar = make("nav", { className: "tabs" }, make("ul", {}, ...links));
  bar.setAttribute("aria-label", label);
  return bar;
}
