import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ACTION_NAMES, actionName, sentence, uncertain } from "../src/messages.js";
import { Problem } from "../src/problem.js";

const openapi = await readFile(new URL("../../infra/openapi.yaml", import.meta.url), "utf8");

/** The values of an `enum` of the API's description, by one of them. @param {string} value */
function enumWith(value) {
  const list = [...openapi.matchAll(/enum:\s*(?:\[([^\]]+)\]|((?:\n\s+- \S+)+))/g)]
    .map(([, flow, block]) => (flow ?? block.replaceAll("\n", " ").replace(/\s+- /g, ",")).split(",").map((item) => item.trim()))
    .find((items) => items.includes(value));
  assert.ok(list, `no enum with ${value}`);
  return list.filter((item) => /^[a-z_.]+$/.test(item));
}

test("every code of the API has a sentence of its own", () => {
  const codes = enumWith("name_taken");
  assert.ok(codes.length >= 27);
  for (const code of codes) {
    const text = sentence(new Problem({ status: 400, code, detail: "the API's text" }));
    assert.notEqual(text, "the API's text", code);
    assert.match(text, /^[A-Z].*\.$/, code);
  }
});

test("a code that is not known has the API's own text", () => {
  assert.equal(sentence(new Problem({ status: 409, code: "new_code", detail: "Do this." })), "Do this.");
  assert.equal(sentence(new Problem({ status: 418, code: "unreadable" })), "The request failed with the status 418.");
});

test("a throttled request says when to try again", () => {
  assert.match(sentence(new Problem({ status: 429, code: "throttled", retryAfter: 7 })), /in 7 seconds/);
});

test("only a change without a clear answer may have been made", () => {
  assert.equal(uncertain(new Problem({ status: 409, code: "conflict" }), "The change"), "");
  for (const status of [0, 500, 503]) {
    assert.match(uncertain(new Problem({ status, code: "x" }), "The change"), /^The change may have been made/);
  }
});

test("every event that the audit trail can be filtered by has a name, and no other is offered", () => {
  assert.deepEqual([...ACTION_NAMES].sort(), enumWith("key.created").sort());
  assert.equal(actionName("key.invented"), "key.invented");
});
