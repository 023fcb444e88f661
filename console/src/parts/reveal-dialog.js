// The one time that a secret is shown. It is kept until the reader says that they have stored it.

import { html, nothing } from "lit";
import { curl, envFile, variableName } from "../snippets.js";
import { DialogPart } from "./dialog.js";
import { icon } from "./icons.js";
import { notice } from "./part.js";
import { isolated } from "./show.js";

class RevealDialog extends DialogPart {
  static properties = {
    created: { attribute: false },
    secret: { attribute: false },
    copied: { state: true },
    said: { state: true },
  };

  constructor() {
    super();
    this.created = false;
    this.secret = "";
    this.copied = "";
    this.said = "";
    this.stored = false;
    /** @param {BeforeUnloadEvent} event */
    this.beforeUnload = (event) => event.preventDefault();
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("beforeunload", this.beforeUnload);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("beforeunload", this.beforeUnload);
  }

  firstUpdated() {
    super.firstUpdated();
    this.field.focus();
    this.field.select();
  }

  get field() {
    return /** @type {HTMLTextAreaElement} */ (this.querySelector("#secret"));
  }

  /** Esc asks first. @param {Event} event */
  onCancel(event) {
    event.preventDefault();
    this.asking = true;
  }

  /** A browser may close the dialog on a second Esc whatever the page says: then it opens again, with the key in it. */
  onClose() {
    if (this.stored) {
      super.onClose();
    } else {
      this.asking = true;
      this.dialog.showModal();
    }
  }

  finish() {
    this.stored = true;
    this.close();
  }

  render() {
    const { name, id } = /** @type {import("../types.js").Key} */ (this.key);
    const command = curl(this.app.api.base, this.secret);
    return this.frame(
      this.created ? "Your new API key" : "Your new secret",
      html`<div class="body">
          <p>
            This is the secret of ${isolated(name)}. <strong>It is shown once.</strong> Copy it now, and keep it like a password.
          </p>
          <div class="field">
            <label for="secret">API key</label>
            <textarea
              id="secret"
              class="mono"
              part="secret"
              rows="3"
              readonly
              dir="ltr"
              autocomplete="off"
              spellcheck="false"
              .value=${this.secret}
              @focus=${() => this.field.select()}
            ></textarea>
          </div>
          <div class="row">
            <button type="button" class="primary" @click=${() => this.#copy(this.secret, "key")}>
              ${icon(this.copied === "key" ? "check" : "copy")} ${this.copied === "key" ? "Copied" : "Copy key"}
            </button>
            <button type="button" @click=${this.#download}>${icon("download")} Download .env</button>
            <button type="button" @click=${() => this.#copy(command, "curl")}>
              ${icon(this.copied === "curl" ? "check" : "copy")} ${this.copied === "curl" ? "Copied" : "Copy curl command"}
            </button>
          </div>
          <p class="quiet">
            The .env file sets <code>${variableName(name)}</code>. The command shows who the key acts as. To recognise the key later,
            its id is <code>${id}</code>.
          </p>
          <p class=${this.copied ? "visually-hidden" : "quiet"} role="status">${this.said}</p>
          ${this.asking
            ? notice(
                "warning",
                html`<p role="alert">Have you stored the key? After this it cannot be shown again, only replaced.</p>
                  <button type="button" @click=${this.#keep}>Keep showing it</button>`,
              )
            : nothing}
        </div>
        <footer>
          <button type="button" class=${this.copied ? "primary" : nothing} @click=${this.finish}>I have stored it</button>
        </footer>`,
      { closable: false, wide: true },
    );
  }

  #keep() {
    this.asking = false;
    this.field.focus();
  }

  /** Without a clipboard the field is selected, so that the reader's own command copies it. @param {string} text @param {string} what */
  async #copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.copied = what;
      this.said = what === "key" ? "The key is copied." : "The command is copied.";
    } catch {
      this.copied = "";
      this.said = "The browser does not let this page copy. The key is selected: copy it with the keyboard.";
      this.field.focus();
    }
  }

  #download() {
    const { name } = /** @type {import("../types.js").Key} */ (this.key);
    const url = URL.createObjectURL(new Blob([envFile(name, this.secret)], { type: "text/plain" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "keygate.env" });
    link.click();
    URL.revokeObjectURL(url);
  }
}

customElements.define("keygate-reveal-dialog", RevealDialog);
