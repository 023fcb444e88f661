// Makes the pictures of docs/images from the page as it is. `make screenshots` runs it.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { call, Workspace } from "./stack.mjs";

const FOLDER = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const DAY = 86_400;

/** A workspace as a team of three has it. */
async function team() {
  const workspace = await Workspace.create();
  for (const [name, user_id, description, days, scopes] of [
    ["Order service", "svc:orders", "Reads orders for the dashboard", 365, ["orders:read"]],
    ["Nightly export", "svc:export", "Writes the files for the data team", 90, ["orders:read"]],
    ["Spreadsheet", "ada", "Sales figures", 5, ["orders:read"]],
    ["Checkout", "svc:checkout", "The shop's own backend", null, ["orders:read", "orders:write"]],
    ["Old importer", "bob", "Replaced by the export", 30, ["orders:read"]],
  ]) {
    const expiry = days === null ? { expires_at: null } : { expires_in: days * DAY };
    const key = await workspace.key({ name, user_id, description, scopes, ...expiry });
    if (name === "Old importer") {
      await call("PATCH", `/api-keys/${key.id}`, workspace.admin, { disabled: true });
    } else if (name !== "Nightly export") {
      await call("GET", "/me", key.key);
    }
  }
  return workspace;
}

const [browser, workspace] = await Promise.all([launch(), team()]);
await mkdir(FOLDER, { recursive: true });
for (const colorScheme of ["dark", "light"]) {
  const tab = await Tab.open(browser, { width: 1120, height: 600, colorScheme });
  const keys = new KeysPage(tab);
  await keys.paste(workspace.admin);
  await keys.row("Checkout").waitFor();
  await tab.page.getByRole("link", { name: "Users" }).waitFor();
  await tab.page.mouse.move(0, 0);
  // The list from its title to its third key.
  await tab.page.screenshot({ path: `${FOLDER}keys-${colorScheme}.png`, clip: { x: 0, y: 120, width: 1120, height: 400 } });
  if (colorScheme === "light") {
    await keys.begin("Invoices");
    await keys.button("Create key").click();
    const field = keys.dialog.getByLabel("API key", { exact: true });
    await field.waitFor();
    // A picture is public: the secret in it is none.
    await field.evaluate((input) => (input.value = `${input.value.slice(0, -49)}${"•".repeat(49)}`));
    await keys.dialog.screenshot({ path: `${FOLDER}new-key.png` });
  }
  await tab.close();
}
await browser.close();
