// What a key's status says to people.

/** @typedef {import("./types.js").Key} Key */
/** @typedef {{kind: "good" | "warning" | "bad" | "quiet", icon: string, text: string}} Badge */

import { relative } from "./times.js";

const DAY = 86_400_000;
const EXPIRES_SOON = 14 * DAY;
export const UNUSED_DAYS = 90;

/** The badges of a key, the most important first. @param {Key} key @param {number} now @returns {Badge[]} */
export function badges(key, now) {
  /** @type {Badge[]} */
  const badges = [];
  const expiry = key.expires_at === null ? Infinity : Date.parse(key.expires_at);
  if (key.status === "expired" || expiry <= now) {
    return [{ kind: "bad", icon: "expired", text: "Expired" }];
  }
  if (key.status === "disabled") {
    badges.push({ kind: "quiet", icon: "disabled", text: "Disabled" });
  } else if (expiry - now > EXPIRES_SOON) {
    badges.push({ kind: "good", icon: "active", text: "Active" });
  }
  if (expiry - now <= EXPIRES_SOON) {
    badges.push({ kind: "warning", icon: "soon", text: `Expires ${relative(key.expires_at ?? "", now)}` });
  }
  if (isUnused(key, now)) {
    badges.push({ kind: "warning", icon: "unused", text: `Unused for ${UNUSED_DAYS} days` });
  }
  return badges;
}

/** Whether the key has existed for 90 days without a use in them. @param {Key} key @param {number} now */
export function isUnused(key, now) {
  const since = key.last_used_at ?? key.created_at;
  return now - Date.parse(since) >= UNUSED_DAYS * DAY;
}
