// The state of the page in its address, so that a view can be linked, and Back and Forward work.

/**
 * @typedef {object} Address
 * @property {() => URLSearchParams} read
 * @property {(query: URLSearchParams, replace?: boolean) => void} write
 * @property {(listener: () => void) => () => void} listen Calls back after Back and Forward; returns what ends that.
 */

/** The query of the browser's address, for the hosted page. @param {Window} window @returns {Address} */
export function browserAddress(window) {
  const { history, location } = window;
  return {
    read: () => new URLSearchParams(location.search),
    write(query, replace = false) {
      const url = query.size ? `?${query}` : location.pathname;
      replace ? history.replaceState(null, "", url) : history.pushState(null, "", url);
    },
    listen(listener) {
      window.addEventListener("popstate", listener);
      return () => window.removeEventListener("popstate", listener);
    },
  };
}

/** An address in memory, for a component in another page, whose address is not its own. @returns {Address} */
export function memoryAddress() {
  let query = new URLSearchParams();
  return {
    read: () => new URLSearchParams(query),
    write(next) {
      query = new URLSearchParams(next);
    },
    listen: () => () => {},
  };
}

export const VIEWS = /** @type {const} */ (["keys", "key", "legacy", "activity", "users"]);
/** @typedef {typeof VIEWS[number]} View */

/** The view that an address names. Unknown ones are the list of keys. @param {URLSearchParams} query @returns {View} */
export function viewOf(query) {
  const view = VIEWS.find((name) => name === query.get("view")) ?? "keys";
  return view === "key" && !query.get("id") ? "keys" : view;
}

export const PAGE_SIZES = [10, 25, 50, 100];
export const SORTS = ["created_at", "name", "user", "created_by", "last_used_at"];
const STATUSES = ["active", "expired", "disabled", "unused"];

/**
 * @typedef {object} KeysQuery What the list of keys shows. An empty string is no filter.
 * @property {string} sort
 * @property {"asc" | "desc"} order
 * @property {number} limit
 * @property {string} name
 * @property {string} user_id
 * @property {string} created_by
 * @property {string} created_after A day, such as 2026-11-27.
 * @property {string} created_before
 * @property {string} status
 * @property {string} unused_days
 * @property {[string, string][]} metadata Entries that a key must have.
 * @property {string} cursor
 * @property {number} first The number of the first row, from 1.
 */

/** The order of a column that was not sorted by before, which is also the API's. @param {string} sort */
export function defaultOrder(sort) {
  return sort.endsWith("_at") ? "desc" : "asc";
}

/** What the parameter of an entry of the metadata begins with, here and in the API. */
const ENTRY = "metadata.";

/** Reads the list's state; what it does not know is the default. @param {URLSearchParams} query @returns {KeysQuery} */
export function readKeysQuery(query) {
  const text = (/** @type {string} */ name) => query.get(name) ?? "";
  const day = (/** @type {string} */ name) => (/^\d{4}-\d\d-\d\d$/.test(text(name)) ? text(name) : "");
  const among = (/** @type {string[]} */ all, /** @type {string} */ value) => (all.includes(value) ? value : "");
  const sort = among(SORTS, text("sort")) || "created_at";
  const status = among(STATUSES, text("status"));
  const limit = Number(text("limit"));
  const cursor = text("cursor");
  return {
    sort,
    order: /** @type {"asc" | "desc"} */ (among(["asc", "desc"], text("order")) || defaultOrder(sort)),
    limit: PAGE_SIZES.includes(limit) ? limit : 25,
    name: text("name"),
    user_id: text("user"),
    created_by: text("creator"),
    created_after: day("after"),
    created_before: day("before"),
    status,
    unused_days: status === "unused" && /^[1-9]\d{0,3}$/.test(text("unused_days")) ? text("unused_days") : "",
    metadata: [...new Map([...query].filter(([name, value]) => name.startsWith(ENTRY) && name !== ENTRY && value))].map(
      ([name, value]) => [name.slice(ENTRY.length), value],
    ),
    cursor,
    first: cursor && /^\d{1,7}$/.test(text("first")) ? Math.max(1, Number(text("first"))) : 1,
  };
}

/** The shortest query that `readKeysQuery` reads as this state. @param {KeysQuery} state */
export function writeKeysQuery(state) {
  const defaults = { sort: "created_at", order: defaultOrder(state.sort), limit: 25, first: 1 };
  const names = { user_id: "user", created_by: "creator", created_after: "after", created_before: "before" };
  const { metadata, ...rest } = state;
  const query = new URLSearchParams(metadata.map(([name, value]) => [ENTRY + name, value]));
  for (const [field, value] of Object.entries(rest)) {
    if (value !== "" && value !== defaults[/** @type {keyof typeof defaults} */ (field)]) {
      query.set(names[/** @type {keyof typeof names} */ (field)] ?? field, String(value));
    }
  }
  return query;
}

/** Whether a filter is set. @param {KeysQuery} state */
export function isFiltered(state) {
  const { name, user_id, created_by, created_after, created_before, status, metadata } = state;
  return metadata.length > 0 || [name, user_id, created_by, created_after, created_before, status].some(Boolean);
}

/**
 * The query of `GET /api-keys` for this state. Days are days of the reader's time zone; `created_before` includes its day.
 * @param {KeysQuery} state
 */
export function keysRequest(state) {
  const { cursor, created_after: after, created_before: before, metadata, first: _, ...rest } = state;
  const midnight = (/** @type {string} */ day, plus = 0) => {
    const [year, month, date] = day.split("-").map(Number);
    return new Date(year, month - 1, date + plus).toISOString();
  };
  return {
    ...rest,
    ...Object.fromEntries(metadata.map(([name, value]) => [ENTRY + name, value])),
    created_after: after && midnight(after),
    created_before: before && midnight(before, 1),
    cursor,
  };
}
