// Times as people read them: relative, exact in the reader's time zone, and in UTC.

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** Up to here a distance is in days: "in 2 months" would say too little of 90 days. */
const DAYS = 100;

/**
 * A time as a distance from now: "4 minutes ago", "in 6 days". Distances are rounded down, so that nothing seems to last longer
 * than it does. What is to come is first rounded up to a minute: a key that was just made for 30 days expires "in 30 days".
 * @param {string} time @param {number} now Milliseconds. @param {string} [locale]
 */
export function relative(time, now, locale) {
  const distance = Math.trunc((Date.parse(time) - now) / 1000);
  if (Math.abs(distance) < 60) {
    return distance > 0 ? "in less than a minute" : "just now";
  }
  const seconds = distance > 0 ? Math.ceil(distance / 60) * 60 : distance;
  const inDays = Math.abs(seconds) < (DAYS + 1) * 86_400;
  const units = inDays ? UNITS.slice(UNITS.findIndex(([unit]) => unit === "day")) : UNITS;
  const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ["minute", 60];
  const count = Math.trunc(seconds / length);
  return new Intl.RelativeTimeFormat(locale, { numeric: "always" }).format(count, unit);
}

/** A time to the minute in the reader's zone. @param {string} time @param {string} [locale] @param {string} [timeZone] */
export function exact(time, locale, timeZone) {
  return new Intl.DateTimeFormat(locale, {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone,
  }).format(new Date(time));
}

/** A time in the reader's zone, and in UTC beside it where that differs. @param {string} time @param {string} [locale] @param {string} [timeZone] */
export function exactWithUtc(time, locale, timeZone) {
  if (exact(time, locale, timeZone) === exact(time, locale, "UTC")) {
    return `${exact(time, locale, timeZone)} UTC`;
  }
  const utc = `${new Date(time).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  return `${exact(time, locale, timeZone)} (${utc})`;
}

/** A length of time in words. @param {number} seconds */
export function duration(seconds) {
  const [unit, length] = UNITS.find(([, length]) => seconds >= length && seconds % length === 0) ?? ["second", 1];
  const count = seconds / length;
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** The value of an `<input type=datetime-local>` for a time, in the reader's zone. @param {string} time */
export function localInput(time) {
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
