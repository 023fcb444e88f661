// Keys of an earlier mechanism, until their sunset.

import { html, nothing } from "lit";
import { cursorPager } from "../parts/cursor-pager.js";
import { DialogPart } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import { asProblem, Loader, notice, Part, problemNotice, skeleton } from "../parts/part.js";
import { ago, badge, fullTime, isolated } from "../parts/show.js";

/** @typedef {import("../types.js").LegacyKey} LegacyKey */

class LegacyPage extends Part {
  static properties = {
    app: { attribute: false },
    query: { attribute: false },
    revision: { attribute: false },
    deleting: { state: true },
  };

  constructor() {
    super();
    this.query = new URLSearchParams();
    this.revision = 0;
    /** @type {Loader<import("../types.js").Page<LegacyKey>>} */
    this.keys = new Loader(this);
    /** @type {LegacyKey | null} */
    this.deleting = null;
  }

  /** @param {import("lit").PropertyValues} changed */
  willUpdate(changed) {
    if (changed.has("query") || changed.has("revision")) {
      this.load();
    }
  }

  load() {
    const query = { cursor: this.query.get("cursor") };
    return this.keys.run(async (signal) => (await this.app.api.request("GET", "legacy-keys", { query, signal })).data);
  }

  render() {
    const { value, problem } = this.keys;
    const sunset = this.app.policy?.legacy_sunset ?? value?.items[0]?.sunset;
    return html`<header class="page-head">
        <div>
          <h2 tabindex="-1">Legacy keys</h2>
          <p class="quiet">Keys from before Keygate. Replace each by an API key.</p>
        </div>
      </header>
      ${sunset ? notice("warning", html`Legacy keys stop working ${fullTime(sunset, this.app.now, "")}.`) : nothing}
      ${problemNotice(problem, html`<button type="button" @click=${this.load}>Try again</button>`)}
      ${value === null ? (problem ? nothing : skeleton(4)) : value.items.length === 0 ? this.#none() : this.#table(value.items)}
      ${value ? cursorPager(value, "Pages of legacy keys", (cursor) => this.app.go(new URLSearchParams({ view: "legacy", cursor }))) : nothing}
      ${this.deleting
        ? html`<keygate-legacy-dialog
            .app=${this.app}
            .legacy=${this.deleting}
            @closed=${() => (this.deleting = null)}
          ></keygate-legacy-dialog>`
        : nothing}`;
  }

  #none() {
    return html`<div class="state">${icon("active")}<h3>No legacy keys</h3><p>Nothing here needs to be replaced.</p></div>`;
  }

  /** @param {LegacyKey[]} keys */
  #table(keys) {
    const { now, caller } = this.app;
    const writes = caller?.scopes.some((scope) => scope === "keys:write" || scope === "workspace:admin");
    const admin = caller?.scopes.includes("workspace:admin");
    return html`<table class="events" role="table" aria-label="Legacy keys">
      <thead role="rowgroup">
        <tr role="row">
          ${["Name", "Owner", "Imported", "Last used", "Status", ""].map(
            (text) => html`<th role="columnheader" scope="col">${text || html`<span class="visually-hidden">Actions</span>`}</th>`,
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${keys.map(
          (key) =>
            html`<tr role="row">
              <th role="rowheader" scope="row" class="name">${isolated(key.name)}</th>
              <td role="cell" data-label="Owner">${isolated(key.user_id)}</td>
              <td role="cell" data-label="Imported">${ago(key.imported_at, now, "")}</td>
              <td role="cell" data-label="Last used">${ago(key.last_used_at, now, "Never used")}</td>
              <td role="cell" data-label="Status">
                ${key.status === "sunset" ? badge("bad", "expired", "Ended") : badge("warning", "soon", "Ends soon")}
              </td>
              <td role="cell" class="actions">
                ${writes && (admin || key.user_id === caller?.user_id)
                  ? html`<button type="button" class="link danger" aria-label="Delete ${key.name}" @click=${() => (this.deleting = key)}>Delete</button>`
                  : nothing}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>`;
  }
}

class LegacyDialog extends DialogPart {
  static properties = { legacy: { attribute: false } };

  constructor() {
    super();
    this.legacy = /** @type {LegacyKey} */ (/** @type {unknown} */ (undefined));
  }

  render() {
    const { name, last_used_at: lastUsed } = this.legacy;
    return this.frame(
      html`Delete ${isolated(name)}`,
      html`<form novalidate @submit=${this.#submit}>
        <div class="body">
          ${problemNotice(this.problem)}
          <p>Programs that use this legacy key stop working at once. It cannot be restored.</p>
          ${lastUsed ? notice("warning", html`It was last used ${ago(lastUsed, this.app.now, "")}.`) : notice("info", "It was never used.")}
        </div>
        ${this.buttons("Delete legacy key", { danger: true })}
      </form>`,
    );
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    this.busy = true;
    try {
      await this.app.api.request("DELETE", `legacy-keys/${this.legacy.id}`);
      this.app.changed("deleted", this.legacy);
      this.close();
    } catch (error) {
      this.problem = asProblem(error);
      this.busy = false;
    }
  }
}

customElements.define("keygate-legacy-page", LegacyPage);
customElements.define("keygate-legacy-dialog", LegacyDialog);
