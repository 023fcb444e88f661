// A menu button: https://www.w3.org/WAI/ARIA/apg/patterns/menu-button/

import { html, nothing } from "lit";
import { icon } from "./icons.js";
import { Part } from "./part.js";

/** @typedef {{label: string, run: () => void, danger?: boolean}} MenuItem */

class Menu extends Part {
  static properties = { label: {}, items: { attribute: false }, isOpen: { state: true }, isUp: { state: true } };

  constructor() {
    super();
    this.label = "";
    /** @type {MenuItem[]} */
    this.items = [];
    this.isOpen = false;
    this.isUp = false;
    this.addEventListener("focusout", (event) => {
      if (this.isOpen && !this.contains(/** @type {Node | null} */ (event.relatedTarget))) {
        this.isOpen = false;
      }
    });
  }

  render() {
    return html`<button
        type="button"
        class="icon-button"
        part="menu-button"
        aria-haspopup="menu"
        aria-expanded=${this.isOpen}
        aria-label=${this.label}
        @click=${() => (this.isOpen ? this.#close() : this.#open(0))}
        @keydown=${this.#buttonKey}
      >
        ${icon("more")}
      </button>
      ${this.isOpen
        ? html`<div class="menu ${this.isUp ? "up" : ""}" role="menu" part="menu" aria-label=${this.label} @keydown=${this.#menuKey}>
            ${this.items.map(
              (item) =>
                html`<button
                  type="button"
                  role="menuitem"
                  tabindex="-1"
                  class=${item.danger ? "danger" : nothing}
                  @click=${() => this.#choose(item)}
                >
                  ${item.label}
                </button>`,
            )}
          </div>`
        : nothing}`;
  }

  /** @returns {HTMLElement[]} */
  get #entries() {
    return [...this.querySelectorAll('[role="menuitem"]')].map((entry) => /** @type {HTMLElement} */ (entry));
  }

  /** @param {number} index Of the item that gets the focus; -1 is the last. */
  async #open(index) {
    const below = window.innerHeight - this.getBoundingClientRect().bottom;
    this.isUp = below < 48 + 40 * this.items.length && this.getBoundingClientRect().top > below;
    this.isOpen = true;
    await this.updateComplete;
    this.#entries.at(index)?.focus();
  }

  #close() {
    this.querySelector("button")?.focus();
    this.isOpen = false;
  }

  /** @param {MenuItem} item */
  #choose(item) {
    this.#close();
    item.run();
  }

  /** @param {KeyboardEvent} event */
  #buttonKey(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      this.#open(event.key === "ArrowDown" ? 0 : -1);
    }
  }

  /** @param {KeyboardEvent} event */
  #menuKey(event) {
    const entries = this.#entries;
    const at = entries.indexOf(/** @type {HTMLElement} */ (event.target));
    /** @type {Record<string, number>} */
    const targets = { ArrowDown: (at + 1) % entries.length, ArrowUp: at - 1, Home: 0, End: -1 };
    const initial = event.key.length === 1 ? event.key.toLowerCase() : "";
    if (event.key in targets) {
      entries.at(targets[event.key])?.focus();
    } else if (event.key === "Escape") {
      this.#close();
    } else if (initial.trim()) {
      const after = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
      after.find((entry) => entry.textContent?.trim().toLowerCase().startsWith(initial))?.focus();
      return;
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

customElements.define("keygate-menu", Menu);
