// A modal dialog. The native element keeps the focus inside, makes the rest inert, and closes on Esc.

import { html, nothing } from "lit";
import { icon } from "./icons.js";
import { Part } from "./part.js";

/**
 * What the dialogs have in common. A dialog is in the page while it is open; when it closes it fires `closed`, and the focus
 * returns to what opened it.
 */
export class DialogPart extends Part {
  /** @type {import("lit").PropertyDeclarations} */
  static properties = {
    app: { attribute: false },
    key: { attribute: false },
    busy: { state: true },
    problem: { state: true },
    asking: { state: true },
  };

  constructor() {
    super();
    /** @type {import("../types.js").Key | null} */
    this.key = null;
    /** @type {boolean} */
    this.busy = false;
    /** @type {import("../problem.js").Problem | null} */
    this.problem = null;
    /** Whether the reader is asked if what was entered may be discarded. */
    this.asking = false;
    /** @type {(key: import("../types.js").KeyWithCredential, created: boolean) => void} Shows a secret; never an event. */
    this.reveal = () => {};
  }

  firstUpdated() {
    this.dialog.showModal();
  }

  get dialog() {
    return /** @type {HTMLDialogElement} */ (this.querySelector("dialog"));
  }

  /** Whether closing the dialog would lose what the reader entered. */
  get hasInput() {
    return false;
  }

  close() {
    this.dialog.close();
  }

  /** Closes the dialog for its reader, who is asked first if something was entered. */
  async leave() {
    if (!this.hasInput) {
      this.close();
      return;
    }
    this.asking = true;
    await this.updateComplete;
    /** @type {HTMLElement} */ (this.querySelector("footer button")).focus();
  }

  /** Called before Esc closes the dialog. @param {Event} event */
  onCancel(event) {
    if (this.busy || this.hasInput) {
      event.preventDefault();
    }
    if (!this.busy && this.hasInput) {
      this.leave();
    }
  }

  /** What failed may have been made nevertheless, or by others: the view behind the dialog is loaded again. */
  onClose() {
    if (this.problem !== null) {
      this.app.refresh();
    }
    this.dispatchEvent(new Event("closed"));
  }

  /** @param {unknown} title @param {unknown} content @param {{closable?: boolean, wide?: boolean}} [options] */
  frame(title, content, { closable = true, wide = false } = {}) {
    return html`<dialog
      class=${wide ? "wide" : nothing}
      part="dialog"
      aria-labelledby="dialog-title"
      @cancel=${this.onCancel}
      @close=${this.onClose}
    >
      <div class="dialog-head">
        <h2 id="dialog-title" tabindex="-1">${title}</h2>
        ${closable
          ? html`<button type="button" class="icon-button" aria-label="Close" ?disabled=${this.busy} @click=${this.leave}>
              ${icon("close")}
            </button>`
          : nothing}
      </div>
      ${content}
    </dialog>`;
  }

  /**
   * The buttons at the end of a form.
   * @param {string} label @param {{danger?: boolean, disabled?: boolean, cancel?: string}} [options]
   */
  buttons(label, { danger = false, disabled = false, cancel = "Cancel" } = {}) {
    if (this.asking) {
      return html`<footer>
        <p role="status">Discard what you entered?</p>
        <button type="button" @click=${() => (this.asking = false)}>Keep editing</button>
        <button type="button" class="danger solid" @click=${this.close}>Discard</button>
      </footer>`;
    }
    return html`<footer>
      <button type="button" ?disabled=${this.busy} @click=${this.leave}>${cancel}</button>
      <button type="submit" class=${danger ? "danger solid" : "primary"} part="submit-button" ?disabled=${this.busy || disabled}>
        ${this.busy ? html`<span class="spinner"></span>` : nothing}${label}
      </button>
    </footer>`;
  }
}
