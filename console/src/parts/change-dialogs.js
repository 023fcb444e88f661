// Rotates, disables, enables or deletes a key. Each begins with the key as it is now.

import { html, nothing } from "lit";
import { newIdempotencyKey } from "../api.js";
import { uncertain } from "../messages.js";
import { duration, exactWithUtc } from "../times.js";
import { DialogPart } from "./dialog.js";
import { asProblem, notice, problemNotice, skeleton, valueOf } from "./part.js";
import { ago, isolated, later } from "./show.js";

/** A key that rotates itself with an `Idempotency-Key` needs this overlap, because its old secret repeats the request. */
const SELF_OVERLAP = 600;
const OVERLAPS = [0, 3600, 86_400, 604_800, 2_592_000];

/** A change of one key, on condition that it still is as the dialog shows it. */
class ChangeDialog extends DialogPart {
  /** @type {import("lit").PropertyDeclarations} */
  static properties = { fresh: { state: true } };

  constructor() {
    super();
    /** @type {import("../types.js").Key | null} The key as it is now. */
    this.fresh = null;
    /** @type {string | null} */
    this.etag = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.load();
  }

  async load() {
    this.problem = null;
    try {
      const { data, etag } = await this.app.api.request("GET", `api-keys/${this.key?.id}`);
      this.fresh = data;
      this.etag = etag;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  render() {
    const name = isolated(this.key?.name ?? "");
    if (this.fresh === null) {
      return this.frame(this.heading(name), html`<div class="body">${this.problem ? problemNotice(this.problem) : skeleton(3)}</div>`);
    }
    return this.frame(
      this.heading(name),
      html`<form novalidate @submit=${this.#submit}>${this.content(this.fresh, name)}</form>`,
    );
  }

  /** @param {unknown} name @returns {unknown} */
  heading(name) {
    return name;
  }

  /** @param {import("../types.js").Key} _key @param {unknown} _name @returns {unknown} */
  content(_key, _name) {
    return nothing;
  }

  /** @param {import("../types.js").Key} _key @returns {Promise<void>} */
  async change(_key) {}

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    if (this.busy || this.fresh === null) {
      return;
    }
    this.busy = true;
    this.problem = null;
    try {
      await this.change(this.fresh);
    } catch (error) {
      this.problem = asProblem(error);
      this.busy = false;
    }
  }

  /** @param {string} change Such as "The deletion". */
  failed(change) {
    const problem = this.problem;
    return problemNotice(
      problem,
      problem?.code === "precondition_failed" || problem?.code === "conflict"
        ? html`<button type="button" @click=${this.load}>Show its present state</button>`
        : problem && html`<p>${uncertain(problem, change)}</p>`,
    );
  }
}

class RotateDialog extends ChangeDialog {
  static properties = { overlap: { state: true }, revokesTokens: { state: true }, confirmed: { state: true } };

  constructor() {
    super();
    this.overlap = 86_400;
    this.revokesTokens = false;
    this.confirmed = false;
    this.idempotencyKey = newIdempotencyKey();
  }

  /** Whether the page's own credential is this key. */
  get #isOwn() {
    const { caller } = this.app;
    return caller?.credential === "api_key" && caller.key_id === this.key?.id;
  }

  get #isUnrepeatable() {
    return this.#isOwn && this.overlap < SELF_OVERLAP;
  }

  get #isLost() {
    return this.problem !== null && this.problem.isAmbiguous;
  }

  /** @param {unknown} name */
  heading(name) {
    return html`Rotate ${name}`;
  }

  /** @param {import("../types.js").Key} key @param {unknown} name */
  content(key, name) {
    const lost = this.#isLost && !this.#isUnrepeatable;
    return html`<div class="body">
        ${lost
          ? problemNotice(this.problem, html`<p>The key may be rotated already. “Try again” is safe: it shows the same secret.</p>`)
          : this.failed("The rotation")}
        <p>${name} gets a new secret, and keeps its id, its scopes and its settings.</p>
        <fieldset class="field" ?disabled=${this.busy || lost}>
          <legend>The old secret works for</legend>
          <div class="segments">
            ${OVERLAPS.map(
              (seconds) =>
                html`<label>
                  <input
                    type="radio"
                    name="overlap"
                    value=${seconds}
                    .checked=${this.overlap === seconds}
                    @change=${() => this.#choose(seconds)}
                  />
                  <span>${seconds === 0 ? "No longer" : duration(seconds)}</span>
                </label>`,
            )}
          </div>
          <p class="help">
            ${this.overlap === 0
              ? "Programs with the old secret stop working at once. Choose this if the secret may be known to others."
              : "Replace the secret in your programs within this time. Both secrets work until then."}
          </p>
        </fieldset>
        ${key.previous_expires_at
          ? notice("warning", html`An earlier secret works until ${exactWithUtc(key.previous_expires_at)}. This rotation ends it.`)
          : nothing}
        <label class="choice">
          <input
            type="checkbox"
            .checked=${this.revokesTokens}
            ?disabled=${this.busy || lost}
            @change=${(/** @type {Event} */ event) => (this.revokesTokens = /** @type {HTMLInputElement} */ (event.target).checked)}
          />
          <span>Also end the access tokens of this key</span>
        </label>
        ${this.#isUnrepeatable
          ? html`${notice(
                "warning",
                html`You are signed in with this key, and its old secret ends at once. If the answer is lost on its way, nothing can
                show the new secret again.`,
              )}
              <label class="choice">
                <input
                  type="checkbox"
                  .checked=${this.confirmed}
                  @change=${(/** @type {Event} */ event) => (this.confirmed = /** @type {HTMLInputElement} */ (event.target).checked)}
                />
                <span>I understand, and I have another administrator or key</span>
              </label>`
          : nothing}
      </div>
      ${this.buttons(lost ? "Try again" : "Rotate key", { disabled: this.#isUnrepeatable && !this.confirmed })}`;
  }

  /** @param {number} seconds */
  #choose(seconds) {
    this.overlap = seconds;
    this.revokesTokens = seconds === 0;
  }

  /** @param {import("../types.js").Key} key */
  async change(key) {
    const { data } = await this.app.api.request("POST", `api-keys/${key.id}/rotate`, {
      body: { overlap_seconds: this.overlap, revoke_tokens: this.revokesTokens },
      ifMatch: this.etag,
      idempotencyKey: this.#isUnrepeatable ? undefined : this.idempotencyKey,
    });
    if (this.#isOwn) {
      this.app.api.continueWith(data.key);
    }
    this.reveal(data, false);
  }
}

class StateDialog extends ChangeDialog {
  static properties = { disabling: { attribute: false } };

  constructor() {
    super();
    this.disabling = true;
  }

  /** @param {unknown} name */
  heading(name) {
    return html`${this.disabling ? "Disable" : "Enable"} ${name}`;
  }

  /** @param {import("../types.js").Key} key @param {unknown} name */
  content(key, name) {
    return html`<div class="body">
        ${this.failed("The change")}
        ${this.disabling
          ? html`<p>Programs that use ${name} stop working at once, and its access tokens end for good. You can enable the key again.</p>
              ${lastUse(key, this.app.now)}`
          : html`<p>
              ${name} works again with its present secret${key.previous_expires_at ? html`, and with the old one until ${exactWithUtc(key.previous_expires_at)}` : nothing}.
              Access tokens that ended stay ended.
            </p>`}
      </div>
      ${this.buttons(this.disabling ? "Disable key" : "Enable key", { danger: this.disabling })}`;
  }

  /** @param {import("../types.js").Key} key */
  async change(key) {
    await this.app.api.request("PATCH", `api-keys/${key.id}`, { body: { disabled: this.disabling }, ifMatch: this.etag });
    this.app.changed(this.disabling ? "disabled" : "enabled", key);
    this.close();
  }
}

class TokensDialog extends ChangeDialog {
  /** @param {unknown} name */
  heading(name) {
    return html`Revoke all tokens of ${name}`;
  }

  content() {
    return html`<div class="body">
        ${this.failed("The revocation")}
        <p>All access and refresh tokens of this key stop working at once, and so do the sessions that it opened. The key itself works on.</p>
      </div>
      ${this.buttons("Revoke tokens", { danger: true })}`;
  }

  /** @param {import("../types.js").Key} key */
  async change(key) {
    await this.app.api.request("DELETE", `api-keys/${key.id}/tokens`);
    this.app.changed("tokens_revoked", key);
    this.close();
  }
}

class DeleteDialog extends ChangeDialog {
  static properties = { typed: { state: true } };

  constructor() {
    super();
    this.typed = "";
  }

  /** @param {unknown} name */
  heading(name) {
    return html`Delete ${name}`;
  }

  /** @param {import("../types.js").Key} key @param {unknown} name */
  content(key, name) {
    return html`<div class="body">
        ${this.failed("The deletion")}
        <p>Programs that use this key stop working at once. A deleted key cannot be restored.</p>
        ${lastUse(key, this.app.now)}
        ${key.can.includes("disable")
          ? html`<p>
              Not sure? <button type="button" class="link" @click=${() => this.app.open("disable", key)}>Disable it instead</button>: a
              disabled key can be enabled again.
            </p>`
          : nothing}
        <div class="field">
          <label for="typed">To delete it, type its name: <strong>${name}</strong></label>
          <input
            id="typed"
            type="text"
            dir="auto"
            autocomplete="off"
            spellcheck="false"
            ?disabled=${this.busy}
            .value=${this.typed}
            @input=${(/** @type {Event} */ event) => (this.typed = valueOf(event))}
          />
        </div>
      </div>
      ${this.buttons("Delete key", { danger: true, disabled: this.typed.trim() !== key.name.trim() })}`;
  }

  /** @param {import("../types.js").Key} key */
  async change(key) {
    await this.app.api.request("DELETE", `api-keys/${key.id}`, { ifMatch: this.etag });
    this.app.changed("deleted", key);
    this.close();
  }
}

/** @param {import("../types.js").Key} key @param {number} now */
function lastUse(key, now) {
  const from = key.last_used_from ? html` from <code>${key.last_used_from}</code>` : nothing;
  return key.last_used_at === null
    ? notice("info", "This key was never used.")
    : notice("warning", html`This key was last used ${ago(key.last_used_at, now, "")}${later(key.last_used_at, now)}${from}.`);
}

customElements.define("keygate-rotate-dialog", RotateDialog);
customElements.define("keygate-state-dialog", StateDialog);
customElements.define("keygate-tokens-dialog", TokensDialog);
customElements.define("keygate-delete-dialog", DeleteDialog);
