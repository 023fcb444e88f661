// Chooses scopes among those that the caller may grant.

import { html, nothing } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Part, valueOf } from "./part.js";

/** So many scopes are shown without a search. */
const FEW = 8;

class ScopePicker extends Part {
  static properties = {
    policy: { attribute: false },
    selected: { attribute: false },
    error: { attribute: false },
    search: { state: true },
  };

  constructor() {
    super();
    this.policy = /** @type {import("../types.js").Policy | null} */ (null);
    /** @type {string[]} */
    this.selected = [];
    this.error = "";
    this.search = "";
  }

  render() {
    const offered = this.policy?.scopes ?? [];
    const known = new Set(offered.map(({ name }) => name));
    const own = this.selected.filter((name) => !known.has(name)).map((name) => ({ name, description: null }));
    const scopes = [...offered, ...own];
    const wanted = this.search.trim().toLowerCase();
    const shown = scopes.filter(({ name, description }) => `${name} ${description ?? ""}`.toLowerCase().includes(wanted));
    const reads = offered.filter(({ name }) => name.endsWith(":read")).map(({ name }) => name);
    return html`<fieldset class="field scopes" aria-describedby="key-scopes-help key-scopes-error">
      <legend>Scopes <span class="quiet">${this.selected.length ? `${this.selected.length} chosen` : ""}</span></legend>
      ${scopes.length > FEW
        ? html`<input
            type="search"
            aria-label="Search scopes"
            placeholder="Search scopes"
            .value=${this.search}
            @input=${(/** @type {Event} */ event) => (this.search = valueOf(event))}
          />`
        : nothing}
      <div class="row small">
        ${reads.length > 0
          ? html`<button type="button" class="link" @click=${() => this.#select([...this.selected, ...reads])}>Choose all that read</button>`
          : nothing}
        ${this.selected.length > 0 ? html`<button type="button" class="link" @click=${() => this.#select([])}>Clear</button>` : nothing}
      </div>
      <div class="choices">
        ${repeat(
          shown,
          ({ name }) => name,
          ({ name, description }) =>
            html`<label class="choice">
              <input
                type="checkbox"
                .checked=${this.selected.includes(name)}
                @change=${(/** @type {Event} */ event) => this.#toggle(name, /** @type {HTMLInputElement} */ (event.target).checked)}
              />
              <span><code>${name}</code>${description ? html`<span class="quiet">${description}</span>` : nothing}</span>
            </label>`,
        )}
        ${shown.length === 0
          ? html`<p class="quiet">${wanted ? "No scope matches." : "You have no scopes to give."}</p>`
          : nothing}
      </div>
      ${this.policy?.any_scope
        ? html`<div class="joined">
            <input
              id="key-scope"
              type="text"
              class="mono"
              aria-label="Another scope"
              placeholder="Another scope, such as orders:read"
              autocomplete="off"
              spellcheck="false"
              @keydown=${(/** @type {KeyboardEvent} */ event) => {
                if (event.key === "Enter") {
                  event.preventDefault();
                  this.#add();
                }
              }}
            />
            <button type="button" @click=${this.#add}>Add</button>
          </div>`
        : nothing}
      <p class="help" id="key-scopes-help">
        Scopes are permissions to manage keys, and others that your APIs ask for. A key without scopes can call every API that asks for
        none.
      </p>
      <p class="error" id="key-scopes-error">${this.error || nothing}</p>
    </fieldset>`;
  }

  #add() {
    const input = /** @type {HTMLInputElement} */ (this.querySelector("#key-scope"));
    this.#select([...this.selected, ...input.value.split(/[\s,]+/).filter(Boolean)]);
    input.value = "";
    input.focus();
  }

  /** @param {string} name @param {boolean} checked */
  #toggle(name, checked) {
    this.#select(checked ? [...this.selected, name] : this.selected.filter((other) => other !== name));
  }

  /** @param {string[]} names */
  #select(names) {
    this.dispatchEvent(new CustomEvent("scopes", { detail: [...new Set(names)] }));
  }
}

customElements.define("keygate-scope-picker", ScopePicker);
