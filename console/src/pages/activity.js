// The audit trail, with filters.

import { html, nothing } from "lit";
import { ACTION_NAMES, actionName } from "../messages.js";
import { activityList } from "../parts/activity-list.js";
import { cursorPager } from "../parts/cursor-pager.js";
import { icon } from "../parts/icons.js";
import { Loader, Part, problemNotice, skeleton, valueOf } from "../parts/part.js";

const FILTERS = ["actor", "key_id", "action", "outcome", "from", "to"];

class ActivityPage extends Part {
  static properties = { app: { attribute: false }, query: { attribute: false } };

  constructor() {
    super();
    this.query = new URLSearchParams();
    /** @type {Loader<import("../types.js").Page<import("../types.js").AuditEvent>>} */
    this.events = new Loader(this);
  }

  /** @param {import("lit").PropertyValues} changed */
  willUpdate(changed) {
    if (changed.has("query")) {
      this.load();
    }
  }

  load() {
    const value = (/** @type {string} */ name) => this.query.get(name) ?? "";
    const day = (/** @type {string} */ text, plus = 0) => {
      const [year, month, date] = text.split("-").map(Number);
      return /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(year, month - 1, date + plus).toISOString() : "";
    };
    const query = {
      actor: value("actor"),
      key_id: value("key_id"),
      action: value("action"),
      outcome: value("outcome"),
      from: day(value("from")),
      to: day(value("to"), 1),
      cursor: value("cursor"),
    };
    return this.events.run(async (signal) => (await this.app.api.request("GET", "activity", { query, signal })).data);
  }

  render() {
    const { value, problem, loading } = this.events;
    const filtered = FILTERS.some((name) => this.query.get(name));
    return html`<header class="page-head">
        <div>
          <h2 tabindex="-1">Activity</h2>
          <p class="quiet">Changes of keys, users, tokens and sessions. Calls are listed for one user or one key.</p>
        </div>
      </header>
      ${this.#filters(filtered)}
      ${problemNotice(problem, html`<button type="button" @click=${this.load}>Try again</button>`)}
      <div aria-busy=${loading} class=${loading ? "loading" : nothing}>
        ${value === null
          ? problem
            ? nothing
            : skeleton(8)
          : value.items.length === 0
            ? html`<div class="state">
                ${icon("search")}
                <h3>${filtered ? "No event matches" : "Nothing is recorded yet"}</h3>
                ${value.next_cursor ? html`<p>There may be older ones.</p>` : nothing}
                ${filtered ? html`<button type="button" @click=${this.#reset}>Reset filters</button>` : nothing}
              </div>`
            : activityList(value.items, this.app)}
      </div>
      ${value ? cursorPager(value, "Pages of activity", (cursor) => this.#go({ cursor })) : nothing}`;
  }

  /** @param {boolean} filtered */
  #filters(filtered) {
    const text = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ type) =>
      html`<label>
        ${label}
        <input
          type=${type}
          autocomplete="off"
          spellcheck="false"
          .value=${this.query.get(name) ?? ""}
          @change=${(/** @type {Event} */ event) => this.#go({ [name]: valueOf(event).trim(), cursor: "" })}
        />
      </label>`;
    const choice = (/** @type {string} */ name, /** @type {string} */ label, /** @type {[string, string][]} */ options) =>
      html`<label>
        ${label}
        <select @change=${(/** @type {Event} */ event) => this.#go({ [name]: valueOf(event), cursor: "" })}>
          ${options.map(([value, text]) => html`<option value=${value} .selected=${(this.query.get(name) ?? "") === value}>${text}</option>`)}
        </select>
      </label>`;
    return html`<div class="toolbar" role="search" aria-label="Filter activity">
      <div class="grid">
        ${text("actor", "User", "text")} ${text("key_id", "Key id", "text")}
        ${choice("action", "Event", [["", "Any event"], ...ACTION_NAMES.map((name) => /** @type {[string, string]} */ ([name, actionName(name)]))])}
        ${choice("outcome", "Outcome", [
          ["", "Any outcome"],
          ["done", "Changes"],
          ["allowed", "Allowed calls"],
          ["refused", "Refused calls"],
        ])}
        ${text("from", "From", "date")} ${text("to", "Until", "date")}
      </div>
      ${filtered ? html`<button type="button" class="link" @click=${this.#reset}>Reset filters</button>` : nothing}
    </div>`;
  }

  #reset() {
    this.app.go(new URLSearchParams({ view: "activity" }));
  }

  /** @param {Record<string, string>} change */
  #go(change) {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(change)) {
      value ? query.set(name, value) : query.delete(name);
    }
    this.app.go(query);
  }
}

customElements.define("keygate-activity-page", ActivityPage);
