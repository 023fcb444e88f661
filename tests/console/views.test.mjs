// The views of the page: which there are, their addresses, and the audit trail.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { expectSoon, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { call, unique } from "./stack.mjs";

const asAdministrator = administrator();

test("administrators see the audit trail and users, others do not", () =>
  asAdministrator(
    async (keys, tab, workspace, key) => {
      const views = keys.page.getByRole("navigation", { name: "Views" });
      await views.getByRole("link", { name: "Activity" }).click();
      await keys.page.getByRole("table", { name: "Activity" }).getByText("Key created").first().waitFor();
      await tab.check("activity");
      await views.getByRole("link", { name: "Users" }).click();
      await keys.page.getByRole("heading", { name: "Users" }).waitFor();
      await tab.check("users");
      await views.getByRole("link", { name: "Legacy keys" }).click();
      await keys.page.getByRole("heading", { level: 2 }).waitFor();
      await tab.check("legacy keys");
      await tab.assertClean([workspace.admin]);

      const other = await Tab.open(tab.context.browser());
      const theirs = new KeysPage(other);
      await theirs.paste(key.key);
      await theirs.row(key.name).waitFor();
      await expectSoon(() => assert.ok(other.calls.includes("GET /policy")));
      assert.equal(await other.page.getByRole("link", { name: "Users" }).count(), 0);
      assert.deepEqual(await theirs.names(), [key.name], "only the own key");
      await other.close();
    },
    (workspace) => workspace.key({ name: unique("own"), user_id: "ada", scopes: ["keys:write"] }),
  ));

test("each view opens by its address after the sign-in", () =>
  asAdministrator(
    async (keys, tab, workspace, key) => {
      for (const [view, heading] of [
        ["?view=legacy", "Legacy keys"],
        ["?view=activity&outcome=done", "Activity"],
        ["?view=users", "Users"],
        [`?view=key&id=${key.id}`, "Linked"],
        ["?name=linked&limit=10", "API keys"],
      ]) {
        await keys.paste(workspace.admin, view);
        await keys.page.getByRole("heading", { level: 2, name: heading, exact: true }).waitFor();
        assert.equal(new URL(keys.page.url()).search, view);
      }
      await keys.row("Linked").waitFor();
      assert.deepEqual(await keys.names(), ["Linked"]);

      await keys.signIn({ user: unique("person"), groups: "admins", workspace: workspace.id }, `?view=key&id=${key.id}`);
      await keys.page.getByRole("heading", { level: 2, name: "Linked" }).waitFor();
      await tab.assertClean([workspace.admin]);
    },
    (workspace) => workspace.key({ name: "Linked" }),
  ));

test("the audit trail is filtered by the server, and its filters are in the address", () =>
  asAdministrator(
    async (keys, tab, _workspace, key) => {
      const { page } = keys;
      const events = page.getByRole("table", { name: "Activity" });
      const seen = async () => (await events.getByRole("row").allTextContents()).slice(1).map((text) => text.replace(/\s+/g, " "));
      await events.waitFor();
      await page.getByLabel("Key id", { exact: true }).fill(key.id);
      await page.getByLabel("Key id", { exact: true }).press("Enter");
      await expectSoon(async () => assert.equal((await seen()).length, 2));
      await page.getByRole("combobox", { name: "Event" }).selectOption("Key changed");
      await expectSoon(async () => {
        const [only, ...others] = await seen();
        assert.match(only, /Key changed disabled/);
        assert.deepEqual(others, []);
      });
      assert.equal(new URL(page.url()).search, `?view=activity&key_id=${key.id}&action=key.updated`);
      await tab.check("filtered activity");
      await page.goBack();
      await expectSoon(async () => assert.equal((await seen()).length, 2));
      await page.getByRole("combobox", { name: "Outcome" }).selectOption("Refused calls");
      await page.getByRole("heading", { name: "No event matches" }).waitFor();
      await tab.check("no event matches");
      await keys.button("Reset filters").first().click();
      await expectSoon(async () => assert.ok((await seen()).length > 2));
      assert.equal(new URL(page.url()).search, "?view=activity");

      await page.getByLabel("User", { exact: true }).fill("nobody@example.com");
      await page.getByLabel("User", { exact: true }).press("Enter");
      await page.getByRole("heading", { name: "No event matches" }).waitFor();
      await page.getByLabel("User", { exact: true }).fill("");
      await page.getByLabel("User", { exact: true }).press("Enter");
      await expectSoon(async () => assert.ok((await seen()).length > 2));
      await page.getByLabel("Until", { exact: true }).fill("2020-01-01");
      await page.getByRole("heading", { name: "No event matches" }).waitFor();
      await page.getByLabel("Until", { exact: true }).fill("");
      await page.getByLabel("From", { exact: true }).fill("2020-01-01");
      await expectSoon(async () => assert.ok((await seen()).length > 2));
      await page.getByLabel("Key id", { exact: true }).fill("no key");
      await page.getByLabel("Key id", { exact: true }).press("Enter");
      await page.getByRole("alert").filter({ hasText: "key_id" }).waitFor();
      await tab.check("a filter that the API refuses");
      await tab.assertClean([]);
    },
    async (workspace) => {
      const key = await workspace.key({ name: "Followed" });
      await call("PATCH", `/api-keys/${key.id}`, workspace.admin, { disabled: true });
      return key;
    },
    { view: "?view=activity" },
  ));
