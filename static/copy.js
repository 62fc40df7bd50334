// A button that copies a text, and says whether it did.

import { make } from "./page.js";

const SHOWN = 2_500; // milliseconds for which the button says what it did

/** `source` holds the text: it is selected where the browser does not let a page copy. `what` is for the ear. */
export function copyButton(source, what) {
  const words = make("span", {}, "Copy");
  const button = make(
    "button",
    { type: "button", className: "copy" },
    words,
    make("span", { className: "unseen" }, ` ${what}`),
  );
  const said = make("span", { className: "unseen" });
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    said.textContent = words.textContent = await copied(source);
    setTimeout(() => ((words.textContent = "Copy"), (said.textContent = "")), SHOWN);
  });
  return make("span", { className: "copying" }, button, said);
}

async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent); // Missing on pages that came by plain HTTP.
    return "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    return "Selected; now copy it";
  }
}
