import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { Api, newIdempotencyKey } from "../src/api.js";
import { Problem } from "../src/problem.js";

/** @typedef {{status?: number, body?: unknown, headers?: Record<string, string>, lost?: boolean}} Answer */

/**
 * A server that gives these answers, one to each request, and what it received.
 * @param {import("node:test").TestContext} context @param {Answer[]} answers
 */
async function serverOf(context, answers) {
  /** @type {import("node:http").IncomingMessage[]} */
  const received = [];
  const server = createServer((request, response) => {
    request.resume();
    const answer = answers[received.length];
    received.push(request);
    if (answer === undefined || answer.lost) {
      response.destroy();
      return;
    }
    const { status = 200, body, headers } = answer;
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", () => done(undefined)));
  context.after(() => server.close());
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { base: `http://127.0.0.1:${port}/v1`, received };
}

/** An API that waits for nothing, and remembers how long it would have. @param {string} base @param {string[]} sessions */
function apiOf(base, sessions = ["s1"]) {
  /** @type {number[]} */
  const waited = [];
  /** @type {boolean[]} */
  const signedOut = [];
  const wait = async (/** @type {number} */ milliseconds) => void waited.push(milliseconds);
  const getSession = () => (sessions.length > 1 ? /** @type {string} */ (sessions.shift()) : sessions[0]);
  const api = new Api({ base, getSession, wait, onSignedOut: (wasIn) => void signedOut.push(wasIn) });
  return { api, waited, signedOut };
}

const unavailable = { status: 503, body: { code: "unavailable" }, headers: { "Retry-After": "2" } };

test("a request has the session, the query, the ETag and the body", async (context) => {
  const { base, received } = await serverOf(context, [{ body: { id: 1 }, headers: { ETag: '"2"' } }]);
  const { api } = apiOf(base);
  const query = { user_id: "auth0|7", name: "a b+c", status: "", cursor: null };
  const { data, etag } = await api.request("PATCH", "api-keys/1", { query, body: { disabled: true }, ifMatch: '"1"' });
  assert.deepEqual([data, etag], [{ id: 1 }, '"2"']);
  const [{ url, headers }] = received;
  assert.equal(url, "/v1/api-keys/1?user_id=auth0%7C7&name=a+b%2Bc");
  assert.equal(headers.authorization, "Bearer s1");
  assert.equal(headers["if-match"], '"1"');
  assert.equal(headers["idempotency-key"], undefined);
});

test("a create whose answers are lost is repeated with the same Idempotency-Key", async (context) => {
  const { base, received } = await serverOf(context, [{ lost: true }, unavailable, { status: 201, body: { key: "k" } }]);
  const { api, waited } = apiOf(base);
  const idempotencyKey = newIdempotencyKey();
  const { data } = await api.request("POST", "api-keys", { body: { name: "x" }, idempotencyKey });
  assert.deepEqual(data, { key: "k" });
  assert.deepEqual(received.map(({ headers }) => headers["idempotency-key"]), [idempotencyKey, idempotencyKey, idempotencyKey]);
  assert.deepEqual(waited, [500, 2000]);
});

test("a change without an Idempotency-Key is not repeated if it may have been made", async (context) => {
  for (const answer of [{ lost: true }, unavailable]) {
    const { base, received } = await serverOf(context, [answer, { body: {} }]);
    const failed = apiOf(base).api.request("PATCH", "api-keys/1", { body: {} });
    await assert.rejects(failed, (error) => error instanceof Problem && error.isAmbiguous);
    assert.equal(received.length, 1);
  }
});

test("every request that API Gateway throttled is repeated, and no longer than twice", async (context) => {
  const throttled = { status: 429, body: { code: "throttled" }, headers: { "Retry-After": "60" } };
  const { base, received } = await serverOf(context, [throttled, throttled, throttled, { body: {} }]);
  const { api, waited } = apiOf(base);
  const failed = api.request("DELETE", "api-keys/1");
  await assert.rejects(failed, (error) => error instanceof Problem && error.code === "throttled" && error.retryAfter === 60);
  assert.equal(received.length, 3);
  assert.deepEqual(waited, [5000, 5000]);
});

test("a refused request is not repeated, and its problem is that of the API", async (context) => {
  const body = { code: "name_taken", detail: "Taken.", key_id: "7", request_id: "r", errors: [] };
  const { base, received } = await serverOf(context, [{ status: 409, body }]);
  const failed = apiOf(base).api.request("POST", "api-keys", { body: {}, idempotencyKey: newIdempotencyKey() });
  await assert.rejects(failed, (error) => {
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.code, error.detail, error.keyId, error.requestId], [409, "name_taken", "Taken.", "7", "r"]);
    assert.equal(error.isAmbiguous, false);
    return true;
  });
  assert.equal(received.length, 1);
});

test("an ended session is renewed once, and the request goes on", async (context) => {
  const { base, received } = await serverOf(context, [{ status: 401, body: { code: "unauthorized" } }, { body: { items: [] } }]);
  const { api, signedOut } = apiOf(base, ["old", "new"]);
  await api.request("GET", "api-keys");
  assert.deepEqual(received.map(({ headers }) => headers.authorization), ["Bearer old", "Bearer new"]);
  assert.deepEqual(signedOut, []);
});

test("a session that is not renewed ends the sign-in", async (context) => {
  const refused = { status: 401, body: { code: "unauthorized" } };
  const { base, received } = await serverOf(context, [{ body: {} }, refused]);
  const { api, signedOut } = apiOf(base);
  await api.request("GET", "me");
  await assert.rejects(api.request("GET", "me"), Problem);
  assert.equal(received.length, 2);
  assert.deepEqual(signedOut, [true]);
});

test("requests at the same time share one renewal", async (context) => {
  const { base } = await serverOf(context, [{ body: {} }, { body: {} }]);
  let renewals = 0;
  const getSession = async () => ({ session: `s${(renewals += 1)}`, expires_at: new Date(Date.now() + 60_000).toISOString() });
  const api = new Api({ base, getSession });
  await Promise.all([api.request("GET", "me"), api.request("GET", "policy")]);
  assert.equal(renewals, 1);
});

test("a callback that fails is an ended sign-in, with its cause", async () => {
  const cause = new Error("no backend");
  const getSession = () => Promise.reject(cause);
  const failed = new Api({ base: "http://127.0.0.1:1/", getSession }).request("GET", "me");
  await assert.rejects(failed, (error) => error instanceof Problem && error.code === "no_session" && error.cause === cause);
});

test("an answer that is no problem document is a problem too", async (context) => {
  const { base } = await serverOf(context, [{ status: 404, body: "gone" }]);
  await assert.rejects(apiOf(base).api.request("GET", "me"), (error) => error instanceof Problem && error.code === "unreadable");
});

test("an Idempotency-Key is 16 random bytes", () => {
  assert.match(newIdempotencyKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(newIdempotencyKey(), newIdempotencyKey());
});
