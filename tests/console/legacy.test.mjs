// Keys from before Keygate.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { expectSoon } from "./browser.mjs";
import { call } from "./stack.mjs";

const asAdministrator = administrator();

test("a legacy key is deleted alone, and told when it was last used", () =>
  asAdministrator(
    async (keys, tab, _workspace, [used, kept]) => {
      const table = keys.page.getByRole("table", { name: "Legacy keys" });
      await table.getByRole("row").filter({ hasText: "Old importer" }).getByText("Ends soon").waitFor();
      await tab.check("legacy keys");
      await keys.button("Delete Old importer").click();
      await keys.dialog.getByText("It was last used").waitFor();
      await tab.check("delete a legacy key");
      await keys.button("Delete legacy key").click();
      await keys.dialog.waitFor({ state: "detached" });
      await table.getByText("Old importer").waitFor({ state: "detached" });
      await expectSoon(() => assert.rejects(call("GET", "/me", used), /401/));
      assert.equal((await call("GET", "/me", kept)).user_id, "carol");
      await keys.button("Delete Old report").click();
      await keys.dialog.getByText("Old report").first().waitFor();
      await keys.page.keyboard.press("Escape");
      await keys.dialog.waitFor({ state: "detached" });
      await tab.assertClean([used, kept]);
    },
    async (workspace) => {
      const imported = [await workspace.legacyKey("bob", "Old importer"), await workspace.legacyKey("carol", "Old report")];
      await call("GET", "/me", imported[0]);
      return imported;
    },
    { view: "?view=legacy" },
  ));
