// How single values are shown: times, badges, text of people.

import { html } from "lit";
import { badges } from "../key-status.js";
import { exactWithUtc, relative } from "../times.js";
import { icon } from "./icons.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A relative time, whose title has the exact one. @param {string | null} time @param {number} now @param {string} absent */
export function ago(time, now, absent) {
  return time === null
    ? html`<span class="quiet">${absent}</span>`
    : html`<time datetime=${time} title=${exactWithUtc(time)}>${relative(time, now)}</time>`;
}

/** What follows a last use of the last hour: a key's uses are not written one by one. @param {string | null} time @param {number} now */
export function later(time, now) {
  const age = now - Date.parse(time ?? "");
  return age >= MINUTE && age < HOUR ? " or later" : "";
}

/**
 * A relative time with the exact one written out beside it.
 * @param {string | null} time @param {number} now @param {string} absent @param {string} [more] What follows the relative time.
 */
export function fullTime(time, now, absent, more = "") {
  return time === null
    ? html`<span class="quiet">${absent}</span>`
    : html`<time datetime=${time}>${relative(time, now)}${more} <span class="quiet">${exactWithUtc(time)}</span></time>`;
}

/** Text that people chose, in whatever direction it is written. @param {string} text */
export function isolated(text) {
  return html`<bdi>${text}</bdi>`;
}

/** @param {import("../types.js").Key} key @param {number} now */
export function keyBadges(key, now) {
  return html`<span class="badges">${badges(key, now).map(({ kind, icon, text }) => badge(kind, icon, text))}</span>`;
}

/** @param {string} kind @param {string} image @param {string} text */
export function badge(kind, image, text) {
  return html`<span class="badge ${kind}" part="badge">${icon(image)}${text}</span>`;
}
