// The web component in a page of another origin, with the example backend of infra/examples/embed.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { expectSoon, launch, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { call, embed, rememberSecret, Workspace } from "./stack.mjs";

let browser;
let workspace;
let backend;
before(async () => {
  [browser, workspace] = await Promise.all([launch(), Workspace.create()]);
  const opener = await workspace.key({ user_id: "svc:product", scopes: ["sessions:write", "keys:write", "orders:read"] });
  backend = await embed(opener.key);
});
after(async () => {
  await backend?.stop();
  await browser.close();
});

/** Signs a user in to the product, and returns their session at Keygate. */
async function signIn(keys, user) {
  await keys.page.goto(backend.origin);
  await keys.page.getByLabel("Email").fill(user);
  const opened = keys.page.waitForResponse(`${backend.origin}/keygate-session`);
  await keys.button("Sign in").click();
  const { session } = await (await opened).json();
  rememberSecret(session);
  return session;
}

test("a user of a product creates, rotates and deletes keys in the product's own page", async () => {
  const tab = await Tab.open(browser);
  const keys = new KeysPage(tab);
  const session = await signIn(keys, "bob@example.com");
  await keys.page.getByRole("heading", { name: "Create your first key" }).waitFor();
  await tab.check("embedded, no keys yet");

  await keys.begin("Spreadsheet");
  await keys.dialog.getByRole("checkbox", { name: "orders:read" }).check();
  await tab.check("embedded, create");
  await keys.button("Create key").click();
  const first = await keys.secret();
  await keys.stored();
  await keys.row("Spreadsheet").waitFor();
  const me = await call("GET", "/me", first);
  assert.deepEqual([me.user_id, me.scopes], ["bob@example.com", ["orders:read"]]);

  await keys.act("Spreadsheet", "Rotate");
  await keys.button("Rotate key").click();
  const second = await keys.secret();
  await keys.stored();
  await keys.act("Spreadsheet", "Delete");
  await keys.dialog.getByLabel(/^To delete it/).fill("Spreadsheet");
  await keys.button("Delete key").click();
  await keys.page.getByRole("heading", { name: "Create your first key" }).waitFor();

  await tab.assertClean([session, first, second]);
  const events = tab.traces.filter((trace) => trace.startsWith("event: "));
  assert.deepEqual(
    events.map((trace) => trace.replace(/01[0-9A-HJKMNP-TV-Z]{24}/, "ID")),
    ["created", "rotated", "deleted"].map((name) => `event: ${name} {"id":"ID","name":"Spreadsheet"}`),
  );
  await tab.close();
});

test("a session that ended is replaced without a word", async () => {
  const tab = await Tab.open(browser);
  const keys = new KeysPage(tab);
  const session = await signIn(keys, "carol@example.com");
  await keys.page.getByRole("heading", { name: "Create your first key" }).waitFor();
  await call("DELETE", "/sessions/current", session);
  const opened = keys.page.waitForResponse(`${backend.origin}/keygate-session`);
  await keys.begin("Later");
  await keys.button("Create key").click();
  await opened;
  await keys.secret();
  await keys.stored();
  await tab.close();
});

test("a user of a product sees their own keys alone", async () => {
  await workspace.key({ name: "Of another user", user_id: "dave@example.com" });
  const own = await workspace.key({ name: "Own", user_id: "erin@example.com" });
  const tab = await Tab.open(browser);
  const keys = new KeysPage(tab);
  await signIn(keys, "erin@example.com");
  await keys.row("Own").waitFor();
  assert.deepEqual(await keys.names(), ["Own"]);
  assert.equal(await tab.page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Users" }).count(), 0);
  await tab.assertClean([own.key]);
  await tab.close();
});

test("the product's page may not be framed, and the hosted page neither", async () => {
  const tab = await Tab.open(browser);
  for (const address of [backend.origin, `${process.env.KEYGATE_API_URL}/console`]) {
    await tab.page.setContent(`<iframe src="${address}"></iframe>`);
    await expectSoon(async () => {
      const [, frame] = tab.page.frames();
      assert.match(frame.url(), /^chrome-error:/, address);
    });
  }
  await tab.close();
});
