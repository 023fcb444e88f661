// The form of a key: what it sends, and where it tells what is wrong.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { expectSoon } from "./browser.mjs";
import { call } from "./stack.mjs";

const asAdministrator = administrator();
const DAY = 86_400_000;

/** A field of the open dialog. */
const field = (keys, label) => keys.dialog.getByLabel(label, { exact: true });

/** The value of a datetime-local input of the tests' browser, which is in Berlin. */
function inBerlin(time) {
  return time.toLocaleString("sv-SE", { timeZone: "Europe/Berlin" }).slice(0, 16).replace(" ", "T");
}

/** Checks that a field is marked as wrong, and that a screen reader is told why. */
async function assertWrong(keys, label, sentence) {
  const wrong = field(keys, label);
  await expectSoon(async () => assert.equal(await wrong.getAttribute("aria-invalid"), "true", label));
  const told = await wrong.evaluate((element) =>
    element.getAttribute("aria-describedby").split(" ").map((id) => element.getRootNode().getElementById(id).textContent),
  );
  assert.match(told.join(" "), sentence);
}

test("a key is edited, and its page shows it", () =>
  asAdministrator(
    async (keys, tab, workspace, key) => {
      await keys.act(key.name, "Edit");
      await keys.dialog.getByLabel("Name", { exact: true }).fill("After");
      await keys.dialog.getByText("Restrictions and metadata").click();
      await keys.dialog.getByLabel("Networks", { exact: true }).fill("203.0.113.0/24");
      await keys.dialog.getByLabel("Metadata", { exact: true }).fill("env=live");
      await tab.check("edit");
      await keys.button("Save changes").click();
      await keys.page.getByRole("link", { name: "After", exact: true }).click();
      await keys.page.getByRole("heading", { name: "After" }).waitFor();
      await keys.page.getByText("203.0.113.0/24").first().waitFor();
      await tab.check("one key");
      const changed = await call("GET", `/api-keys/${key.id}`, workspace.admin);
      assert.deepEqual([changed.networks, changed.metadata], [["203.0.113.0/24"], { env: "live" }]);
      await keys.page.goBack();
      await keys.row("After").waitFor();
      await tab.assertClean([]);
    },
    (workspace) => workspace.key({ name: "Before" }),
  ));

test("a new key has every setting that the form was given", () =>
  asAdministrator(async (keys, tab, workspace) => {
    const expiry = new Date(Math.ceil(Date.now() / 60_000) * 60_000 + 40 * DAY);
    await keys.begin("Everything");
    await field(keys, "Description").fill("All that a key can have");
    await field(keys, "Owner").fill("svc:orders");
    await field(keys, "Expires").selectOption("At a time of my choice");
    await field(keys, "Expires on").fill(inBerlin(expiry));
    await keys.dialog.getByRole("checkbox", { name: /^keys:write/ }).check();
    await field(keys, "Another scope").fill("orders:write orders:read");
    await field(keys, "Another scope").press("Enter");
    await keys.dialog.getByRole("checkbox", { name: /^orders:write/ }).click();
    await keys.dialog.getByRole("checkbox", { name: /^orders:write/ }).waitFor({ state: "detached" });
    assert.equal(await keys.dialog.getByRole("checkbox", { name: /^orders:read/ }).isChecked(), true);
    await keys.dialog.getByText("Restrictions and metadata").click();
    await field(keys, "Endpoint rules").fill("GET /orders/*\n\n  POST /orders  ");
    await field(keys, "Networks").fill("203.0.113.0/24\n2001:db8::/32");
    await field(keys, "Call limits").fill("5/second\n500 per hour");
    await field(keys, "Metadata").fill("env=live\nnote=a = b");
    await keys.dialog.getByText("Creates a key of svc:orders with 2 scopes until").waitFor();
    await keys.button("Create key").click();
    await keys.secret();
    await keys.stored();
    const { items } = await call("GET", "/api-keys?name=Everything", workspace.admin);
    const { name, description, user_id, expires_at, scopes, endpoints, networks, limits, metadata } = items[0];
    assert.deepEqual([name, description, user_id], ["Everything", "All that a key can have", "svc:orders"]);
    assert.equal(Date.parse(expires_at), expiry.getTime());
    assert.deepEqual(scopes.toSorted(), ["keys:write", "orders:read"]);
    assert.deepEqual(endpoints.toSorted(), ["GET /orders/*", "POST /orders"]);
    assert.deepEqual(networks.toSorted(), ["2001:db8::/32", "203.0.113.0/24"]);
    assert.deepEqual(limits, [
      { calls: 5, per: "second" },
      { calls: 500, per: "hour" },
    ]);
    assert.deepEqual(metadata, { env: "live", note: "a = b" });

    await keys.page.getByRole("link", { name: "Everything", exact: true }).click();
    for (const text of ["5 calls per second", "500 calls per hour", "GET /orders/*", "env=live"]) {
      await keys.page.getByText(text).first().waitFor();
    }
    await tab.check("a key with every setting");
    await tab.assertClean([]);
  }));

test("what the form cannot read is told under its field, and is not sent", () =>
  asAdministrator(async (keys, tab) => {
    await keys.button("Create API key").click();
    await keys.button("Create key").click();
    await assertWrong(keys, "Name", /Give the key a name/);
    await field(keys, "Name").fill("Mended");
    await field(keys, "Expires").selectOption("At a time of my choice");
    await keys.button("Create key").click();
    await assertWrong(keys, "Expires on", /Choose a day and a time/);
    await field(keys, "Expires").selectOption("Never");
    await keys.dialog.getByText("Restrictions and metadata").click();
    await field(keys, "Call limits").fill("500/fortnight");
    await keys.button("Create key").click();
    await assertWrong(keys, "Call limits", /500\/hour; units are second.*“500\/fortnight”/);
    await tab.check("a limit that cannot be read");
    await field(keys, "Call limits").fill("");
    await field(keys, "Metadata").fill("env");
    await keys.button("Create key").click();
    await assertWrong(keys, "Metadata", /name=value.*“env”/);
    assert.ok(!tab.calls.includes("POST /api-keys"));
    await field(keys, "Metadata").fill("");
    await keys.button("Create key").click();
    await keys.secret();
    await keys.stored();
  }));

test("what the API refuses is told under its field", () =>
  asAdministrator(async (keys, tab) => {
    await keys.begin("Refused");
    await field(keys, "Expires").selectOption("At a time of my choice");
    await field(keys, "Expires on").fill(inBerlin(new Date(Date.now() - DAY)));
    await keys.dialog.getByText("Restrictions and metadata").click();
    await field(keys, "Endpoint rules").fill("GET /orders\nFETCH /orders");
    await field(keys, "Networks").fill("203.0.113.0/24\n203.0.113.7/33");
    await field(keys, "Call limits").fill("1/second\n2/minute\n3/hour\n4/day");
    await field(keys, "Metadata").fill("a name=x");
    await keys.button("Create key").click();
    await assertWrong(keys, "Endpoint rules", /Line 2 /);
    await assertWrong(keys, "Networks", /Line 2 /);
    await assertWrong(keys, "Call limits", /at most 3 limits/);
    await assertWrong(keys, "Metadata", /must/);
    await assertWrong(keys, "Expires on", /^Choose a time in the future, at the latest /);
    await tab.check("fields that the API refuses");
    await tab.assertClean([]);
  }));

test("an edit sends what was changed, and no more", () =>
  asAdministrator(
    async (keys, tab, workspace, key) => {
      await keys.act(key.name, "Edit");
      await field(keys, "Description").fill("");
      await field(keys, "Expires").selectOption("Never");
      await keys.dialog.getByRole("checkbox", { name: /^orders:read/ }).click();
      await field(keys, "Endpoint rules").fill("GET /invoices/*");
      await field(keys, "Call limits").fill("100/day");
      await field(keys, "Metadata").fill("team=shop");
      const sent = keys.page.waitForRequest((request) => request.method() === "PATCH");
      await keys.button("Save changes").click();
      assert.deepEqual((await sent).postDataJSON(), {
        description: null,
        expires_at: null,
        scopes: ["orders:write"],
        endpoints: ["GET /invoices/*"],
        limits: [{ calls: 100, per: "day" }],
        metadata: { env: null, team: "shop" },
      });
      await keys.dialog.waitFor({ state: "detached" });
      const now = await call("GET", `/api-keys/${key.id}`, workspace.admin);
      assert.deepEqual([now.description, now.expires_at, now.networks], [null, null, ["203.0.113.0/24"]]);
      assert.deepEqual([now.endpoints, now.metadata], [["GET /invoices/*"], { team: "shop" }]);

      await keys.act(key.name, "Edit");
      await field(keys, "Expires").selectOption("In 7 days");
      await field(keys, "Call limits").fill("1/second\n2/minute\n3/hour\n4/day");
      await keys.button("Save changes").click();
      await assertWrong(keys, "Call limits", /at most 3 limits/);
      await field(keys, "Call limits").fill("");
      await keys.button("Save changes").click();
      await keys.dialog.waitFor({ state: "detached" });
      const { expires_at, limits } = await call("GET", `/api-keys/${key.id}`, workspace.admin);
      assert.deepEqual(limits, []);
      const days = (Date.parse(expires_at) - Date.now()) / DAY;
      assert.ok(days > 6.9 && days <= 7, expires_at);

      const before = tab.calls.length;
      await keys.act(key.name, "Edit");
      await keys.button("Save changes").click();
      await keys.dialog.waitFor({ state: "detached" });
      assert.ok(!tab.calls.slice(before).some((made) => made.startsWith("PATCH")), "nothing was changed");
    },
    (workspace) =>
      workspace.key({
        name: "Changed",
        description: "Before",
        expires_in: 9_000_000,
        scopes: ["orders:read", "orders:write"],
        endpoints: ["GET /orders"],
        networks: ["203.0.113.0/24"],
        limits: [{ calls: 500, per: "hour" }],
        metadata: { env: "live" },
      }),
  ));

test("what was entered is discarded only after a question, and an untouched form without one", () =>
  asAdministrator(async (keys, tab) => {
    const question = keys.dialog.getByText("Discard what you entered?");
    await keys.button("Create API key").click();
    await keys.page.keyboard.press("Escape");
    await keys.dialog.waitFor({ state: "detached" });

    await keys.button("Create API key").click();
    await field(keys, "Name").fill("Half-done");
    await keys.page.keyboard.press("Escape");
    await question.waitFor();
    await tab.check("a question before input is discarded");
    await keys.dialog.getByRole("button", { name: "Keep editing" }).click();
    assert.equal(await field(keys, "Name").inputValue(), "Half-done");
    await keys.dialog.getByRole("button", { name: "Cancel" }).click();
    await question.waitFor();
    await keys.dialog.getByRole("button", { name: "Discard" }).click();
    await keys.dialog.waitFor({ state: "detached" });
    await keys.button("Create API key").click();
    assert.equal(await field(keys, "Name").inputValue(), "");
    await tab.assertClean([]);
  }));
