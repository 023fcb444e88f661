import assert from "node:assert/strict";
import { test } from "node:test";
import { changes, createRequest, emptyForm, expiryChoices, fieldErrors, FormError, formOf } from "../src/key-form.js";
import { Problem } from "../src/problem.js";

/** @type {import("../src/types.js").Key} */
const KEY = {
  id: "01M8DNT040GN4QBJKPV6TJ1HN9",
  name: "Billing sync",
  description: null,
  prefix: "kg_key_01M8DNT040GN4QBJKPV6TJ1HN9",
  user_id: "svc:billing",
  created_by: "alice@example.com",
  created_at: "2026-11-27T04:56:00Z",
  expires_at: "2026-12-03T04:56:00Z",
  last_used_at: null,
  last_used_from: null,
  status: "active",
  scopes: ["orders:read"],
  endpoints: ["GET /orders/*"],
  networks: ["203.0.113.0/24"],
  metadata: { env: "live", customer: "cus_7=8" },
  limits: [{ calls: 500, per: "hour" }],
  can: [],
};
const NOW = Date.parse("2026-11-27T10:00:00Z");

test("a form with a name alone asks for that name and the default expiry", () => {
  assert.deepEqual(createRequest({ ...emptyForm(null), name: " Export " }), { name: "Export", expires_in: 90 * 86_400 });
});

test("a form sends all that it has, in the API's shapes", () => {
  const form = {
    ...emptyForm(null),
    name: "Export",
    user_id: "svc:export",
    expiry: "never",
    scopes: ["orders:read"],
    endpoints: "GET /orders/*\n\n * /echo ",
    limits: "500/hour\n9 per day",
    metadata: "env=live\n__proto__=x",
  };
  const request = createRequest(form);
  assert.deepEqual(Object.keys(request), ["name", "user_id", "scopes", "endpoints", "metadata", "limits"]);
  assert.deepEqual(request.endpoints, ["GET /orders/*", "* /echo"]);
  assert.deepEqual(request.limits, [
    { calls: 500, per: "hour" },
    { calls: 9, per: "day" },
  ]);
  assert.equal(JSON.stringify(request.metadata), '{"env":"live","__proto__":"x"}');
});

test("what cannot be sent is told at its field", () => {
  for (const [field, value] of Object.entries({ name: " ", metadata: "env", limits: "many/hour" })) {
    assert.throws(
      () => createRequest({ ...emptyForm(null), name: "x", [field]: value }),
      (error) => error instanceof FormError && error.field === field,
    );
  }
  assert.throws(() => createRequest({ ...emptyForm(null), name: "x", metadata: "a=1\na=2" }), FormError);
  assert.throws(() => createRequest({ ...emptyForm(null), name: "x", expiry: "custom" }), FormError);
});

test("a form that is not changed changes nothing", () => {
  assert.deepEqual(changes(KEY, formOf(KEY), NOW), {});
});

test("a patch has only what changed, and removes metadata by null", () => {
  const form = { ...formOf(KEY), description: "Nightly", metadata: "env=test", networks: "", expiry: "7" };
  assert.deepEqual(changes(KEY, form, NOW), {
    description: "Nightly",
    networks: [],
    metadata: { env: "test", customer: null },
    expires_at: "2026-12-04T10:00:00.000Z",
  });
  assert.deepEqual(changes(KEY, { ...formOf(KEY), expiry: "never" }, NOW), { expires_at: null });
});

test("the expiries respect the deployment's longest life", () => {
  assert.deepEqual(expiryChoices(null), [7, 30, 90, 365]);
  assert.deepEqual(expiryChoices(180), [7, 30, 90, 180]);
  assert.deepEqual(expiryChoices(90), [7, 30, 90]);
  assert.equal(emptyForm(30).expiry, "30");
});

test("the API's errors are at their fields, with the line of a list", () => {
  const problem = new Problem({
    status: 400,
    code: "invalid_request",
    errors: [
      { pointer: "/networks/1", detail: "must be a network" },
      { pointer: "/expires_in", detail: "is too long" },
      { pointer: "/metadata/env", detail: "is too long" },
      { header: "Idempotency-Key", detail: "is too short" },
    ],
  });
  assert.deepEqual(fieldErrors(problem), {
    networks: "Line 2 must be a network.",
    expires_at: "This is too long.",
    metadata: "This is too long.",
    "": "This is too short.",
  });
  assert.deepEqual(Object.keys(fieldErrors(new Problem({ status: 409, code: "name_taken" }))), ["name"]);
});
