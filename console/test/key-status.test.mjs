import assert from "node:assert/strict";
import { test } from "node:test";
import { badges, isUnused } from "../src/key-status.js";

const NOW = Date.parse("2026-11-27T10:00:00Z");

/** @param {Partial<import("../src/types.js").Key>} key */
function texts(key) {
  const whole = { created_at: "2026-11-01T00:00:00Z", expires_at: null, last_used_at: null, status: "active", ...key };
  return badges(/** @type {import("../src/types.js").Key} */ (whole), NOW).map(({ text }) => text);
}

test("a key's badges say what is true of it now", () => {
  assert.deepEqual(texts({}), ["Active"]);
  assert.deepEqual(texts({ expires_at: "2026-12-03T11:00:00Z" }), ["Expires in 6 days"]);
  assert.deepEqual(texts({ expires_at: "2027-12-03T11:00:00Z" }), ["Active"]);
  assert.deepEqual(texts({ status: "disabled", expires_at: "2026-11-28T11:00:00Z" }), ["Disabled", "Expires in 1 day"]);
  assert.deepEqual(texts({ status: "expired", expires_at: "2026-11-20T00:00:00Z" }), ["Expired"]);
});

test("a key that expires while the page is open is shown as expired", () => {
  assert.deepEqual(texts({ expires_at: "2026-11-27T09:59:59Z" }), ["Expired"]);
});

test("a key stands out after 90 days without a use", () => {
  assert.deepEqual(texts({ created_at: "2026-01-01T00:00:00Z" }), ["Active", "Unused for 90 days"]);
  const used = { created_at: "2026-01-01T00:00:00Z", last_used_at: "2026-11-26T00:00:00Z" };
  assert.equal(isUnused(/** @type {import("../src/types.js").Key} */ (used), NOW), false);
});
