// People, keys and the audit, each a tab of its own; and what everybody may change about themselves.

import { accountPart } from "./desk-account.js";
import { auditPart } from "./desk-audit.js";
import { editorsPart } from "./desk-editors.js";
import { keysPart } from "./desk-keys.js";
import { tabBar } from "./desk-tabs.js";
import { make } from "./page.js";

const OWNER_TABS = [
  ["people", "People", editorsPart],
  ["keys", "API keys", keysPart],
  ["audit", "Audit", auditPart],
];
const OWN_TAB = ["me", "Your account", accountPart];

export async function view(main, context) {
  const owner = context.session.editor.role === "owner";
  const tabs = owner ? [...OWNER_TABS, OWN_TAB] : [OWN_TAB];
  const wanted = [context.parameters].flat()[0];
  const [name, title, part] = tabs.find(([key]) => key === wanted) ?? tabs[0];
  main.append(make("h1", { tabIndex: -1 }, owner ? "People" : title));
  const named = tabs.map(([name, title]) => ({ name, title }));
  if (owner) main.append(tabBar("people", "People, keys, audit", named, name));
  else
    main.append(
      make(
        "p",
        { className: "note-small" },
        "Owners of this newsroom decide about people and keys, and read the audit.",
      ),
    );
  const place = make("div", {});
  main.append(place);
  return part(place, context);
}
