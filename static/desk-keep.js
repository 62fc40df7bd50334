// Words that are typed and not yet on the server: kept in this tab until they are, also over a reload or a new sign-in.

const PREFIX = "newsbell.unsaved.";

/** `name`: of what they belong to, and of the person: nobody else who signs in here gets them. */
export function keeping(name) {
  const key = PREFIX + name;
  return {
    /** The fields that differ from what the server has, as {name: value}. */
    kept: () => JSON.parse(sessionStorage.getItem(key) ?? "{}"),
    keep(fields) {
      if (Object.keys(fields).length) sessionStorage.setItem(key, JSON.stringify(fields));
      else sessionStorage.removeItem(key);
    },
    forget: () => sessionStorage.removeItem(key),
  };
}
