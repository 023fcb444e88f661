// The ways to sign in, and what they leave behind: nothing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { assertAria, expectSoon, launch, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { API, call, ISSUER, PAGE, unique, Workspace } from "./stack.mjs";

/** The first view may take as many bytes. */
const MAX_BYTES = 80_000;

let browser;
let workspace;
before(async () => {
  [browser, workspace] = await Promise.all([launch(), Workspace.create()]);
});
after(() => browser.close());

/** Runs a test with a tab of its own. */
async function inTab(run) {
  const tab = await Tab.open(browser);
  try {
    await run(new KeysPage(tab), tab);
  } finally {
    await tab.close();
  }
}

test("signed out, the page offers the provider first, and loads less than 80 kB", () =>
  inTab(async (keys, tab) => {
    const bodies = [];
    keys.page.on("response", (response) => bodies.push(response.body()));
    await keys.page.goto(PAGE);
    await keys.button("Sign in").waitFor();
    // API Gateway compresses like this, and the emulator does not.
    const transferred = (await Promise.all(bodies)).reduce((sum, body) => sum + gzipSync(body).length, 0);
    assert.ok(bodies.length >= 2 && transferred < MAX_BYTES, `${bodies.length} responses with ${transferred} bytes`);
    await keys.page.getByText("Use an API key instead").click();
    await tab.check("signed out");
    await assertAria(keys.page.locator("body"), "signed-out");
    assert.deepEqual(tab.calls, [], "nothing is asked of the API");
    await tab.assertClean([]);
  }));

test("a pasted key shows the list after one request, and is in memory alone", () =>
  inTab(async (keys, tab) => {
    await keys.paste(workspace.admin);
    await keys.table.getByRole("link", { name: "first", exact: true }).waitFor();
    assert.deepEqual(tab.calls.slice(0, 1), ["GET /api-keys"]);
    await expectSoon(() => assert.deepEqual(tab.calls.toSorted(), ["GET /api-keys", "GET /me", "GET /policy"]));
    await tab.assertClean([workspace.admin]);

    await keys.page.reload();
    await keys.button("Sign in").waitFor();
    await tab.assertClean([workspace.admin]);
  }));

test("a key that does not work is refused with a sentence", () =>
  inTab(async (keys, tab) => {
    await keys.paste("kg_key_no");
    await keys.page.getByRole("alert").filter({ hasText: "sign-in is not accepted" }).waitFor();
    await tab.check("refused");
    await tab.assertClean([]);
  }));

test("a page code is erased from the address, and works once", () =>
  inTab(async (keys, tab) => {
    const address = await workspace.pageAddress("visitor");
    const code = new URL(address).hash.slice("#code=".length);
    const exchanged = keys.page.waitForResponse(`${API}/sessions/exchange`);
    await keys.page.goto(address);
    const { session } = await (await exchanged).json();
    await keys.page.getByRole("heading", { name: "Create your first key" }).waitFor();
    assert.equal(keys.page.url(), PAGE);
    assert.deepEqual(tab.calls.slice(0, 2), ["POST /sessions/exchange", "GET /api-keys"]);
    await tab.check("no keys yet");
    await keys.page.getByRole("link", { name: "Legacy keys" }).waitFor();
    await assertAria(keys.page.locator("body"), "no-keys");
    await tab.assertClean([code, session]);

    await keys.button("Sign out").click();
    await keys.button("Sign in").waitFor();
    await expectSoon(() => assert.rejects(call("GET", "/me", session), /401/));

    await keys.page.goto("about:blank");
    await keys.page.goto(address);
    await keys.page.getByRole("alert").filter({ hasText: "used before or is too old" }).waitFor();
    await tab.assertClean([code, session]);
  }));

test("the provider signs people in, and back to the view that they wanted", () =>
  inTab(async (keys, tab) => {
    const user = unique("person");
    await workspace.key({ name: unique("elsewhere") });
    const tokens = keys.page.waitForResponse(`${ISSUER}/token`);
    await keys.signIn({ user, groups: "admins", workspace: workspace.id }, "?sort=name&order=desc");
    const answer = await (await tokens).json();
    await keys.table.getByRole("link", { name: "first", exact: true }).waitFor();
    assert.equal(new URL(keys.page.url()).search, "?sort=name&order=desc");
    assert.equal(answer.refresh_token, undefined);
    const inUse = [answer.access_token, answer.id_token].filter(Boolean);
    await tab.check("signed in");
    // The verifier and the state were stored until the return; the tokens never.
    await tab.assertClean(inUse);
    assert.deepEqual(await keys.page.evaluate(() => ({ ...sessionStorage })), {});
    const me = await call("GET", "/me", answer.access_token);
    assert.equal(me.user_id, user);

    await keys.begin("by a person");
    await keys.button("Create key").click();
    const secret = await keys.secret();
    await keys.stored();
    await keys.row("by a person").waitFor();
    await tab.assertClean([...inUse, secret]);
  }));

test("a response that no sign-in of this tab asked for is refused", () =>
  inTab(async (keys, tab) => {
    const code = "stolen-authorization-code";
    await keys.page.goto(`${PAGE}?code=${code}&state=forged.`);
    await keys.page.getByRole("alert").filter({ hasText: "not started here" }).waitFor();
    assert.equal(keys.page.url(), PAGE);
    assert.deepEqual(tab.calls, []);
    assert.ok(!tab.traces.some((trace) => trace.startsWith(`request: ${ISSUER}/token`)));
  }));

test("a sign-in that the provider refuses is told", () =>
  inTab(async (keys, tab) => {
    await keys.page.route(`${ISSUER}/auth?**`, (route) => {
      const { searchParams } = new URL(route.request().url());
      const back = new URL(searchParams.get("redirect_uri"));
      back.search = new URLSearchParams({ error: "access_denied", state: searchParams.get("state") });
      return route.fulfill({ status: 303, headers: { Location: back.href } });
    });
    await keys.page.goto(PAGE);
    await keys.button("Sign in").click();
    await keys.page.getByRole("alert").first().waitFor();
    assert.equal(keys.page.url(), PAGE);
    assert.deepEqual(await keys.page.evaluate(() => ({ ...sessionStorage })), {});
    await tab.check("refused by the provider");
    await tab.assertClean([]);
  }));

test("a person without the scopes is told so", () =>
  inTab(async (keys, tab) => {
    await keys.signIn({ user: unique("person"), groups: "guests", workspace: workspace.id });
    await keys.page.getByRole("heading", { name: "You cannot see this" }).waitFor();
    await tab.check("forbidden");
    await tab.assertClean([]);
  }));
