// Creates a key, or edits one: the same form.

import { html, nothing } from "lit";
import { newIdempotencyKey } from "../api.js";
import { changes, createRequest, emptyForm, expiryChoices, fieldErrors, FormError, formOf } from "../key-form.js";
import { exact, localInput } from "../times.js";
import { DialogPart } from "./dialog.js";
import { asProblem, problemNotice, skeleton, valueOf } from "./part.js";
import { isolated } from "./show.js";
import "./scope-picker.js";
import { textField } from "./text-field.js";

class KeyDialog extends DialogPart {
  static properties = {
    editing: { attribute: false },
    form: { state: true },
    errors: { state: true },
  };

  constructor() {
    super();
    this.editing = false;
    /** @type {import("../key-form.js").KeyForm | null} */
    this.form = null;
    /** @type {import("../key-form.js").KeyForm | null} The form before the reader changed it. */
    this.opened = null;
    /** @type {Record<string, string>} */
    this.errors = {};
    /** @type {string | null} */
    this.etag = null;
    this.idempotencyKey = newIdempotencyKey();
    /** Whether the restrictions were shown: they stay open while the reader changes them. */
    this.restrictsShown = false;
  }

  connectedCallback() {
    super.connectedCallback();
    if (this.editing) {
      this.#load();
    }
  }

  /** Edits the key as it is now, not as the list showed it. */
  async #load() {
    this.problem = null;
    try {
      const { data, etag } = await this.app.api.request("GET", `api-keys/${this.key?.id}`);
      this.key = data;
      this.etag = etag;
      this.form = this.opened = formOf(data);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  willUpdate() {
    if (!this.editing && this.form === null && this.app.policy !== null) {
      this.form = this.opened = emptyForm(this.app.policy.max_lifetime_days);
    }
  }

  get hasInput() {
    return !this.#isLost && JSON.stringify(this.form) !== JSON.stringify(this.opened);
  }

  /** @param {import("lit").PropertyValues} changed */
  updated(changed) {
    if (changed.has("form") && !changed.get("form")) {
      /** @type {HTMLElement | null} */ (this.querySelector("#key-name"))?.focus();
    }
  }

  render() {
    const title = this.editing ? html`Edit ${isolated(this.key?.name ?? "")}` : "Create API key";
    if (this.form === null || this.app.policy === null) {
      return this.frame(title, html`<div class="body">${this.problem ? problemNotice(this.problem) : skeleton(4)}</div>`, { wide: true });
    }
    return this.frame(title, this.#form(this.form, this.app.policy), { wide: true });
  }

  /** Whether the last attempt may have created the key: then only the same request may follow. */
  get #isLost() {
    return !this.editing && this.problem !== null && this.problem.isAmbiguous;
  }

  /** @param {import("../key-form.js").KeyForm} form @param {import("../types.js").Policy} policy */
  #form(form, policy) {
    const left = policy.keys.left;
    return html`<form novalidate @submit=${this.#submit}>
      <div class="body">
        ${this.#problem()}
        ${this.#isLost ? nothing : this.#fields(form, policy)}
        ${this.editing
          ? nothing
          : html`<p class="review">
              ${this.#review(form)} ${left <= 5 ? html`You can have ${left} more ${left === 1 ? "key" : "keys"}.` : nothing}
            </p>`}
      </div>
      ${this.buttons(this.editing ? "Save changes" : this.#isLost ? "Try again" : "Create key")}
    </form>`;
  }

  /** @param {import("../key-form.js").KeyForm} form @param {import("../types.js").Policy} policy */
  #fields(form, policy) {
    const admin = this.app.caller?.scopes.includes("workspace:admin") ?? false;
    // Who may not widen the key may still make it narrower: stricter limits, an earlier expiry.
    const widens = !this.editing || this.key?.can.includes("widen");
    return html`<fieldset class="plain" ?disabled=${this.busy}>
      ${this.#text("name", "Name", form.name, { help: "What the key is for. Unique in the workspace.", max: 100 })}
      ${this.#area("description", "Description", form.description, "Optional.", 2)}
      ${admin && !this.editing
        ? this.#text("user_id", "Owner", form.user_id, {
            help: "The user whom the key belongs to and acts as. Empty: you. A service account begins with svc:",
            max: 128,
          })
        : nothing}
      ${this.#expiry(form, policy)}
      ${widens
        ? html`<keygate-scope-picker
            .policy=${policy}
            .selected=${form.scopes}
            .error=${this.errors.scopes ?? ""}
            @scopes=${(/** @type {CustomEvent<string[]>} */ event) => this.#set("scopes", event.detail)}
          ></keygate-scope-picker>`
        : nothing}
      <details class="more" ?open=${this.#restricts(form)}>
        <summary>${widens ? "Restrictions and metadata" : "Limits and metadata"}</summary>
        ${widens
          ? html`${this.#area(
              "endpoints",
              "Endpoint rules",
              form.endpoints,
              "One on each line, such as GET /orders/*, or GET /* for every GET request. Empty: every endpoint.",
            )}
            ${this.#area("networks", "Networks", form.networks, "One on each line, such as 203.0.113.0/24. Empty: every address.")}`
          : nothing}
        ${policy.limits_enforced
          ? this.#area("limits", "Call limits", form.limits, "One on each line, such as 500/hour. Empty: any number of calls.")
          : nothing}
        ${this.#area("metadata", "Metadata", form.metadata, "One on each line, such as env=live. Your backend receives it.")}
      </details>
    </fieldset>`;
  }

  #problem() {
    if (this.problem === null) {
      return nothing;
    }
    if (this.#isLost) {
      return problemNotice(this.problem, html`<p>The key may exist already. “Try again” is safe: it shows the same key.</p>`);
    }
    if (this.problem.code === "precondition_failed") {
      return problemNotice(this.problem, html`<button type="button" @click=${this.#load}>Show its present state</button>`);
    }
    return this.errors[""] || Object.keys(this.errors).length === 0
      ? problemNotice(this.problem, this.errors[""] ? html`<p>${this.errors[""]}</p>` : nothing)
      : nothing;
  }

  /** @param {import("../key-form.js").KeyForm} form */
  #restricts({ endpoints, networks, limits, metadata }) {
    const invalid = ["endpoints", "networks", "limits", "metadata"].some((field) => this.errors[field]);
    this.restrictsShown ||= invalid || (this.editing && [endpoints, networks, limits, metadata].some(Boolean));
    return this.restrictsShown;
  }

  /** @param {import("../key-form.js").KeyForm} form */
  #review(form) {
    const scopes = form.scopes.length;
    const what = scopes === 0 ? "without scopes" : `with ${scopes} ${scopes === 1 ? "scope" : "scopes"}`;
    const owner = form.user_id.trim();
    const until =
      form.expiry === "never"
        ? "and no expiry"
        : form.expiry === "custom"
          ? form.expires_at
            ? `until ${exact(form.expires_at)}`
            : "that expires when you choose"
          : `until ${exact(new Date(this.app.now + Number(form.expiry) * 86_400_000).toISOString())}`;
    return html`Creates a key ${owner ? html`of ${isolated(owner)} ` : nothing}${what} ${until}.`;
  }

  /** @param {import("../key-form.js").KeyForm} form @param {import("../types.js").Policy} policy */
  #expiry(form, policy) {
    const max = policy.max_lifetime_days;
    const kept = this.editing && this.key?.expires_at;
    const option = (/** @type {string} */ value, /** @type {string} */ text) =>
      html`<option value=${value} .selected=${form.expiry === value}>${text}</option>`;
    return html`<div class="field">
      <label for="key-expiry">Expires</label>
      <div class="row">
        <select id="key-expiry" aria-describedby="key-expires_at-help" @change=${(/** @type {Event} */ event) => this.#set("expiry", valueOf(event))}>
          ${kept ? option("keep", `As now: ${exact(kept)}`) : nothing}
          ${expiryChoices(max).map((days) => option(String(days), `In ${days} ${days === 1 ? "day" : "days"}`))}
          ${option("custom", "At a time of my choice")}
          ${max === null || (this.editing && !kept) ? option("never", "Never") : nothing}
        </select>
        ${form.expiry === "custom"
          ? html`<input
              id="key-expires_at"
              type="datetime-local"
              aria-label="Expires on"
              aria-invalid=${Boolean(this.errors.expires_at)}
              aria-describedby="key-expires_at-error"
              min=${localInput(new Date(this.app.now).toISOString())}
              .value=${form.expires_at}
              @change=${(/** @type {Event} */ event) => this.#set("expires_at", valueOf(event))}
            />`
          : nothing}
      </div>
      <p class="help" id="key-expires_at-help">
        ${this.editing && !this.key?.can.includes("widen")
          ? "You can make the key expire earlier, not later."
          : max !== null
          ? `Keys of this deployment work for at most ${max} days.`
          : form.expiry === "never"
            ? "A key without an expiry works until it is deleted. Rotate it from time to time."
            : ""}
      </p>
      ${this.#error("expires_at")}
    </div>`;
  }

  /** @param {"name" | "user_id"} field @param {string} label @param {string} value @param {{help: string, max: number}} more */
  #text(field, label, value, more) {
    return textField({
      ...more,
      id: `key-${field}`,
      label,
      value,
      error: this.errors[field],
      required: field === "name",
      input: (text) => this.#set(field, text),
    });
  }

  /**
   * @param {"description" | "endpoints" | "networks" | "limits" | "metadata"} field
   * @param {string} label @param {string} value @param {string} help @param {number} [rows]
   */
  #area(field, label, value, help, rows = 3) {
    return html`<div class="field">
      <label for="key-${field}">${label}</label>
      <textarea
        id="key-${field}"
        class=${field === "description" ? nothing : "mono"}
        dir=${field === "description" ? "auto" : "ltr"}
        rows=${rows}
        maxlength=${field === "description" ? 500 : nothing}
        spellcheck=${field === "description"}
        aria-invalid=${Boolean(this.errors[field])}
        aria-describedby="key-${field}-help key-${field}-error"
        .value=${value}
        @input=${(/** @type {Event} */ event) => this.#set(field, valueOf(event))}
      ></textarea>
      <p class="help" id="key-${field}-help">${help}</p>
      ${this.#error(field)}
    </div>`;
  }

  /** @param {string} field */
  #error(field) {
    return html`<p class="error" id="key-${field}-error">${this.errors[field] ?? nothing}</p>`;
  }

  /** @param {string} field @param {string | string[]} value */
  #set(field, value) {
    if (this.form !== null) {
      this.form = { ...this.form, [field]: value };
      const { [field === "expiry" ? "expires_at" : field]: _, ...errors } = this.errors;
      this.errors = errors;
    }
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    if (this.busy || this.form === null) {
      return;
    }
    try {
      if (this.editing) {
        await this.#save(this.form);
      } else {
        await this.#create(this.form);
      }
    } catch (error) {
      if (error instanceof FormError) {
        this.problem = null;
        this.errors = { [error.field]: error.message };
      } else {
        this.problem = asProblem(error);
        this.errors = fieldErrors(this.problem);
      }
      this.busy = false;
      await this.updateComplete;
      const wrong = /** @type {HTMLElement | null} */ (this.querySelector("[aria-invalid=true]"));
      const first = wrong ?? /** @type {HTMLElement} */ (this.querySelector("#dialog-title"));
      first.focus();
      first.scrollIntoView({ block: "center" });
    }
  }

  /** @param {import("../key-form.js").KeyForm} form */
  async #create(form) {
    const body = createRequest(form);
    this.busy = true;
    // A lost answer is repeated with the same `Idempotency-Key`, by `Api` and by the reader, and shows the same key.
    const { data } = await this.app.api.request("POST", "api-keys", { body, idempotencyKey: this.idempotencyKey });
    this.reveal(data, true);
  }

  /** @param {import("../key-form.js").KeyForm} form */
  async #save(form) {
    const key = /** @type {import("../types.js").Key} */ (this.key);
    const body = changes(key, form, this.app.now);
    if (Object.keys(body).length > 0) {
      this.busy = true;
      await this.app.api.request("PATCH", `api-keys/${key.id}`, { body, ifMatch: this.etag });
      this.app.changed("updated", key);
    }
    this.close();
  }
}

customElements.define("keygate-key-dialog", KeyDialog);
