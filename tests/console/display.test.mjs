// How the page is displayed: enlarged, with forced colours, and without motion.
import assert from "node:assert/strict";
import { test } from "node:test";
import { administrator } from "./administrator.mjs";
import { expectSoon } from "./browser.mjs";

const asAdministrator = administrator();

/** Checks that no text is cut off, nothing is beside the window, and a dialog with its buttons is in the window. */
async function assertFits(page, state) {
  const faults = await page.evaluate(() => {
    const faults = [];
    const { clientWidth: width, clientHeight: height, scrollWidth } = document.documentElement;
    if (scrollWidth > width) {
      faults.push(`${scrollWidth - width} pixels to scroll sideways`);
    }
    const root = document.querySelector("keygate-keys").shadowRoot;
    for (const element of root.querySelectorAll("*")) {
      // Descriptions are clamped to two lines on purpose, and what is hidden from the eye has no size.
      if (element.matches(".visually-hidden, .visually-hidden *, .clip, .clip *, thead, thead *, option, svg *, .toast")) {
        continue;
      }
      const { overflowX, display } = getComputedStyle(element);
      const isCut = element.scrollWidth > element.clientWidth + 1 && overflowX === "hidden" && display !== "inline";
      const box = element.getBoundingClientRect();
      const isBeside = box.width > 0 && (box.left < -1 || box.right > width + 1);
      if (isCut || isBeside) {
        faults.push(`${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 40)}`);
      }
    }
    const dialog = root.querySelector("dialog");
    for (const part of dialog ? [dialog, ...dialog.querySelectorAll("footer button")] : []) {
      const box = part.getBoundingClientRect();
      if (box.top < 0 || box.bottom > height) {
        faults.push(`${part.localName} from ${box.top} to ${box.bottom} of ${height}`);
      }
    }
    return faults;
  });
  assert.deepEqual(faults, [], state);
}

const prepare = (workspace) =>
  workspace.key({
    name: "A name that is long enough to need more than one line in a small window",
    description: "Reads orders",
    user_id: "a.user.with.a.long.address@department.example.com",
    scopes: ["orders:read", "orders:write"],
    endpoints: ["GET /orders/*"],
    networks: ["2001:db8:1234:5678::/64"],
    metadata: { "customer.id": "8".repeat(80) },
  });

// 200 % of a window of 1280 by 900.
const ENLARGED = { width: 640, height: 450, deviceScaleFactor: 2 };

test("at 200 % nothing is cut off, and nothing scrolls sideways", () =>
  asAdministrator(
    async (keys, tab, _workspace, key) => {
      const { page } = keys;
      await keys.row(key.name).waitFor();
      await assertFits(page, "list");
      await page.getByText("More filters").click();
      await assertFits(page, "filters");
      await keys.begin("New");
      await keys.dialog.getByText("Restrictions and metadata").click();
      await assertFits(page, "create");
      await keys.button("Create key").click();
      await keys.secret();
      await page.keyboard.press("Escape");
      await keys.dialog.getByRole("alert").waitFor();
      await assertFits(page, "reveal");
      await keys.stored();
      for (const action of ["Edit", "Rotate", "Disable", "Delete"]) {
        await keys.act(key.name, action);
        await keys.dialog.getByRole("button", { name: "Cancel" }).waitFor();
        await assertFits(page, action);
        await page.keyboard.press("Escape");
        await keys.dialog.waitFor({ state: "detached" });
      }
      await page.getByRole("link", { name: key.name, exact: true }).click();
      await page.getByRole("heading", { name: key.name }).waitFor();
      await assertFits(page, "one key");
      for (const view of ["Legacy keys", "Activity", "Users"]) {
        await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view }).click();
        await page.getByRole("heading", { name: view, exact: true }).waitFor();
        await assertFits(page, view);
      }
      await tab.assertClean([]);
    },
    prepare,
    ENLARGED,
  ));

test("with forced colours every badge and choice keeps its outline", () =>
  asAdministrator(
    async (keys, tab) => {
      const { page } = keys;
      await page.getByRole("group", { name: "Owner" }).waitFor();
      const outlines = () =>
        page.locator(".badge, .segments input:checked + span").evaluateAll((all) => all.map((one) => getComputedStyle(one).borderStyle));
      const seen = await outlines();
      assert.ok(seen.length >= 2 && seen.every((style) => style === "solid"), seen.join());
      await assertFits(page, "forced colours");
      await tab.assertClean([]);
    },
    prepare,
    { forcedColors: "active" },
  ));

test("nothing moves for those who want no motion", () =>
  asAdministrator(async (keys) => {
    const { page } = keys;
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.route("**/api-keys?**", async (route) => {
      await held;
      await route.continue();
    });
    await page.getByLabel("Status", { exact: true }).selectOption("Active");
    await page.locator(".loading").waitFor();
    const animation = () => page.locator(".loading").evaluate((element) => getComputedStyle(element, "::before").animationName);
    assert.equal(await animation(), "none");
    await page.emulateMedia({ reducedMotion: "no-preference" });
    await expectSoon(async () => assert.equal(await animation(), "load"));
    release();
    await keys.listed();
  }));
