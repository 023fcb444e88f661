import assert from "node:assert/strict";
import { test } from "node:test";
import { isFiltered, keysRequest, readKeysQuery, viewOf, writeKeysQuery } from "../src/address.js";

const read = (/** @type {string} */ query) => readKeysQuery(new URLSearchParams(query));

test("a state of the list survives the address", () => {
  const query = "sort=name&order=desc&limit=50&name=a+b&user=auth0%7C7&creator=x&after=2026-11-01&before=2026-11-27&status=active";
  assert.equal(writeKeysQuery(read(query)).size, 9);
  assert.deepEqual(readKeysQuery(writeKeysQuery(read(query))), read(query));
  assert.equal(read(query).user_id, "auth0|7");
});

test("entries of the metadata are parameters of their own, in the address as in the API", () => {
  const query = "metadata.env=live&metadata.customer.id=a%3Db&metadata.env=test&metadata.empty=&metadata.=x&metadata=y";
  const state = read(query);
  assert.deepEqual(state.metadata, [
    ["env", "test"],
    ["customer.id", "a=b"],
  ]);
  assert.equal(writeKeysQuery(state).toString(), "metadata.env=test&metadata.customer.id=a%3Db");
  assert.equal(isFiltered(state), true);
  const request = /** @type {Record<string, unknown>} */ (keysRequest(state));
  assert.deepEqual([request["metadata.env"], request["metadata.customer.id"]], ["test", "a=b"]);
  assert.ok(!("metadata" in request));
});

test("the defaults are not written into the address", () => {
  assert.equal(writeKeysQuery(read("")).toString(), "");
  assert.equal(writeKeysQuery(read("sort=name")).toString(), "sort=name");
});

test("what the address should not have is the default", () => {
  assert.deepEqual(read("sort=secret&order=up&limit=7&status=x&unused_days=0&after=yesterday&first=9"), read(""));
  assert.equal(viewOf(new URLSearchParams("view=nowhere")), "keys");
  assert.equal(viewOf(new URLSearchParams("view=key")), "keys");
  assert.equal(viewOf(new URLSearchParams("view=key&id=7")), "key");
});

test("the days of unused keys are read with their status alone", () => {
  assert.equal(read("status=unused&unused_days=90").unused_days, "90");
  assert.equal(read("status=active&unused_days=90").unused_days, "");
});

test("a filter by days includes the whole last day", () => {
  const { created_after: after, created_before: before } = keysRequest(read("after=2026-11-27&before=2026-11-27"));
  assert.equal(Date.parse(before) - Date.parse(after), 86_400_000);
});
