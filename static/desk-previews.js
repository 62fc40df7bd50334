// How browsers and systems cut and show an alert: mock-ups, in our own drawing.

import { make, webAddress } from "./page.js";

// Characters that fit, by the usual width of each notification (they are set in lines of 40 to 50 characters: a title
// has one or two of them, a text one to four). Fonts and screens differ, so these are what to reckon with, not limits.
// A picture is shown by Chrome on Windows and Android; macOS, Firefox and Apple's systems show none (MDN, Notification.image).
const PLATFORMS = [
  { key: "windows", name: "Chrome on Windows", title: 62, body: 136, picture: true },
  { key: "mac", name: "Chrome on macOS", title: 38, body: 84, picture: false },
  { key: "android", name: "Android", title: 44, body: 44, picture: true, note: "More of the text when it is opened." },
  { key: "firefox", name: "Firefox", title: 64, body: 180, picture: false },
  { key: "ios", name: "iPhone and Safari", title: 40, body: 150, picture: false },
];

export function previews() {
  const cards = PLATFORMS.map((platform) => ({ platform, card: card(platform) }));
  const element = make("section", { className: "previews" }, make("h2", {}, "How it looks"), ...cards.map(({ card }) => card));
  element.setAttribute("aria-label", "Previews");
  return {
    element,
    show(words, from) {
      for (const { platform, card } of cards) fill(card, platform, words, from);
    },
  };
}

function card({ key, name }) {
  const shown = make("div", { className: "toast" }, make("b", { dir: "auto" }), make("p", { dir: "auto" }), make("small", { dir: "auto" }));
  const figure = make("figure", { className: "preview" }, make("figcaption", {}, name), shown, make("p", { className: "cut-off" }));
  figure.dataset.platform = key;
  return figure;
}

function fill(figure, { title, body, picture, note }, words, from) {
  const toast = figure.querySelector(".toast");
  toast.querySelector("b").textContent = cut(words.title || "The title", title);
  toast.querySelector("p").textContent = cut(words.body, body);
  toast.querySelector("small").textContent = from;
  const lost = [
    ...(words.title.length > title ? [`the title loses its last ${words.title.length - title + 1} characters`] : []),
    ...(words.body.length > body ? ["the text is cut"] : []),
  ];
  const said = lost.length ? `Here ${lost.join(" and ")}.` : "Nothing is cut.";
  figure.querySelector(".cut-off").textContent = note && words.body.length > body ? `${said} ${note}` : said;
  picture_of(toast, picture ? words.image : null);
}

/** Asked for only when the address changes; one that does not come leaves no hole. */
function picture_of(toast, address) {
  const src = address && webAddress(address)?.startsWith("https:") ? webAddress(address) : null;
  const there = toast.querySelector("img");
  if (there?.dataset.wanted === (src ?? undefined)) return;
  there?.remove();
  if (!src) return;
  const image = make("img", { alt: "", loading: "lazy", referrerPolicy: "no-referrer" });
  image.dataset.wanted = src;
  image.onerror = () => image.classList.add("missing");
  image.src = src;
  toast.append(image);
}

function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1).trimEnd()}…`;
}
