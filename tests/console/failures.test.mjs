// What the page does when a request fails, or its answer is lost.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { expectSoon, launch, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { API, call, Workspace } from "./stack.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Runs a test in a workspace of its own with a key "Present", signed in as its administrator. */
async function signedIn(run) {
  const workspace = await Workspace.create();
  const key = await workspace.key({ name: "Present" });
  const tab = await Tab.open(browser);
  const keys = new KeysPage(tab);
  try {
    await keys.paste(workspace.admin);
    await keys.row("Present").waitFor();
    await expectSoon(() => assert.ok(tab.calls.includes("GET /policy")));
    await run(keys, tab, workspace, key);
  } finally {
    await tab.close();
  }
}

const problem = (status, code, more = {}) => ({
  status,
  contentType: "application/problem+json",
  body: JSON.stringify({ type: `urn:keygate:problem:${code}`, status, code, title: code, detail: "Detail.", request_id: "r-1" }),
  headers: more,
});

/** Lets requests reach the API and loses their answers, that many times. Returns the `Idempotency-Key` of each, and its answer. */
async function loseAnswers(page, pattern, times) {
  const lost = [];
  const seen = [];
  await page.route(pattern, async (route) => {
    if (route.request().method() !== "POST") {
      return route.continue();
    }
    const response = await route.fetch();
    seen.push({ key: route.request().headers()["idempotency-key"], answer: await response.json() });
    if (lost.length < times) {
      lost.push(true);
      return route.abort("connectionreset");
    }
    return route.fulfill({ response });
  });
  return seen;
}

test("a lost answer of a create is asked for again, and shows the same key", () =>
  signedIn(async (keys, tab, workspace) => {
    const seen = await loseAnswers(keys.page, `${API}/api-keys`, 1);
    await keys.begin("Only once");
    await keys.button("Create key").click();
    const secret = await keys.secret();
    assert.equal(seen.length, 2);
    assert.ok(seen[0].key.length >= 16 && seen[0].key === seen[1].key, "one Idempotency-Key");
    assert.deepEqual([seen[0].answer.key, seen[1].answer.key], [secret, secret]);
    await keys.stored();
    const { items } = await call("GET", "/api-keys?name=Only%20once", workspace.admin);
    assert.equal(items.length, 1);
    await tab.assertClean([secret]);
  }));

test("if every answer is lost, the reader repeats the create and gets the same key", () =>
  signedIn(async (keys, tab) => {
    const seen = await loseAnswers(keys.page, `${API}/api-keys`, 3);
    await keys.begin("In the end");
    await keys.button("Create key").click();
    await keys.button("Try again").waitFor();
    await tab.check("a lost answer");
    await keys.button("Try again").click();
    const secret = await keys.secret();
    assert.equal(new Set(seen.map(({ key }) => key)).size, 1);
    assert.deepEqual(new Set(seen.map(({ answer }) => answer.key)), new Set([secret]));
  }));

test("a lost answer of a rotation is asked for again, and shows the same secret", () =>
  signedIn(async (keys, _tab, _workspace, key) => {
    const seen = await loseAnswers(keys.page, `${API}/api-keys/${key.id}/rotate`, 1);
    await keys.act("Present", "Rotate");
    await keys.button("Rotate key").click();
    const secret = await keys.secret();
    assert.equal(new Set(seen.map(({ key: sent }) => sent)).size, 1);
    assert.deepEqual(seen.map(({ answer }) => answer.key), [secret, secret]);
    assert.equal((await call("GET", "/me", secret)).key_id, key.id);
  }));

test("a key is created once, whatever is pressed meanwhile", () =>
  signedIn(async (keys, tab) => {
    await keys.begin("Pressed twice");
    await keys.button("Create key").dblclick();
    await keys.secret();
    assert.equal(tab.calls.filter((made) => made === "POST /api-keys").length, 1);
  }));

test("a taken name is told under the field", () =>
  signedIn(async (keys, tab) => {
    await keys.begin("Present");
    await keys.button("Create key").click();
    const name = keys.dialog.getByLabel("Name", { exact: true });
    await expectSoon(async () => assert.equal(await name.getAttribute("aria-invalid"), "true"));
    await keys.dialog.getByText("already has this name").first().waitFor();
    await tab.check("a taken name");
  }));

test("a key that was changed meanwhile is not overwritten", () =>
  signedIn(async (keys, tab, workspace, key) => {
    await keys.act("Present", "Edit");
    await keys.dialog.getByLabel("Description", { exact: true }).fill("Mine");
    await call("PATCH", `/api-keys/${key.id}`, workspace.admin, { description: "Theirs" });
    await keys.button("Save changes").click();
    await keys.refusal(/changed after you opened it/);
    await tab.check("changed meanwhile");
    assert.equal((await call("GET", `/api-keys/${key.id}`, workspace.admin)).description, "Theirs");
    await keys.button("Show its present state").click();
    await expectSoon(async () => assert.equal(await keys.dialog.getByLabel("Description", { exact: true }).inputValue(), "Theirs"));
  }));

test("refusals are sentences that say what to do", () =>
  signedIn(async (keys, tab) => {
    await keys.begin("Refused");
    for (const [answer, sentence] of [
      [problem(409, "quota_exceeded"), /as many keys as are allowed/],
      [problem(403, "insufficient_scope"), /permission/],
      [problem(500, "internal"), /Keygate could not process this/],
      [problem(418, "of_the_future"), /Detail\./],
    ]) {
      await keys.page.route(`${API}/api-keys`, (route) => (route.request().method() === "POST" ? route.fulfill(answer) : route.continue()));
      await keys.dialog.getByRole("button", { name: /^(Create key|Try again)$/ }).click();
      await keys.refusal(sentence);
      await keys.page.unroute(`${API}/api-keys`);
    }
    await tab.check("a refusal");
  }));

test("a throttled list is asked for again, and then told with a way to try again", () =>
  signedIn(async (keys, tab) => {
    let asked = 0;
    await keys.page.route(`${API}/api-keys?**`, (route) => {
      asked += 1;
      return route.fulfill(problem(429, "throttled"));
    });
    await keys.page.getByLabel("Status", { exact: true }).selectOption("Active");
    await keys.page.getByRole("alert").filter({ hasText: "Too many requests" }).waitFor();
    assert.equal(asked, 3);
    await keys.row("Present").waitFor();
    await tab.check("throttled");
  }));

test("without a connection the page says so, and continues afterwards", () =>
  signedIn(async (keys, tab) => {
    await tab.context.setOffline(true);
    await keys.act("Present", "Delete");
    await keys.page.getByText(/You are offline/).first().waitFor();
    await tab.check("offline");
    await tab.context.setOffline(false);
    await keys.page.keyboard.press("Escape");
    await keys.act("Present", "Delete");
    await keys.dialog.getByLabel(/^To delete it/).fill("Present");
    await keys.button("Delete key").click();
    await keys.row("Present").waitFor({ state: "detached" });
  }));

test("a credential that ends meanwhile leads back to the sign-in", () =>
  signedIn(async (keys, tab, workspace, key) => {
    const weaker = await workspace.key({ name: "Weaker", user_id: "ada", scopes: ["keys:write"] });
    await keys.button("Sign out").click();
    await keys.paste(weaker.key);
    await keys.row("Weaker").waitFor();
    await call("DELETE", `/api-keys/${weaker.id}`, workspace.admin);
    await keys.page.getByLabel("Status", { exact: true }).selectOption("Active");
    await keys.page.getByText("Your sign-in has ended").first().waitFor();
    await tab.check("ended");
    await keys.button("Sign in again").click();
    await keys.button("Sign in").waitFor();
    await tab.assertClean([weaker.key, key.key]);
  }));
