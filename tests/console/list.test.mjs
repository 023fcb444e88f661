// The list of keys: sorted, filtered, paged, read by screen readers and used by keyboard.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { assertAria, expectSoon } from "./browser.mjs";
import { API, call, database, manyKeys, variable } from "./stack.mjs";

const asAdministrator = administrator();

test("the list is sorted, filtered and paged by the server, and its state is in the address", () =>
  asAdministrator(
    async (keys, tab) => {
      const { page } = keys;
      const status = page.getByRole("navigation", { name: "Pages of keys" }).getByRole("status");
      await expectSoon(async () => assert.equal(await status.textContent(), "1–25 of 28"));
      await page.getByRole("columnheader", { name: "Name" }).getByRole("button").click();
      await expectSoon(async () => assert.equal((await keys.names())[0], "first"));
      assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "ascending");
      await page.getByRole("columnheader", { name: "Name" }).getByRole("button").click();
      await expectSoon(async () => assert.equal((await keys.names())[0], "key 26"));
      assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "descending");
      await keys.button("Next").click();
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["key 01", "key 00", "first"]));
      await expectSoon(async () => assert.equal(await status.textContent(), "26–28 of 28"));
      await keys.button("Previous").click();
      await expectSoon(async () => assert.equal((await keys.names())[0], "key 26"));

      await page.getByLabel("Keys per page").selectOption("10");
      await expectSoon(async () => assert.equal((await keys.names()).length, 10));
      const before = tab.calls.length;
      await page.getByLabel("Find by name").fill("KEY 07");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["key 07"]));
      assert.ok(tab.calls.length - before <= 2, "typing asks once");
      assert.match(page.url(), /limit=10/);
      await page.getByLabel("Find by name").fill("no such key");
      await page.getByRole("heading", { name: "No key matches" }).waitFor();
      await tab.check("no key matches");
      await keys.button("Reset filters").first().click();
      await expectSoon(async () => assert.equal((await keys.names()).length, 10));

      await page.getByLabel("Status", { exact: true }).selectOption("Disabled");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["key 00"]));
      await tab.check("filtered");
      await tab.assertClean([]);
    },
    async (workspace) => {
      const numbers = [...Array(27).keys()].map((number) => String(number).padStart(2, "0"));
      for (const number of numbers) {
        const key = await workspace.key({ name: `key ${number}`, expires_in: 900 });
        if (number === "00") {
          await call("PATCH", `/api-keys/${key.id}`, workspace.admin, { disabled: true });
        }
      }
    },
  ));

test("a screen reader is told the list's columns, its order and each key", () =>
  asAdministrator(
    async (keys) => {
      await keys.page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Users" }).waitFor();
      await keys.page.getByRole("group", { name: "Owner" }).waitFor();
      await assertAria(keys.page.locator("body"), "list");
    },
    (workspace) =>
      workspace.key({ name: "Order service", description: "Reads orders", user_id: "svc:orders", expires_in: 9_000_000 }),
  ));

test("keys are filtered by several entries of their metadata", () =>
  asAdministrator(
    async (keys, tab) => {
      const { page } = keys;
      await page.getByText("More filters").click();
      const entry = page.getByLabel("Metadata", { exact: true });
      await entry.fill("live");
      await entry.press("Enter");
      await page.getByText("Write it as name=value.").waitFor();
      await tab.check("an entry that cannot be read");
      await entry.fill(" env = live ");
      await entry.press("Enter");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Live of two", "Live of one"]));
      await entry.fill("customer.id=2");
      await entry.press("Enter");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Live of two"]));
      assert.equal(new URL(page.url()).search, "?metadata.env=live&metadata.customer.id=2");
      await tab.check("filtered by metadata");
      await page.goBack();
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Live of two", "Live of one"]));
      await page.goForward();
      await keys.button("Remove the filter env=live").click();
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Test of two", "Live of two"]));
      assert.equal(await entry.evaluate((input) => input.getRootNode().activeElement === input), true, "the focus is not lost");
      await entry.fill("two words=2");
      await entry.press("Enter");
      await page.getByRole("alert").filter({ hasText: "metadata.two words" }).waitFor();
      await tab.check("an entry that the API refuses");
      await keys.button("Reset filters").click();
      await expectSoon(async () => assert.equal((await keys.names()).length, 4));
      assert.equal(new URL(page.url()).search, "");
      await tab.assertClean([]);
    },
    async (workspace) => {
      await workspace.key({ name: "Live of one", metadata: { env: "live", "customer.id": "1" } });
      await workspace.key({ name: "Live of two", metadata: { env: "live", "customer.id": "2" } });
      await workspace.key({ name: "Test of two", metadata: { env: "test", "customer.id": "2" } });
    },
  ));

test("a link shows the keys with the metadata in it, up to as many entries as a key can have", () => {
  const entries = Object.fromEntries([...Array(20).keys()].map((number) => [`entry-${number}`, `${number}`]));
  const view = `?${new URLSearchParams(Object.entries(entries).map(([name, value]) => [`metadata.${name}`, value]))}`;
  return asAdministrator(
    async (keys) => {
      await keys.row("Labelled").waitFor();
      assert.deepEqual(await keys.names(), ["Labelled"]);
      assert.equal(await keys.page.getByRole("list", { name: "Metadata that keys must have" }).getByRole("listitem").count(), 20);
      assert.equal(await keys.page.getByLabel("Metadata", { exact: true }).count(), 0, "no key has another one");
    },
    (workspace) => workspace.key({ name: "Labelled", metadata: entries }),
    { view },
  );
});

test("unused keys are found, and what is chosen is shown after Back", () =>
  asAdministrator(
    async (keys, tab) => {
      const { page } = keys;
      const status = page.getByLabel("Status", { exact: true });
      const chosen = () => status.evaluate((select) => select.selectedOptions[0].textContent);
      await status.selectOption("Never used");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Unused for long", "Never used"]));
      await status.selectOption("Unused for 30 days");
      await expectSoon(async () => assert.deepEqual(await keys.names(), ["Unused for long"]));
      assert.equal(new URL(page.url()).search, "?status=unused&unused_days=30");
      await status.selectOption("Unused for 90 days");
      await keys.row("Unused for long").getByText("Unused for 90 days").waitFor();
      await tab.check("unused keys");
      await page.goBack();
      await expectSoon(async () => assert.equal(await chosen(), "Unused for 30 days"));
      await page.goBack();
      await expectSoon(async () => assert.equal(await chosen(), "Never used"));
      await keys.button("Reset filters").click();
      await expectSoon(async () => assert.equal(await chosen(), "Any status"));
      await tab.assertClean([]);
    },
    async (workspace) => {
      await workspace.key({ name: "Never used" });
      const used = await workspace.key({ name: "Used" });
      await call("GET", "/me", used.key);
      const old = await workspace.key({ name: "Unused for long" });
      await database("UpdateItem", {
        TableName: variable("KEYGATE_KEYS_TABLE"),
        Key: { key_id: { S: old.id } },
        UpdateExpression: "SET created_at = :seconds",
        ExpressionAttributeValues: { ":seconds": { N: String(Math.floor(Date.now() / 1000) - 100 * 86_400) } },
      });
    },
  ));

test("the first page of 2,000 keys takes what one of ten takes, and the next pages follow", () => {
  const sizes = [];
  const first = async (keys, tab) => {
    const answer = keys.page.waitForResponse((response) => response.url().startsWith(`${API}/api-keys?`));
    await keys.page.getByLabel("Keys per page").selectOption("10");
    sizes.push((await (await answer).body()).length);
    await expectSoon(async () => assert.equal((await keys.names()).length, 10));
    return tab.calls.filter((made) => made === "GET /api-keys").length;
  };
  const prepare = (number) => (workspace) => manyKeys(workspace, number);
  return asAdministrator(
    async (keys, tab, _workspace, many) => {
      try {
        assert.equal(await first(keys, tab), 2, "one request for each list");
        const status = keys.page.getByRole("navigation", { name: "Pages of keys" }).getByRole("status");
        assert.equal(await status.textContent(), "1–10 of 100+");
        const seen = new Set(await keys.names());
        for (const [page, range] of [[2, "11–20 of 100+"], [3, "21–30 of 100+"]]) {
          await keys.button("Next").click();
          await expectSoon(async () => assert.equal(await status.textContent(), range));
          await keys.listed();
          for (const name of await keys.names()) {
            seen.add(name);
          }
          assert.equal(seen.size, 10 * page, "no key is on two pages");
        }
        await tab.check("many keys");
        await asAdministrator(
          async (others, other, _few, few) => {
            try {
              assert.equal(await first(others, other), 2);
            } finally {
              await few.remove();
            }
          },
          prepare(10),
        );
        const [ofMany, ofFew] = sizes;
        assert.ok(ofMany < 1.1 * ofFew, `${ofMany} bytes, of ten keys ${ofFew}`);
      } finally {
        await many.remove();
      }
    },
    prepare(2_000),
  );
});

test("while the list, it stays readable", () =>
  asAdministrator(async (keys, tab) => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await keys.page.route(`${API}/api-keys?**`, async (route) => {
      await held;
      await route.continue();
    });
    await keys.page.getByLabel("Status", { exact: true }).selectOption("Active");
    await keys.page.locator('[aria-busy="true"]').waitFor();
    assert.deepEqual(await keys.table.getByRole("rowheader").getByRole("link").allTextContents(), ["first"]);
    await tab.check("reading again");
    release();
    await keys.listed();
    await tab.assertClean([]);
  }));

test("hostile names are texts, and do no harm to the page around them", () =>
  asAdministrator(
    async (keys, tab, _workspace, names) => {
      for (const name of names) {
        await keys.page.getByRole("link", { name, exact: true }).waitFor();
      }
      await tab.check("hostile names");
      const hostile = names[0];
      await keys.act(hostile, "Delete");
      await keys.dialog.getByText(hostile).first().waitFor();
      await tab.check("delete a hostile name");
      await keys.page.keyboard.press("Escape");
      await keys.page.getByRole("link", { name: hostile, exact: true }).click();
      await keys.page.getByRole("heading", { name: hostile }).waitFor();
      assert.equal(await keys.page.evaluate(() => globalThis.attacked), undefined);
      await tab.assertClean([]);
    },
    async (workspace) => {
      const names = [
        "<img src=x onerror=globalThis.attacked=1>",
        "</script><script>globalThis.attacked=1</script>",
        "${globalThis.attacked=1} {{constructor.constructor('globalThis.attacked=1')()}}",
        "مفتاح".repeat(20),
        "W".repeat(100),
      ];
      for (const name of names) {
        await workspace.key({ name, description: name, user_id: "javascript:attacked=1" });
      }
      return names;
    },
  ));

test("everything is done by keyboard", () =>
  asAdministrator(
    async (keys, tab, _workspace, key) => {
      const { page } = keys;
      const menu = keys.button(`Actions for ${key.name}`);
      await menu.focus();
      await page.keyboard.press("Enter");
      await tab.check("menu");
      const focused = () => page.evaluate(() => document.querySelector("keygate-keys").shadowRoot.activeElement.textContent.trim());
      await expectSoon(async () => assert.equal(await focused(), "Details and activity"));
      await page.keyboard.press("ArrowUp");
      await expectSoon(async () => assert.equal(await focused(), "Delete"));
      await page.keyboard.press("Escape");
      await expectSoon(async () => assert.equal(await menu.getAttribute("aria-expanded"), "false"));
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("End");
      await page.keyboard.press("Enter");
      await keys.dialog.waitFor();
      await page.keyboard.press("Escape");
      await keys.dialog.waitFor({ state: "detached" });
      assert.equal(await menu.evaluate((button) => button.getRootNode().activeElement === button), true, "the focus is back");

      await keys.button("Create API key").focus();
      await page.keyboard.press("Enter");
      await keys.dialog.getByLabel("Name", { exact: true }).waitFor();
      await page.keyboard.type("Typed at once");
      await page.keyboard.press("Enter");
      await keys.secret();
      for (const name of ["Copy key", "Download .env", "Copy curl command", "I have stored it"]) {
        await page.keyboard.press("Tab");
        assert.equal(await focused(), name);
      }
      await page.keyboard.press("Enter");
      await keys.row("Typed at once").waitFor();
      await keys.row("Typed at once").getByText("just now").waitFor();
    },
    (workspace) => workspace.key({ name: "By keyboard" }),
  ));
