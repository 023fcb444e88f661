// Removes users, and lets them have keys again. Administrators can hand a user's keys over.

import { html, nothing } from "lit";
import { uncertain } from "../messages.js";
import { duration } from "../times.js";
import { asProblem, notice, Part, problemNotice, valueOf } from "../parts/part.js";
import { isolated } from "../parts/show.js";
import { textField } from "../parts/text-field.js";

const OVERLAPS = [0, 86_400, 604_800, 2_592_000];

class UsersPage extends Part {
  static properties = {
    app: { attribute: false },
    user: { state: true },
    heir: { state: true },
    overlap: { state: true },
    typed: { state: true },
    again: { state: true },
    busy: { state: true },
    problem: { state: true },
    removal: { state: true },
    reinstated: { state: true },
  };

  constructor() {
    super();
    this.user = "";
    this.heir = "";
    this.overlap = 604_800;
    this.typed = "";
    this.again = "";
    this.busy = false;
    /** @type {import("../problem.js").Problem | null} */
    this.problem = null;
    /** @type {import("../types.js").Removal | null} */
    this.removal = null;
    this.reinstated = "";
  }

  render() {
    const admin = this.app.caller?.scopes.includes("workspace:admin");
    return html`<header class="page-head">
        <div>
          <h2 tabindex="-1">Users</h2>
          <p class="quiet">End all access of a user who has left, or hand their keys over.</p>
        </div>
      </header>
      ${problemNotice(this.problem, this.problem ? html`<p>${uncertain(this.problem, "The change")}</p>` : nothing)} ${this.#result()}
      <div class="sections">
        <section aria-labelledby="remove">
          <h3 id="remove">Remove a user</h3>
          <form @submit=${this.#remove}>
            <p>Their keys and sessions end at once, and they can have no new ones.</p>
            ${this.#field("user", "User", "Exactly as it is written in the list of keys. Case matters.")}
            ${admin ? this.#field("heir", "Hand their keys over to", "Optional. Empty: the keys are deleted.") : nothing}
            ${this.heir.trim()
              ? html`<div class="field">
                  <label for="users-overlap">The present secrets work for</label>
                  <select id="users-overlap" @change=${(/** @type {Event} */ event) => (this.overlap = Number(valueOf(event)))}>
                    ${OVERLAPS.map(
                      (seconds) =>
                        html`<option value=${seconds} .selected=${seconds === this.overlap}>
                          ${seconds === 0 ? "No longer" : duration(seconds)}
                        </option>`,
                    )}
                  </select>
                  <p class="help">Within this time the new owner rotates the keys.</p>
                </div>`
              : nothing}
            ${this.#field("typed", "Type the user again to confirm")}
            <button
              type="submit"
              class="danger solid"
              ?disabled=${this.busy || !this.user.trim() || this.typed.trim() !== this.user.trim()}
            >
              ${this.heir.trim() ? "Remove user and hand keys over" : "Remove user and delete keys"}
            </button>
          </form>
        </section>
        <section aria-labelledby="reinstate">
          <h3 id="reinstate">Let a user have keys again</h3>
          <form @submit=${this.#reinstate}>
            <p>A removed user can have keys again. Keys that were deleted stay deleted.</p>
            ${this.#field("again", "User")}
            <button type="submit" ?disabled=${this.busy || !this.again.trim()}>Reinstate user</button>
          </form>
        </section>
      </div>`;
  }

  #result() {
    if (this.reinstated) {
      return html`<div role="status">${notice("info", html`${isolated(this.reinstated)} can have keys again.`)}</div>`;
    }
    if (this.removal === null) {
      return nothing;
    }
    const { user_id: user, transfer_to: heir, found, hint } = this.removal;
    const keys = found.api_keys + found.legacy_keys;
    const what = heir ? html`; API keys go to ${isolated(heir)}, legacy keys are deleted` : ", which are being deleted";
    return html`<div role="status">
      ${notice(
        hint ? "warning" : "info",
        html`<p>
            ${isolated(user)} is removed. ${keys === 0 ? "No keys were found" : html`${keys} ${keys === 1 ? "key" : "keys"} found${what}`}.
          </p>
          ${hint ? html`<p>${hint}</p>` : nothing}`,
      )}
    </div>`;
  }

  /** @param {"user" | "heir" | "typed" | "again"} field @param {string} label @param {string} [help] */
  #field(field, label, help) {
    return textField({
      id: `users-${field}`,
      label,
      value: this[field],
      max: 128,
      help,
      required: field !== "heir",
      input: (value) => (this[field] = value),
    });
  }

  /** @param {Event} event */
  #remove(event) {
    event.preventDefault();
    const heir = this.heir.trim();
    const query = heir ? { transfer_to: heir, overlap_seconds: this.overlap } : {};
    return this.#send(async () => {
      const { data } = await this.app.api.request("DELETE", `users/${encodeURIComponent(this.user.trim())}`, { query });
      this.removal = data;
      this.user = "";
      this.heir = "";
      this.typed = "";
    });
  }

  /** @param {Event} event */
  #reinstate(event) {
    event.preventDefault();
    const user = this.again.trim();
    return this.#send(async () => {
      await this.app.api.request("PUT", `users/${encodeURIComponent(user)}`);
      this.reinstated = user;
      this.again = "";
    });
  }

  /** @param {() => Promise<void>} change */
  async #send(change) {
    this.busy = true;
    this.problem = null;
    this.removal = null;
    this.reinstated = "";
    try {
      await change();
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.busy = false;
    }
  }
}

customElements.define("keygate-users-page", UsersPage);
