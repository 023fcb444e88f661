// The page of one key: its tokens, its calls and its activity.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { assertAria, expectSoon } from "./browser.mjs";
import { call, database, variable } from "./stack.mjs";

const asAdministrator = administrator();
const DAY = 86_400_000;
const ofKey = { view: ({ id }) => `?view=key&id=${id}` };

/** Stores calls of a key, as authorizers count them by the hour. */
function count(id, at, allowed, refused) {
  const hour = new Date(Math.floor(at / 3_600_000) * 3_600_000);
  const N = (number) => ({ N: String(number) });
  const Item = {
    key_id: { S: id },
    entry: { S: `CALLS#${hour.toISOString().slice(0, 13)}` },
    hour: N(hour.getTime() / 1000),
    ttl: N(hour.getTime() / 1000 + 7_776_000),
    allowed: N(allowed),
    refused: N(refused),
  };
  return database("PutItem", { TableName: variable("KEYGATE_USAGE_TABLE"), Item });
}

test("the page of a key has its facts, its permissions and its calls", () =>
  asAdministrator(
    async (keys, tab) => {
      const calls = keys.page.getByRole("region", { name: /^Calls/ });
      await calls.getByText("1,234 allowed", { exact: true }).waitFor();
      await calls.getByText("7 refused", { exact: true }).waitFor();
      await keys.page.getByRole("table", { name: "Activity" }).waitFor();
      await assertAria(keys.page.locator("#view"), "one-key");
      await calls.getByText("As a table").click();
      assert.deepEqual(
        await calls.getByRole("row").evaluateAll((rows) => rows.map((row) => [...row.cells].slice(1).map((cell) => cell.textContent))),
        [
          ["Allowed", "Refused"],
          ["1,200", "0"],
          ["34", "7"],
        ],
      );
      await tab.check("one key with calls");
      await tab.assertClean([]);
    },
    async (workspace) => {
      const key = await workspace.key({ name: "Busy", user_id: "svc:orders", scopes: ["orders:read"], expires_in: 9_000_000 });
      const now = Date.now();
      await Promise.all([count(key.id, now, 34, 7), count(key.id, now - 2 * DAY, 1200, 0), count(key.id, now - 40 * DAY, 5, 5)]);
      return key;
    },
    ofKey,
  ));

test("one token is revoked, and then all", () =>
  asAdministrator(
    async (keys, tab, _workspace, { key, tokens }) => {
      const table = keys.page.getByRole("table", { name: "Tokens" });
      await expectSoon(async () => assert.equal(await table.getByRole("row").count(), 5));
      await tab.check("one key with tokens");
      await keys.page.getByRole("button", { name: /^Revoke Refresh token/ }).first().click();
      await keys.page.getByRole("status").filter({ hasText: "The token is revoked." }).waitFor();
      await expectSoon(async () => assert.equal(await table.getByRole("row").count(), 3, "its access token ended with it"));
      const accepted = await Promise.allSettled(tokens.map(({ access_token }) => call("GET", "/me", access_token)));
      assert.deepEqual(accepted.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);

      await keys.page.getByRole("button", { name: /^Revoke Access token/ }).click();
      await expectSoon(async () => assert.equal(await table.getByRole("row").count(), 2));
      await assert.rejects(call("GET", "/me", tokens[0].access_token), /401/);
      await assert.rejects(call("GET", "/me", tokens[1].access_token), /401/);

      await keys.button("Revoke all tokens").click();
      await tab.check("revoke all tokens");
      await keys.button("Revoke tokens").click();
      await keys.page.getByText("This key has no working tokens.").waitFor();
      await call("GET", "/me", key);
      await tab.assertClean([key, ...tokens.flatMap(({ access_token, refresh_token }) => [access_token, refresh_token])]);
    },
    async (workspace) => {
      const key = await workspace.key({ name: "With tokens", user_id: "svc:orders", scopes: ["orders:read"] });
      return { ...key, tokens: [await workspace.tokens(key), await workspace.tokens(key)] };
    },
    ofKey,
  ));

test("the page of a key that is not there says so", () =>
  asAdministrator(
    async (keys, tab) => {
      await keys.page.getByText("It is not there any more").waitFor();
      await tab.check("no such key");
      await keys.page.getByRole("link", { name: "All keys" }).click();
      await keys.row("first").waitFor();
    },
    undefined,
    { view: "?view=key&id=01ARZ3NDEKTSV4RRFFQ69G5FAV" },
  ));
