// A browser that notices everything that the page must not do: messages on the console, violations of its policy, and secrets
// that are left anywhere.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import axe from "axe-core";
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The browser of a test file. */
export function launch() {
  return chromium.launch({ executablePath: process.env.KEYGATE_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
}

/** A tab of a browser profile of its own. */
export class Tab {
  /** @param {import("playwright-core").BrowserContext} context @param {import("playwright-core").Page} page */
  constructor(context, page) {
    this.context = context;
    this.page = page;
    /** Everything that could be read later: addresses, headers, messages, details of events. */
    this.traces = [];
    /** What must not happen. */
    this.faults = [];
    /** What the page copied. */
    this.copied = [];
    /** The requests to the management API, such as `GET /api-keys`. */
    this.calls = [];
  }

  /** @param {import("playwright-core").Browser} browser */
  static async open(browser, { width = 1280, height = 900, colorScheme = "light", ...options } = {}) {
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme,
      ignoreHTTPSErrors: true, // the certificate of the test's identity provider
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
      permissions: ["clipboard-write"],
      reducedMotion: "reduce",
      ...options,
    });
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    const tab = new Tab(context, page);
    await tab.#watch();
    return tab;
  }

  async #watch() {
    const { page, traces, faults } = this;
    await page.exposeBinding("__trace", (_source, text) => traces.push(text));
    // The page's policy lets nothing read the clipboard.
    await page.exposeBinding("__copied", (_source, text) => this.copied.push(text));
    await page.exposeBinding("__fault", (_source, text) => faults.push(text));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) =>
        window.__fault(`policy: ${event.violatedDirective} ${event.blockedURI}`),
      );
      for (const name of ["pushState", "replaceState"]) {
        const original = history[name];
        history[name] = function (state, unused, url) {
          window.__trace(`history: ${JSON.stringify(state)} ${url}`);
          return original.call(this, state, unused, url);
        };
      }
      // Only a page of a secure origin has a clipboard; about:blank has none.
      const write = window.Clipboard?.prototype.writeText;
      if (write) {
        Clipboard.prototype.writeText = async function (text) {
          await write.call(this, text);
          window.__copied(text);
        };
      }
      for (const storage of ["localStorage", "sessionStorage"]) {
        const original = Storage.prototype.setItem;
        Storage.prototype.setItem = function (name, value) {
          window.__trace(`${storage}: ${name} ${value}`);
          return original.call(this, name, value);
        };
      }
      for (const name of ["created", "updated", "rotated", "disabled", "enabled", "deleted", "tokens_revoked", "session-ended"]) {
        window.addEventListener(name, (event) => window.__trace(`event: ${name} ${JSON.stringify(event.detail ?? null)}`), true);
      }
    });
    page.on("console", (message) => {
      traces.push(`console: ${message.text()}`);
      // The browser reports every response of 400 or more, those that a test provokes too.
      if (["error", "warning"].includes(message.type()) && !message.text().startsWith("Failed to load resource")) {
        faults.push(`console: ${message.text()}`);
      }
    });
    page.on("pageerror", (error) => {
      traces.push(`error: ${error.stack}`);
      faults.push(`error: ${error.stack}`);
    });
    page.on("framenavigated", (frame) => traces.push(`address: ${frame.url().replace(/#.*/, "")}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      traces.push(`request: ${url.href}`);
      const rest = /\/_aws\/execute-api\/[^/]+\/[^/]+(\/.*)$/.exec(url.pathname)?.[1];
      if (rest && !rest.startsWith("/console") && request.method() !== "OPTIONS") {
        this.calls.push(`${request.method()} ${rest}`);
      }
    });
  }

  /** Checks a state of the page: accessibility, light and dark, and no sideways scrolling in a narrow window. */
  async check(state) {
    const { page } = this;
    if (!(await page.evaluate(() => "axe" in globalThis))) {
      await page.evaluate(axe.source);
    }
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      // Only colours depend on the scheme.
      const found = await page.evaluate(async (runOnly) => {
        const { violations } = await globalThis.axe.run(document, { ...(runOnly ? { runOnly } : {}), resultTypes: ["violations"] });
        return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
      }, colorScheme === "dark" && ["color-contrast"]);
      assert.deepEqual(found, [], `${state}, ${colorScheme}`);
    }
    const size = page.viewportSize();
    await page.setViewportSize({ width: 320, height: size.height });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await page.setViewportSize(size);
    assert.ok(wider <= 0, `${state}: ${wider} pixels wider than a window of 320`);
  }

  /** Checks that no secret is left anywhere but in memory, and that nothing went wrong. */
  async assertClean(secrets) {
    const left = await this.page.evaluate(async () => {
      const texts = [location.href, document.cookie, JSON.stringify(history.state), document.title, window.name];
      for (const storage of [localStorage, sessionStorage]) {
        texts.push(JSON.stringify({ ...storage }));
      }
      texts.push(JSON.stringify(await indexedDB.databases()), JSON.stringify(await caches.keys()));
      // The entry of the navigation has the address that the tab began with, and no page can change that. A code in it is used.
      const loads = performance.getEntries().filter(({ entryType }) => entryType !== "navigation");
      texts.push(...loads.map((entry) => entry.name));
      const seen = (root) => {
        texts.push(root.innerHTML ?? "");
        for (const element of root.querySelectorAll("*")) {
          if (typeof element.value === "string") {
            texts.push(element.value);
          }
          if (element.shadowRoot) {
            seen(element.shadowRoot);
          }
        }
      };
      seen(document.documentElement);
      return texts;
    });
    for (const secret of secrets) {
      assert.ok(secret.length > 20, "a secret to search for");
      const found = [...left, ...this.traces].filter((text) => text.includes(secret));
      assert.deepEqual(found, [], "a secret is left");
    }
    assert.deepEqual(this.faults, []);
  }

  async close() {
    await this.context.close();
  }
}

const DEADLINE = 10_000;

/** Repeats a check until it holds, and fails with its last error at a deadline. */
export async function expectSoon(check) {
  const deadline = Date.now() + DEADLINE;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

/** Whether the test may write what is compared: `UPDATE=1`. */
const UPDATES = process.env.UPDATE === "1";

/** Compares what a screen reader is told of an element with snapshots/NAME.yml. Times are masked. */
export async function assertAria(locator, name) {
  const file = new URL(`snapshots/${name}.yml`, import.meta.url);
  const seen = `${await locator.ariaSnapshot()}\n`
    .replace(/01[0-9A-HJKMNP-TV-Z]{24}/g, "ID")
    .replace(/kg_key_[A-Za-z0-9_]+/g, "SECRET")
    .replace(/http:\/\/127\.0\.0\.1:[^\s"]*\//g, "API/")
    .replace(/20\d\d-\d\d-\d\d \d\d:\d\d UTC/g, "TIME")
    .replace(/\b\d{1,2} [A-Z][a-z]+ 20\d\d,? (at )?\d\d:\d\d( [A-Z+0-9:]+)?/g, "TIME");
  if (UPDATES) {
    await writeFile(file, seen);
  }
  assert.equal(seen, await readFile(file, "utf8"));
}
