// The browser of a test file, and its tests' sign-in as administrators.
import { after, before } from "node:test";
import { launch, Tab } from "./browser.mjs";
import { KeysPage } from "./page.mjs";
import { Workspace } from "./stack.mjs";

/**
 * Launches a browser for a test file. What it returns runs a test in a workspace of its own, signed in as its administrator, after
 * `prepare` has made what the test needs in it. `view` is the query of the page's address.
 */
export function administrator() {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  return async function asAdministrator(run, prepare = async () => undefined, { view = "", ...options } = {}) {
    const workspace = await Workspace.create();
    const prepared = await prepare(workspace);
    const tab = await Tab.open(browser, options);
    const keys = new KeysPage(tab);
    try {
      await keys.paste(workspace.admin, typeof view === "function" ? view(prepared) : view);
      await (view ? keys.page.locator("keygate-keys h2").first().waitFor() : keys.listed());
      await run(keys, tab, workspace, prepared);
    } finally {
      await tab.close();
    }
  };
}
