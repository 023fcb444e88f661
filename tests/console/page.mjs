// What a reader does on the page, by the names that they see.
import assert from "node:assert/strict";
import { expectSoon } from "./browser.mjs";
import { ISSUER, PAGE, rememberSecret } from "./stack.mjs";

/** The page in a tab, hosted or embedded. */
export class KeysPage {
  /** @param {import("./browser.mjs").Tab} tab */
  constructor(tab) {
    this.tab = tab;
    this.page = tab.page;
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  get dialog() {
    return this.page.getByRole("dialog");
  }

  get table() {
    return this.page.getByRole("table", { name: "API keys" });
  }

  /** The row of a key. */
  row(name) {
    return this.table.getByRole("row").filter({ has: this.page.getByRole("link", { name, exact: true }) });
  }

  /** Waits until the list is there. */
  async listed() {
    await this.page.getByRole("heading", { name: "API keys", level: 2 }).waitFor();
    await this.page.locator('[aria-busy="false"], .state').first().waitFor();
  }

  /** The names in the list, from its first row to its last. */
  async names() {
    await this.listed();
    return this.table.getByRole("rowheader").getByRole("link").allTextContents();
  }

  /** Signs in with an API key. */
  async paste(key, view = "") {
    await this.page.goto(PAGE + view);
    await this.page.getByText("Use an API key instead").click();
    await this.page.getByLabel("API key", { exact: true }).fill(key);
    await this.button("Continue with the key").click();
  }

  /** Signs in with the provider, where every name signs in. */
  async signIn({ user, groups, workspace }, view = "") {
    await this.page.goto(PAGE + view);
    await this.button("Sign in").click();
    await this.page.waitForURL(`${ISSUER}/**`);
    for (const [name, value] of Object.entries({ user, groups, workspace })) {
      await this.page.locator(`input[name=${name}]`).fill(value);
    }
    await this.button("Sign in").click();
  }

  /** Chooses an action of a key in its menu. */
  async act(name, action) {
    await this.button(`Actions for ${name}`).click();
    await this.page.getByRole("menuitem", { name: action, exact: true }).click();
  }

  /** Opens the dialog for a new key, and fills its name in. */
  async begin(name) {
    await this.button("Create API key").click();
    await this.dialog.getByLabel("Name", { exact: true }).fill(name);
  }

  /** The secret in the dialog that shows it. */
  async secret() {
    const field = this.dialog.getByLabel("API key", { exact: true });
    await field.waitFor();
    const secret = await field.inputValue();
    assert.match(secret, /^kg_key_/);
    rememberSecret(secret);
    return secret;
  }

  /** Closes the dialog that shows a secret. */
  async stored() {
    await this.button("I have stored it").click();
    await this.dialog.waitFor({ state: "detached" });
  }

  /** The sentence of the dialog about what went wrong. */
  async refusal(text) {
    await expectSoon(async () => assert.match(await this.dialog.getByRole("alert").first().textContent(), text));
  }
}
