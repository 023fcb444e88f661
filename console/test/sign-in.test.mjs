import assert from "node:assert/strict";
import { test } from "node:test";
import { challengeOf, exchange, leave, SignInError, takeReturn } from "../src/sign-in.js";

/** @type {import("../src/sign-in.js").Provider} */
const PROVIDER = {
  authorization_endpoint: "https://id.example.com/authorize?tenant=7",
  token_endpoint: "https://id.example.com/token",
  client_id: "page",
  scope: "openid keys",
  resource: "https://keys.example.com",
  token: "access_token",
};

/** A window at an address. @param {string} address */
function windowAt(address) {
  const url = new URL(address);
  const stored = new Map();
  const window = {
    location: {
      origin: url.origin,
      pathname: url.pathname,
      search: url.search,
      /** @param {URL} to */
      assign: (to) => (window.left = to),
    },
    history: {
      /** @param {unknown} _state @param {string} _title @param {string} to */
      replaceState: (_state, _title, to) => (window.location.search = new URL(to, url).search),
    },
    sessionStorage: {
      /** @param {string} name @param {string} value */
      setItem: (name, value) => stored.set(name, value),
      /** @param {string} name */
      getItem: (name) => stored.get(name) ?? null,
      /** @param {string} name */
      removeItem: (name) => stored.delete(name),
    },
    stored,
    left: url,
  };
  return window;
}
const as = (/** @type {ReturnType<typeof windowAt>} */ window) => /** @type {Window} */ (/** @type {unknown} */ (window));

test("the challenge is that of RFC 7636, appendix B", async () => {
  assert.equal(await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
});

test("a sign-in comes back to the view that it left, and leaves nothing in the storage", async () => {
  const window = windowAt("https://keys.example.com/v1/console?status=active&name=%C3%BC");
  await leave(PROVIDER, as(window));
  const sent = Object.fromEntries(window.left.searchParams);
  assert.equal(sent.tenant, "7");
  assert.equal(sent.redirect_uri, "https://keys.example.com/v1/console");
  assert.equal(sent.resource, PROVIDER.resource);
  const { verifier } = JSON.parse([...window.stored.values()][0]);
  assert.equal(sent.code_challenge, await challengeOf(verifier));
  window.location.search = `?code=c0de&state=${sent.state}`;
  assert.deepEqual(takeReturn(as(window)), { answer: { code: "c0de" }, verifier });
  assert.equal(window.location.search, "?status=active&name=%C3%BC");
  assert.equal(window.stored.size, 0);
});

test("a code with the state of another sign-in is refused, and leaves the address", () => {
  const window = windowAt("https://keys.example.com/console?code=c0de&state=forged.");
  assert.throws(() => takeReturn(as(window)), SignInError);
  assert.equal(window.location.search, "");
});

test("an address without a response is left alone", () => {
  const window = windowAt("https://keys.example.com/console?status=active");
  assert.equal(takeReturn(as(window)), null);
  assert.equal(window.location.search, "?status=active");
});

test("the exchange takes the token that the API takes, and no refresh token", async () => {
  /** @type {URLSearchParams | undefined} */
  let sent;
  const fetch = /** @type {typeof globalThis.fetch} */ (
    async (_url, options) => {
      sent = /** @type {URLSearchParams} */ (options?.body);
      return Response.json({ access_token: "at", id_token: "it", refresh_token: "rt", expires_in: 300 });
    }
  );
  const location = /** @type {Location} */ ({ origin: "https://keys.example.com", pathname: "/console" });
  const session = await exchange(PROVIDER, { answer: { code: "c0de" }, verifier: "v" }, location, fetch, 0);
  assert.deepEqual(session, { session: "at", expires_at: "1970-01-01T00:05:00.000Z" });
  assert.equal(sent?.get("code_verifier"), "v");
  await assert.rejects(exchange(PROVIDER, { answer: { error: "access_denied" }, verifier: "v" }, location, fetch, 0), /cancelled/);
});
