// The overview: the list of keys, sorted, filtered and paged by the server.

import { html, nothing } from "lit";
import { defaultOrder, isFiltered, keysRequest, PAGE_SIZES, readKeysQuery, writeKeysQuery } from "../address.js";
import { isUnused } from "../key-status.js";
import { icon } from "../parts/icons.js";
import { actionsOf } from "../parts/key-actions.js";
import "../parts/menu.js";
import { failure, Loader, Part, problemNotice, skeleton, valueOf } from "../parts/part.js";
import { ago, isolated, keyBadges } from "../parts/show.js";

/** @typedef {import("../types.js").Key} Key */
/** @typedef {import("../types.js").KeyPage} KeyPage */
/** @typedef {import("../address.js").KeysQuery} KeysQuery */

/** The columns, with the API's order for each that has one. */
const COLUMNS = /** @type {const} */ ([
  ["Name", "name"],
  ["Owner", "user"],
  ["Created by", "created_by"],
  ["Created", "created_at"],
  ["Last used", "last_used_at"],
  ["Expires", ""],
  ["Status", ""],
]);

/** The scopes that see the keys of all users. */
const ALL_KEYS = ["keys:read", "workspace:admin"];
/** The orders to choose from where there are no columns. */
const ORDERS = [
  ["created_at desc", "Newest first"],
  ["created_at asc", "Oldest first"],
  ["name asc", "Name, A to Z"],
  ["name desc", "Name, Z to A"],
  ["user asc", "Owner, A to Z"],
  ["user desc", "Owner, Z to A"],
  ["created_by asc", "Created by, A to Z"],
  ["created_by desc", "Created by, Z to A"],
  ["last_used_at desc", "Last used first"],
  ["last_used_at asc", "Longest unused first"],
];

const TYPING_PAUSE = 300;
/** A key has at most so many entries of metadata. */
const MAX_ENTRIES = 20;
/** One request reads a bounded number of keys, so a page of rare keys takes several. */
const MAX_REQUESTS = 8;

class KeysPage extends Part {
  static properties = {
    app: { attribute: false },
    query: { attribute: false },
    revision: { attribute: false },
    count: { state: true },
    expanded: { state: true },
    wrongEntry: { state: true },
  };

  constructor() {
    super();
    this.query = new URLSearchParams();
    this.revision = 0;
    /** Whether all filters are shown. */
    this.expanded = false;
    /** Whether the text in the filter for metadata is no entry. */
    this.wrongEntry = false;
    /** @type {Loader<KeyPage>} */
    this.keys = new Loader(this);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.typing = undefined;
    /** @type {KeyPage["count"]} How many keys match: the first page says so. */
    this.count = undefined;
    /** @type {string[]} The queries of the pages before this one. */
    this.trail = [];
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.typing);
  }

  /** @param {import("lit").PropertyValues} changed */
  willUpdate(changed) {
    if (changed.has("query") || changed.has("revision")) {
      this.load();
    }
  }

  get state() {
    return readKeysQuery(this.query);
  }

  async load() {
    const { limit, ...request } = keysRequest(this.state);
    await this.keys.run(async (signal) => {
      /** @type {KeyPage | null} */
      let page = null;
      for (let requests = 0; requests < MAX_REQUESTS; requests += 1) {
        const rest = limit - (page?.items.length ?? 0);
        const cursor = page ? page.next_cursor : request.cursor;
        const query = { ...request, cursor, limit: rest, count: cursor ? "" : true };
        /** @type {{data: KeyPage}} */
        const { data } = await this.app.api.request("GET", "api-keys", { query, signal });
        /** @type {Key[]} */
        const items = [...(page?.items ?? []), ...data.items];
        page = { ...(page ?? data), items, next_cursor: data.next_cursor };
        if (page.next_cursor === null || page.items.length >= limit) {
          break;
        }
      }
      return /** @type {KeyPage} */ (page);
    });
    if (!this.keys.loading) {
      this.count = this.keys.value?.count ?? this.count;
      this.dispatchEvent(new Event("loaded"));
    }
  }

  render() {
    const { value, problem, loading } = this.keys;
    const filtered = isFiltered(this.state);
    if (value === null && problem !== null) {
      return failure(problem, () => this.load());
    }
    const isEmpty = value !== null && value.items.length === 0 && value.next_cursor === null && this.state.cursor === "";
    if (isEmpty && !filtered) {
      return this.#first();
    }
    return html`${this.#head()} ${this.#toolbar()} ${problem?.status === 401 ? nothing : problemNotice(problem)}
      <div aria-busy=${loading} class=${loading ? "loading" : nothing}>
        ${value === null ? skeleton(8) : isEmpty ? this.#nothingMatches() : this.#table(value)}
      </div>
      ${value === null || isEmpty ? nothing : this.#pager(value)}`;
  }

  #head() {
    const policy = this.app.policy;
    return html`<header class="page-head">
      <div>
        <h2 tabindex="-1">API keys</h2>
        <p class="quiet">
          Programs use these keys to call your APIs.
          ${policy && !policy.may_create_keys ? "With this sign-in you can see keys, and create none." : nothing}
        </p>
      </div>
      ${policy && !policy.may_create_keys
        ? nothing
        : html`<button type="button" class="primary" part="create-button" @click=${() => this.app.open("create", null)}>
            ${icon("plus")} Create API key
          </button>`}
    </header>`;
  }

  #first() {
    const command = `curl "${this.app.api.base}me" -H "Authorization: Bearer <your key>"`;
    return html`${this.#head()}
      <div class="state">
        ${icon("key")}
        <h3>Create your first key</h3>
        <p>A program presents its key with each call. The key says who calls, and what they may do.</p>
        <pre tabindex="0" aria-label="Example of a call"><code>${command}</code></pre>
      </div>`;
  }

  #nothingMatches() {
    return html`<div class="state">
      ${icon("search")}
      <h3>No key matches</h3>
      <p>No key has all that you ask for. Change the filters, or see all keys.</p>
      <button type="button" @click=${this.#reset}>Reset filters</button>
    </div>`;
  }

  #toolbar() {
    const state = this.state;
    const { caller } = this.app;
    const seesAll = caller !== null && caller.credential !== "session" && caller.scopes.some((scope) => ALL_KEYS.includes(scope));
    const status = state.unused_days ? `unused:${state.unused_days}` : state.status;
    const { user_id: owner, created_by: creator, created_after: from, created_before: until, metadata } = state;
    const opens = (owner && owner !== caller?.user_id) || creator || from || until || metadata.length > 0 || this.wrongEntry;
    return html`<div class="toolbar" role="search" aria-label="Filter keys">
      <div class="search">
        ${icon("search")}
        <input
          type="search"
          aria-label="Find by name"
          placeholder="Find by name"
          dir="auto"
          autocomplete="off"
          .value=${state.name}
          @input=${this.#type}
        />
      </div>
      <select aria-label="Status" @change=${(/** @type {Event} */ event) => this.#chooseStatus(valueOf(event))}>
        ${[
          ["", "Any status"],
          ["active", "Active"],
          ["expired", "Expired"],
          ["disabled", "Disabled"],
          ["unused", "Never used"],
          ["unused:30", "Unused for 30 days"],
          ["unused:90", "Unused for 90 days"],
        ].map(([value, text]) => html`<option value=${value} .selected=${status === value}>${text}</option>`)}
      </select>
      ${seesAll
        ? html`<fieldset class="segments">
            <legend class="visually-hidden">Owner</legend>
            ${[
              ["", "All"],
              [caller.user_id, "Mine"],
            ].map(
              ([user, text]) =>
                html`<label>
                  <input
                    type="radio"
                    name="owner"
                    .checked=${state.user_id === user}
                    @change=${() => this.#filter({ user_id: user })}
                  /><span>${text}</span></label
                >`,
            )}
          </fieldset>`
        : nothing}
      <label class="sort-select">
        <span class="visually-hidden">Sort by</span>
        <select @change=${(/** @type {Event} */ event) => this.#chooseOrder(valueOf(event))}>
          ${ORDERS.map(
            ([value, text]) => html`<option value=${value} .selected=${value === `${state.sort} ${state.order}`}>${text}</option>`,
          )}
        </select>
      </label>
      <details
        class="filters"
        ?open=${Boolean(this.expanded || opens)}
        @toggle=${(/** @type {Event} */ event) => (this.expanded = /** @type {HTMLDetailsElement} */ (event.target).open)}
      >
        <summary>More filters</summary>
        <div class="grid">
          ${seesAll ? this.#textFilter("user_id", "Owner", state.user_id) : nothing}
          ${this.#textFilter("created_by", "Created by", state.created_by)}
          ${this.#dayFilter("created_after", "Created from", state.created_after)}
          ${this.#dayFilter("created_before", "Created until", state.created_before)}
          ${metadata.length < MAX_ENTRIES ? this.#entryFilter() : nothing}
        </div>
        ${metadata.length > 0
          ? html`<ul class="tags" aria-label="Metadata that keys must have">
              ${metadata.map(
                ([name, value]) =>
                  html`<li>
                    <button
                      type="button"
                      class="tag"
                      aria-label="Remove the filter ${name}=${value}"
                      @click=${() => this.#removeEntry(name)}
                    >
                      <code>${name}=${value}</code> ${icon("close")}
                    </button>
                  </li>`,
              )}
            </ul>`
          : nothing}
      </details>
      ${isFiltered(state) ? html`<button type="button" class="link" @click=${this.#reset}>Reset filters</button>` : nothing}
    </div>`;
  }

  /** @param {"user_id" | "created_by"} field @param {string} label @param {string} value */
  #textFilter(field, label, value) {
    return html`<label>
      ${label}
      <input
        type="text"
        autocomplete="off"
        spellcheck="false"
        .value=${value}
        @change=${(/** @type {Event} */ event) => this.#filter({ [field]: valueOf(event).trim() })}
      />
    </label>`;
  }

  /** @param {"created_after" | "created_before"} field @param {string} label @param {string} value */
  #dayFilter(field, label, value) {
    return html`<label>
      ${label}
      <input type="date" .value=${value} @change=${(/** @type {Event} */ event) => this.#filter({ [field]: valueOf(event) })} />
    </label>`;
  }

  /** A filter for one entry of the metadata, which joins those that are set. */
  #entryFilter() {
    return html`<div class="field">
      <label for="entry">Metadata</label>
      <input
        id="entry"
        type="text"
        class="mono"
        dir="ltr"
        placeholder="env=live"
        autocomplete="off"
        spellcheck="false"
        aria-invalid=${this.wrongEntry}
        aria-describedby="entry-error"
        @change=${this.#addEntry}
      />
      <p class="error" id="entry-error">${this.wrongEntry ? "Write it as name=value." : nothing}</p>
    </div>`;
  }

  /** The button that did it is gone, so the focus goes to the field. @param {string} name */
  #removeEntry(name) {
    this.#filter({ metadata: this.state.metadata.filter(([other]) => other !== name) });
    /** @type {HTMLElement | null} */ (this.querySelector("#entry"))?.focus();
  }

  /** @param {Event} event */
  #addEntry(event) {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const [, name, value] = /^\s*([^=]*[^=\s])\s*=\s*(.*\S)\s*$/.exec(input.value) ?? [];
    this.wrongEntry = input.value.trim() !== "" && value === undefined;
    if (value !== undefined) {
      input.value = "";
      this.#filter({ metadata: [...this.state.metadata.filter(([other]) => other !== name), [name, value]] });
    }
  }

  /** @param {KeyPage} page */
  #table({ items }) {
    const { sort, order } = this.state;
    return html`<table class="keys" part="table" role="table" aria-label="API keys">
      <thead role="rowgroup">
        <tr role="row">
          ${COLUMNS.map(([text, column]) =>
            column === ""
              ? html`<th role="columnheader" scope="col">${text}</th>`
              : html`<th
                  role="columnheader"
                  scope="col"
                  aria-sort=${sort !== column ? nothing : order === "asc" ? "ascending" : "descending"}
                >
                  <button type="button" class="sort" @click=${() => this.#sort(column)}>
                    ${text} ${sort === column ? icon(order === "asc" ? "up" : "down") : nothing}
                  </button>
                </th>`,
          )}
          <th role="columnheader" scope="col"><span class="visually-hidden">Actions</span></th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${items.map((key) => this.#row(key))}
      </tbody>
    </table>`;
  }

  /** @param {Key} key */
  #row(key) {
    const { now } = this.app;
    const query = new URLSearchParams({ view: "key", id: key.id });
    const unused = key.status === "active" && isUnused(key, now);
    return html`<tr role="row" class="${key.status} ${unused ? "unused" : ""}" part="row">
      <th role="rowheader" scope="row" class="name">
        <a href=${this.app.href(query)} @click=${(/** @type {MouseEvent} */ event) => this.#follow(event, query)}>${isolated(key.name)}</a>
        ${key.description ? html`<span class="quiet clip">${isolated(key.description)}</span>` : nothing}
      </th>
      <td role="cell" class="user" data-label="Owner">${isolated(key.user_id)}</td>
      <td role="cell" class="user" data-label="Created by">${isolated(key.created_by)}</td>
      <td role="cell" data-label="Created">${ago(key.created_at, now, "")}</td>
      <td role="cell" data-label="Last used">${ago(key.last_used_at, now, "Never used")}</td>
      <td role="cell" data-label="Expires">${ago(key.expires_at, now, "Never")}</td>
      <td role="cell" data-label="Status">${keyBadges(key, now)}</td>
      <td role="cell" class="actions">
        <keygate-menu .label=${`Actions for ${key.name}`} .items=${this.#menu(key, query)}></keygate-menu>
      </td>
    </tr>`;
  }

  /** @param {Key} key @param {URLSearchParams} query */
  #menu(key, query) {
    return [{ label: "Details and activity", run: () => this.app.go(query) }, ...actionsOf(this.app, key)];
  }

  /** A link that the browser can also open elsewhere. @param {MouseEvent} event @param {URLSearchParams} query */
  #follow(event, query) {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      this.app.go(query);
    }
  }

  /** @param {KeyPage} page */
  #pager({ items, next_cursor: next, prev_cursor: previous }) {
    const { first, limit } = this.state;
    const last = first + items.length - 1;
    const range = items.length === 0 ? "No keys here" : `${first}–${last}${this.#total(last, next === null)}`;
    return html`<nav class="pager" part="pager" aria-label="Pages of keys">
      <span role="status">${range}</span>
      <label>
        Keys per page
        <select @change=${(/** @type {Event} */ event) => this.#filter({ limit: Number(valueOf(event)) })}>
          ${PAGE_SIZES.map((size) => html`<option .selected=${size === limit}>${size}</option>`)}
        </select>
      </label>
      <span class="row">
        <button type="button" ?disabled=${previous === null} @click=${() => this.#previous(previous)}>${icon("back")} Previous</button>
        <button type="button" ?disabled=${next === null} @click=${() => this.#next(next, last + 1)}>Next ${icon("next")}</button>
      </span>
    </nav>`;
  }

  /** A linked page after the first does not know the total. @param {number} last @param {boolean} isEnd */
  #total(last, isEnd) {
    if (isEnd) {
      return ` of ${last}`;
    }
    return this.count ? ` of ${Math.max(this.count.number, last)}${this.count.more ? "+" : ""}` : "";
  }

  /** @param {string | null} cursor @param {number} first */
  #next(cursor, first) {
    this.trail.push(this.query.toString());
    this.#go({ cursor: cursor ?? "", first });
  }

  /** @param {string | null} cursor */
  #previous(cursor) {
    const before = this.trail.pop();
    const { first, limit } = this.state;
    if (before !== undefined) {
      this.app.go(new URLSearchParams(before));
    } else {
      this.#go({ cursor: cursor ?? "", first: Math.max(1, first - limit) });
    }
  }

  /** @param {Event} event */
  #type(event) {
    const name = valueOf(event);
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.#filter({ name }, true), TYPING_PAUSE);
  }

  /** @param {string} value */
  #chooseStatus(value) {
    const [status, unused_days = ""] = value.split(":");
    this.#filter({ status, unused_days });
  }

  /** The column that is sorted by already changes its direction. @param {string} sort */
  #sort(sort) {
    const state = this.state;
    const order = sort !== state.sort ? defaultOrder(sort) : state.order === "asc" ? "desc" : "asc";
    this.#filter({ sort, order });
  }

  /** @param {string} value */
  #chooseOrder(value) {
    const [sort, order] = value.split(" ");
    this.#filter({ sort, order: /** @type {KeysQuery["order"]} */ (order) });
  }

  #reset() {
    clearTimeout(this.typing);
    this.wrongEntry = false;
    const { sort, order, limit } = this.state;
    this.#filter({ ...readKeysQuery(new URLSearchParams()), sort, order, limit });
  }

  /** Another list begins with its first page. @param {Partial<KeysQuery>} change @param {boolean} [replace] */
  #filter(change, replace = false) {
    this.trail = [];
    this.count = undefined;
    this.#go({ ...change, cursor: "", first: 1 }, replace);
  }

  /** @param {Partial<KeysQuery>} change @param {boolean} [replace] */
  #go(change, replace = false) {
    this.app.go(writeKeysQuery({ ...this.state, ...change }), replace);
  }
}

customElements.define("keygate-keys-page", KeysPage);
