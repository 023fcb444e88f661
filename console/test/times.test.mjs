import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, exactWithUtc, localInput, relative } from "../src/times.js";

const NOW = Date.parse("2026-11-27T10:00:00Z");

test("a time is as far away as at least that many whole units", () => {
  for (const [time, text] of [
    ["2026-11-27T09:56:01Z", "3 minutes ago"],
    ["2026-11-27T10:00:30Z", "in less than a minute"],
    ["2026-11-27T09:59:30Z", "just now"],
    ["2026-12-03T11:00:00Z", "in 6 days"],
    ["2026-11-26T10:00:00Z", "1 day ago"],
    ["2026-12-27T09:59:58Z", "in 30 days"],
    ["2027-02-25T09:59:58Z", "in 90 days"],
    ["2026-08-20T10:00:00Z", "99 days ago"],
    ["2027-03-27T10:00:00Z", "in 3 months"],
    ["2024-01-01T00:00:00Z", "2 years ago"],
  ]) {
    assert.equal(relative(time, NOW, "en"), text);
  }
});

test("an exact time is in the reader's zone, with UTC beside it", () => {
  assert.equal(exactWithUtc("2026-11-27T23:30:00Z", "en-GB", "Asia/Tokyo"), "28 Nov 2026, 08:30 (2026-11-27 23:30 UTC)");
  assert.equal(exactWithUtc("2026-11-27T23:30:00Z", "en-GB", "Africa/Abidjan"), "27 Nov 2026, 23:30 UTC");
});

test("a length of time is in its largest whole unit", () => {
  assert.deepEqual([0, 1, 600, 3600, 86_400, 90_000, 604_800].map(duration), [
    "0 seconds",
    "1 second",
    "10 minutes",
    "1 hour",
    "1 day",
    "25 hours",
    "7 days",
  ]);
});

test("the value of a local input is the same moment", () => {
  assert.equal(new Date(localInput("2026-11-27T10:15:00Z")).toISOString(), "2026-11-27T10:15:00.000Z");
});
