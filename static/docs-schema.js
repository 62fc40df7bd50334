// What /openapi.json says of a shape, as words and as an example.

/** A reader of one OpenAPI document: references in it are followed. */
export function schemas(document) {
  const follow = (schema = {}) => (schema.$ref ? { ...at(document, schema.$ref), ...without(schema, "$ref") } : schema);
  return {
    fields: (schema) => fields(follow, schema),
    example: (schema) => example(follow, schema),
    request: (schema) => request(follow, schema),
    words: (schema) => words(follow, schema),
  };
}

const at = (document, ref) =>
  ref
    .slice(2)
    .split("/")
    .reduce((part, name) => part?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], document) ?? {};

const without = ({ ...object }, name) => (delete object[name], object);

/** The schema apart from "or null", which says how it may be left empty. */
function plain(follow, schema) {
  const whole = follow(schema);
  const kinds = whole.anyOf ?? whole.oneOf;
  if (!kinds) return { kinds: [whole], nullable: whole.type === "null" };
  const real = kinds.map(follow).filter(({ type }) => type !== "null");
  return { kinds: real, nullable: real.length < kinds.length };
}

// Fields, one a line: objects in objects by their path, as in `quiet_hours.from`.

const DEPTH = 4; // Enough for all of ours; and a shape that holds itself comes to an end.

function fields(follow, schema, path = "", depth = 0) {
  const inside = objectIn(follow, schema);
  if (!inside || depth === DEPTH) return [];
  return Object.entries(inside.properties).flatMap(([name, property]) => {
    const list = itemsIn(follow, property) ? "[]" : "";
    const field = {
      name: path + name,
      needed: (inside.required ?? []).includes(name),
      words: words(follow, property) + otherwise(property),
      about: follow(property).description ?? "",
    };
    return [field, ...fields(follow, itemsIn(follow, property) ?? property, `${path}${name}${list}.`, depth + 1)];
  });
}

const otherwise = ({ default: value }) =>
  value === undefined || value === null || value === "" || value?.length === 0
    ? ""
    : `; left out: ${JSON.stringify(value)}`;

const objectIn = (follow, schema) => plain(follow, schema).kinds.find(({ properties }) => properties);
const itemsIn = (follow, schema) => plain(follow, schema).kinds.find(({ type }) => type === "array")?.items;

// Words.

const KINDS = { string: "text", integer: "number", number: "number", boolean: "true or false", null: "nothing" };
const FORMATS = { "date-time": "time", uri: "address", email: "e-mail address", uuid: "UUID" };

function words(follow, schema) {
  const { kinds, nullable } = plain(follow, schema);
  const said = [...new Set(kinds.map((kind) => kindOf(follow, kind)))].filter(Boolean);
  return [...said, ...(nullable ? ["null"] : [])].join(" or ");
}

function kindOf(follow, kind) {
  if (kind.const !== undefined) return JSON.stringify(kind.const);
  if (kind.enum) return `one of ${kind.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  if (kind.type === "array") return `list of ${words(follow, bare(kind.items)) || "anything"}${limits(kind)}`;
  if (kind.type === "object" || kind.properties) return kind.properties ? "object" : "object by name";
  return (FORMATS[kind.format] ?? KINDS[kind.type] ?? "anything") + limits(kind);
}

const number = (value) => value.toLocaleString("en-GB");

/** Without limits: those of a list are enough for one line. */
const bare = ({ maxLength, minLength, ...schema } = {}) => schema;

function limits({ type, minimum, maximum, maxLength, maxItems }) {
  if (type === "string") return maxLength ? `, at most ${number(maxLength)} characters` : "";
  if (type === "array") return maxItems ? `, at most ${maxItems}` : "";
  if (minimum !== undefined && maximum !== undefined) return ` from ${number(minimum)} to ${number(maximum)}`;
  if (minimum !== undefined) return `, at least ${number(minimum)}`;
  return maximum === undefined ? "" : `, at most ${number(maximum)}`;
}

// Examples.

const UUID = "0b7e3c52-5d0f-4a39-9d8d-6f1b7c5f8a11";

const BY_NAME = {
  ...{
    title: "Ceasefire agreed",
    body: "Both sides say the guns fall silent at midnight.",
    url: "https://www.news.example/ceasefire",
  },
  ...{
    topic: "ukraine",
    topics: "ukraine",
    slug: "ukraine",
    level: "breaking",
    alert: UUID,
    id: UUID,
    alert_id: UUID,
    story_id: 88_213,
  },
  ...{
    name: "Ukraine",
    description: "War and peace",
    synonyms: "Kyiv",
    image: "https://www.news.example/ceasefire.jpg",
  },
  ...{ email: "ada@news.example", role: "editor", password: "a long sentence of your own", time_zone: "Europe/Kyiv" },
  ...{
    at: "2026-11-28T07:30",
    policy: "draft",
    language: "uk",
    endpoint: "https://push.example/…",
    p256dh: "BNc…",
    auth: "k9Q…",
  },
  ...{
    old: "the sentence you had",
    new: "a long sentence of your own",
    paused_until: "2026-11-29T05:00:00Z",
    link: "…",
  },
  ...{
    next: null,
    after: "…",
    state: "draft",
    sentence: "The page answers.",
    detail: "This alert was released already.",
  },
};
const BY_FORMAT = { "date-time": "2026-11-28T05:30:00Z", uri: "https://www.news.example/", uuid: UUID };
const BY_TYPE = { string: "…", integer: 1, number: 1.5, boolean: true, null: null };

function example(follow, schema, name = "", depth = 0) {
  const whole = follow(schema);
  const { kinds, nullable } = plain(follow, schema);
  const kind = kinds[0] ?? {};
  const [given] = whole.examples ?? kind.examples ?? [];
  if (given !== undefined) return kind.properties ? inOrder(given, kind.properties) : given;
  if (kind.const !== undefined) return kind.const;
  if (kind.enum) return kind.enum.includes(BY_NAME[name]) ? BY_NAME[name] : kind.enum[0];
  if (kind.properties) return depth === DEPTH ? null : objectExample(follow, kind, depth);
  if (kind.type === "array") return depth === DEPTH ? [] : [example(follow, kind.items ?? {}, name, depth + 1)];
  if (kind.type === "object") return {};
  if (kind.type in BY_TYPE && name in BY_NAME && fits(kind, BY_NAME[name], nullable)) return BY_NAME[name];
  return whole.default ?? BY_FORMAT[kind.format] ?? BY_TYPE[kind.type] ?? null;
}

/** As the shape names its fields; the document has them by the alphabet. */
const inOrder = (given, properties) =>
  Object.fromEntries(
    Object.keys(properties)
      .filter((name) => name in given)
      .map((name) => [name, given[name]]),
  );

const JS_TYPES = { string: "string", integer: "number", number: "number", boolean: "boolean" };
const fits = ({ type }, value, nullable) => (value === null ? nullable : typeof value === JS_TYPES[type]);

function objectExample(follow, { properties }, depth) {
  const parts = Object.entries(properties);
  return Object.fromEntries(parts.map(([name, part]) => [name, example(follow, part, name, depth + 1)]));
}

const ENOUGH = 4; // fields in the example of a request, if fewer are needed

/** What one would send: all that is needed, and some of what may be sent. */
function request(follow, schema) {
  const inside = objectIn(follow, schema);
  if (!inside || inside.examples?.length) return example(follow, schema);
  const needed = new Set(inside.required ?? []);
  const names = Object.keys(inside.properties);
  const more = names.filter((name) => !needed.has(name)).slice(0, Math.max(0, ENOUGH - needed.size));
  const whole = objectExample(follow, inside, 0);
  return Object.fromEntries(names.filter((n) => needed.has(n) || more.includes(n)).map((n) => [n, whole[n]]));
}
