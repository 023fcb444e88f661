// The form of a key: its values, the request they make, and where the API's errors belong.

import { exact } from "./times.js";

/** @typedef {import("./types.js").Key} Key */
/** @typedef {import("./types.js").Limit} Limit */

/**
 * @typedef {object} KeyForm Values as people type them. Lists have an entry on each line.
 * @property {string} name
 * @property {string} description
 * @property {string} user_id Empty is the caller.
 * @property {string} expiry Days from now, "custom", "never", or "keep" for a key that has an expiry.
 * @property {string} expires_at Of a custom expiry: the value of a datetime-local input.
 * @property {string[]} scopes
 * @property {string} endpoints
 * @property {string} networks
 * @property {string} metadata Lines of `name=value`.
 * @property {string} limits Lines of `calls/unit`.
 */

const DAY = 86_400;
export const EXPIRY_DAYS = [7, 30, 90, 365];

/** The expiries to choose from under a policy. @param {number | null} maxDays */
export function expiryChoices(maxDays) {
  const days = EXPIRY_DAYS.filter((days) => maxDays === null || days < maxDays);
  return maxDays !== null ? [...days, maxDays] : days;
}

/** An empty form. @param {number | null} maxDays @returns {KeyForm} */
export function emptyForm(maxDays) {
  const expiry = maxDays !== null && maxDays < 90 ? maxDays : 90;
  return {
    name: "",
    description: "",
    user_id: "",
    expiry: String(expiry),
    expires_at: "",
    scopes: [],
    endpoints: "",
    networks: "",
    metadata: "",
    limits: "",
  };
}

/** The form of a key. @param {Key} key @returns {KeyForm} */
export function formOf(key) {
  return {
    name: key.name,
    description: key.description ?? "",
    user_id: key.user_id,
    expiry: key.expires_at === null ? "never" : "keep",
    expires_at: "",
    scopes: [...key.scopes],
    endpoints: key.endpoints.join("\n"),
    networks: key.networks.join("\n"),
    metadata: Object.entries(key.metadata)
      .map(([name, value]) => `${name}=${value}`)
      .join("\n"),
    limits: key.limits.map(({ calls, per }) => `${calls}/${per}`).join("\n"),
  };
}

/** A field of the form that cannot be sent, and why. */
export class FormError extends Error {
  /** @param {string} field @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** The body of `POST /api-keys`. @param {KeyForm} form @throws {FormError} */
export function createRequest(form) {
  /** @type {Record<string, unknown>} */
  const request = { name: requireName(form.name) };
  const fields = {
    description: form.description.trim(),
    user_id: form.user_id.trim(),
    scopes: form.scopes,
    endpoints: lines(form.endpoints),
    networks: lines(form.networks),
    metadata: metadata(form.metadata),
    limits: limits(form.limits),
  };
  for (const [name, value] of Object.entries(fields)) {
    if (Object.keys(value).length > 0) {
      request[name] = value;
    }
  }
  if (form.expiry === "custom") {
    request.expires_at = customExpiry(form.expires_at);
  } else if (form.expiry !== "never") {
    request.expires_in = Number(form.expiry) * DAY;
  }
  return request;
}

/**
 * The merge patch (RFC 7396) of `PATCH /api-keys/{id}`: only what the form changes.
 * @param {Key} key @param {KeyForm} form @param {number} now @throws {FormError}
 */
export function changes(key, form, now) {
  /** @type {Record<string, unknown>} */
  const patch = {};
  const name = requireName(form.name);
  if (name !== key.name) {
    patch.name = name;
  }
  const description = form.description.trim() || null;
  if (description !== key.description) {
    patch.description = description;
  }
  for (const [field, present, wanted] of /** @type {[string, string[], string[]][]} */ ([
    ["scopes", key.scopes, form.scopes],
    ["endpoints", key.endpoints, lines(form.endpoints)],
    ["networks", key.networks, lines(form.networks)],
    ["limits", key.limits.map(limitLine), limits(form.limits).map(limitLine)],
  ])) {
    if ([...present].sort().join("\n") !== [...wanted].sort().join("\n")) {
      patch[field] = field === "limits" ? limits(form.limits) : wanted;
    }
  }
  const entries = metadata(form.metadata);
  /** @type {Record<string, string | null>} */
  const changed = {};
  for (const name of Object.keys({ ...key.metadata, ...entries })) {
    if (key.metadata[name] !== entries[name]) {
      changed[name] = entries[name] ?? null;
    }
  }
  if (Object.keys(changed).length > 0) {
    patch.metadata = changed;
  }
  if (form.expiry === "never" && key.expires_at !== null) {
    patch.expires_at = null;
  } else if (form.expiry === "custom") {
    patch.expires_at = customExpiry(form.expires_at);
  } else if (form.expiry !== "never" && form.expiry !== "keep") {
    patch.expires_at = new Date(now + Number(form.expiry) * DAY * 1000).toISOString();
  }
  return patch;
}

/**
 * The API's errors by field of the form; those of no field are under "".
 * @param {import("./problem.js").Problem} problem @returns {Record<string, string>}
 */
export function fieldErrors(problem) {
  if (problem.code === "name_taken") {
    return { name: "Another key already has this name. Choose a different one." };
  }
  /** @type {Record<string, string[]>} */
  const errors = {};
  for (const { pointer, detail } of problem.errors) {
    const [, name = "", place] = (pointer ?? "").split("/");
    const alias = name === "expires_in" ? "expires_at" : name;
    const field = alias in emptyForm(null) ? alias : "";
    if (name === "expires_at") {
      errors.expires_at = [expiryError(detail)];
      continue;
    }
    const line = /^\d+$/.test(place ?? "") && field !== "scopes" ? `Line ${Number(place) + 1} ` : "This ";
    (errors[field] ??= []).push(`${line}${detail}.`);
  }
  return Object.fromEntries(Object.entries(errors).map(([field, details]) => [field, details.join(" ")]));
}

/** The API names the form of a time, which the reader does not write. @param {string} detail */
function expiryError(detail) {
  const [, latest] = /at the latest (\S+)/.exec(detail) ?? [];
  return latest ? `Choose a time in the future, at the latest ${exact(latest)}.` : "Choose a time in the future.";
}

/** @param {string} text */
function requireName(text) {
  const name = text.trim();
  if (!name) {
    throw new FormError("name", "Give the key a name.");
  }
  return name;
}

/** @param {string} text */
function lines(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}

/** @param {string} text */
function metadata(text) {
  /** @type {Record<string, string>} */
  const entries = {};
  for (const line of lines(text)) {
    const at = line.indexOf("=");
    const name = line.slice(0, at).trim();
    if (at < 1 || Object.hasOwn(entries, name)) {
      throw new FormError("metadata", `Write each entry as name=value, once: “${line}”.`);
    }
    Object.defineProperty(entries, name, { value: line.slice(at + 1).trim(), enumerable: true });
  }
  return entries;
}

/** @param {string} text @returns {Limit[]} */
function limits(text) {
  return lines(text).map((line) => {
    const [, calls, per] = /^(\d{1,10})\s*(?:\/|per)\s*(second|minute|hour|day|month)$/.exec(line) ?? [];
    if (!calls) {
      throw new FormError("limits", `Write each limit as 500/hour; units are second, minute, hour, day, month: “${line}”.`);
    }
    return { calls: Number(calls), per: /** @type {Limit["per"]} */ (per) };
  });
}

/** @param {Limit} limit */
function limitLine({ calls, per }) {
  return `${calls}/${per}`;
}

/** @param {string} local */
function customExpiry(local) {
  const at = new Date(local);
  if (Number.isNaN(at.getTime())) {
    throw new FormError("expires_at", "Choose a day and a time.");
  }
  return at.toISOString();
}
