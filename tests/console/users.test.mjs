// Users: they are removed, their keys are handed over, and they are reinstated.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { expectSoon } from "./browser.mjs";
import { call } from "./stack.mjs";

const asAdministrator = administrator();
const USERS = { view: "?view=users" };

/** Fills in whom to remove, and checks that the confirmation is asked for. */
async function fill(keys, user, button, heir = "") {
  await keys.page.getByLabel("User", { exact: true }).first().fill(user);
  if (heir) {
    await keys.page.getByLabel("Hand their keys over to").fill(heir);
  }
  const confirm = keys.page.getByLabel("Type the user again to confirm");
  await confirm.fill(user.toUpperCase());
  assert.equal(await keys.button(button).isDisabled(), true);
  await confirm.fill(user);
  return keys.button(button);
}

test("a removed user loses their keys at once, and can have keys again only after they are reinstated", () =>
  asAdministrator(
    async (keys, tab, workspace, owned) => {
      const remove = await fill(keys, "bob", "Remove user and delete keys");
      await tab.check("remove a user");
      await remove.click();
      await keys.page.getByRole("status").filter({ hasText: "bob is removed. 2 keys found, which are being deleted." }).waitFor();
      await tab.check("removed");
      for (const { key } of owned) {
        await expectSoon(() => assert.rejects(call("GET", "/me", key), /401/));
      }
      await assert.rejects(workspace.key({ user_id: "bob" }), /user_removed/);

      await keys.page.getByLabel("User", { exact: true }).last().fill("bob");
      await keys.button("Reinstate user").click();
      await keys.page.getByRole("status").filter({ hasText: "bob can have keys again." }).waitFor();
      await tab.check("reinstated");
      await workspace.key({ user_id: "bob" });
      await tab.assertClean([]);
    },
    (workspace) => Promise.all([1, 2].map(() => workspace.key({ user_id: "bob" }))),
    USERS,
  ));

test("keys are handed over, and their secrets work for the chosen time", () =>
  asAdministrator(
    async (keys, tab, workspace, owned) => {
      const remove = await fill(keys, "bob", "Remove user and hand keys over", "svc:orders");
      await keys.page.getByLabel("The present secrets work for").selectOption("30 days");
      await tab.check("hand over");
      const sent = keys.page.waitForRequest((request) => request.method() === "DELETE");
      await remove.click();
      assert.deepEqual([...new URL((await sent).url()).searchParams], [
        ["transfer_to", "svc:orders"],
        ["overlap_seconds", "2592000"],
      ]);
      await keys.page.getByRole("status").filter({ hasText: "1 key found; API keys go to svc:orders" }).waitFor();
      const handedOver = await expectSoon(async () => {
        const key = await call("GET", `/api-keys/${owned.id}`, workspace.admin);
        assert.equal(key.user_id, "svc:orders");
        return key;
      });
      assert.equal((await call("GET", "/me", owned.key)).user_id, "svc:orders");
      const days = (Date.parse(handedOver.previous_expires_at) - Date.now()) / 86_400_000;
      assert.ok(days > 29.9 && days <= 30, handedOver.previous_expires_at);

      await keys.page.getByRole("link", { name: "Keys", exact: true }).click();
      await keys.page.getByRole("link", { name: owned.name, exact: true }).click();
      await keys.page.getByText("The old secret works until").waitFor();
      await tab.assertClean([owned.key]);
    },
    (workspace) => workspace.key({ user_id: "bob" }),
    USERS,
  ));

test("a user without keys is told, because the name may be misspelled", () =>
  asAdministrator(
    async (keys, tab, _workspace, owned) => {
      await (await fill(keys, "BOB@example.com", "Remove user and delete keys")).click();
      const told = keys.page.getByRole("status").filter({ hasText: "BOB@example.com is removed. No keys were found." });
      await told.getByText("case-sensitive").waitFor();
      await tab.check("an unknown user");
      await call("GET", "/me", owned.key);
    },
    (workspace) => workspace.key({ user_id: "bob@example.com" }),
    USERS,
  ));

test("what cannot be done with a user is told", () =>
  asAdministrator(
    async (keys, tab) => {
      await (await fill(keys, "admin", "Remove user and delete keys")).click();
      await keys.page.getByRole("alert").filter({ hasText: "You cannot remove or reinstate yourself" }).waitFor();
      await (await fill(keys, "no control\u0007", "Remove user and delete keys")).click();
      await keys.page.getByRole("alert").filter({ hasText: "correction" }).waitFor();
      await tab.check("refused removal");
      await tab.assertClean([]);
    },
    undefined,
    USERS,
  ));
