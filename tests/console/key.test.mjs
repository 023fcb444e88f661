// What is done with one key: it is created, shown once, rotated, disabled and deleted.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { assertAria, expectSoon } from "./browser.mjs";
import { call } from "./stack.mjs";

const asAdministrator = administrator();

test("a new key is shown once, and the page asks before it goes", () =>
  asAdministrator(async (keys, tab, workspace) => {
    const { page } = keys;
    await keys.begin("Order service");
    await keys.dialog.getByLabel("Description", { exact: true }).fill("Reads orders");
    await tab.check("create");
    await assertAria(keys.dialog, "create");
    await keys.button("Create key").click();
    const secret = await keys.secret();
    assert.equal((await call("GET", "/me", secret)).key_name, "Order service");

    const field = keys.dialog.getByLabel("API key", { exact: true });
    assert.equal(await field.evaluate((element) => element.getRootNode().activeElement === element), true, "it has the focus");
    await tab.check("reveal");
    await assertAria(keys.dialog, "reveal");
    await keys.button("Copy key").click();
    await keys.dialog.getByRole("status").filter({ hasText: "The key is copied." }).waitFor();
    await expectSoon(() => assert.deepEqual(tab.copied, [secret]));
    await keys.button("Copy curl command").click();
    await expectSoon(() => assert.match(tab.copied[1] ?? "", /^curl .*\/me/));
    const download = page.waitForEvent("download");
    await keys.button("Download .env").click();
    assert.equal(await readFile(await (await download).path(), "utf8"), `ORDER_SERVICE_API_KEY=${secret}\n`);

    for (let times = 0; times < 3; times += 1) {
      await page.keyboard.press("Escape");
      await keys.dialog.getByRole("alert").filter({ hasText: "Have you stored the key?" }).waitFor();
      assert.equal(await field.inputValue(), secret);
    }
    await page.mouse.click(5, 5);
    assert.equal(await field.inputValue(), secret, "a click beside the dialog does not close it");
    await keys.button("Keep showing it").click();
    const asked = page.waitForEvent("dialog");
    const reload = page.evaluate(() => location.reload());
    const question = await asked;
    assert.equal(question.type(), "beforeunload");
    await question.dismiss();
    await reload.catch(() => undefined);
    assert.equal(await field.inputValue(), secret);

    await keys.stored();
    await keys.row("Order service").waitFor();
    await tab.assertClean([secret, workspace.admin]);
  }));

test("the browser's way back does not lose a key that is shown", () =>
  asAdministrator(async (keys) => {
    await keys.page.getByRole("link", { name: "first", exact: true }).click();
    await keys.page.getByRole("link", { name: "All keys" }).click();
    await keys.begin("Not lost");
    await keys.button("Create key").click();
    const secret = await keys.secret();
    await keys.page.goBack();
    assert.equal(await keys.dialog.getByLabel("API key", { exact: true }).inputValue(), secret);
    await keys.stored();
  }));

test("a rotated key has a new secret, and the old one works for the chosen time", () =>
  asAdministrator(
    async (keys, tab, workspace, key) => {
      await keys.act(key.name, "Rotate");
      await tab.check("rotate");
      await assertAria(keys.dialog, "rotate");
      await keys.dialog.getByRole("radio", { name: "No longer" }).check();
      await keys.button("Rotate key").click();
      const secret = await keys.secret();
      assert.notEqual(secret, key.key);
      await keys.stored();
      await assert.rejects(call("GET", "/me", key.key), /401/);
      assert.equal((await call("GET", "/me", secret)).key_id, key.id);
      await tab.assertClean([secret, key.key, workspace.admin]);
    },
    (workspace) => workspace.key({ name: "Rotated", user_id: "svc:orders" }),
  ));

test("a key that rotates itself is warned, and signs on with its new secret", () =>
  asAdministrator(async (keys, tab, workspace) => {
    await keys.act("first", "Rotate");
    await keys.dialog.getByRole("radio", { name: "No longer" }).check();
    assert.equal(await keys.button("Rotate key").isDisabled(), true);
    await tab.check("rotate oneself");
    await keys.dialog.getByRole("checkbox", { name: /^I understand/ }).check();
    const sent = keys.page.waitForRequest((request) => request.url().endsWith("/rotate"));
    await keys.button("Rotate key").click();
    assert.equal((await sent).headers()["idempotency-key"], undefined);
    const secret = await keys.secret();
    await keys.stored();
    await keys.row("first").waitFor();
    await tab.assertClean([secret, workspace.admin]);
  }));

test("a key is disabled and enabled", () =>
  asAdministrator(
    async (keys, tab, _workspace, key) => {
      await keys.act(key.name, "Disable");
      await tab.check("disable");
      await keys.button("Disable key").click();
      await keys.row(key.name).getByText("Disabled").waitFor();
      await assert.rejects(call("GET", "/me", key.key), /401/);
      await keys.act(key.name, "Enable");
      await tab.check("enable");
      await keys.button("Enable key").click();
      await keys.row(key.name).getByText("Active").waitFor();
      await call("GET", "/me", key.key);
      await tab.assertClean([]);
    },
    (workspace) => workspace.key({ name: "Switched", expires_in: 9_000_000 }),
  ));

test("a key is deleted by its name alone", () =>
  asAdministrator(
    async (keys, tab, _workspace, key) => {
      await call("GET", "/me", key.key);
      await keys.act(key.name, "Delete");
      const name = keys.dialog.getByLabel(/^To delete it, type its name/);
      await name.fill("Delete");
      assert.equal(await keys.button("Delete key").isDisabled(), true);
      await tab.check("delete");
      await assertAria(keys.dialog, "delete");
      await name.fill(key.name);
      await keys.button("Delete key").click();
      await keys.row(key.name).waitFor({ state: "detached" });
      await assert.rejects(call("GET", "/me", key.key), /401/);
      await tab.assertClean([]);
    },
    (workspace) => workspace.key({ name: "Deleted" }),
  ));
