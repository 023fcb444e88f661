// The web component `<keygate-keys>`: the whole page but the sign-in. Everything is in one shadow root. It is a part of another page,
// which has the main landmark and the heading of level 1.

import { html, LitElement, nothing, unsafeCSS } from "lit";
import { memoryAddress, viewOf } from "./address.js";
import { Api } from "./api.js";
import "./pages/keys.js";
import "./pages/key.js";
import "./pages/legacy.js";
import "./pages/activity.js";
import "./pages/users.js";
import "./parts/change-dialogs.js";
import "./parts/key-dialog.js";
import { icon } from "./parts/icons.js";
import { asProblem, problemNotice } from "./parts/part.js";
import "./parts/reveal-dialog.js";
import styles from "./styles/keys.css";

/** @typedef {import("./parts/part.js").App} App */
/** @typedef {import("./types.js").Key} Key */
/** @typedef {{kind: import("./parts/part.js").DialogKind, key: Key | null} | {kind: "reveal", key: Omit<Key, "can">, secret: string, created: boolean}} Dialog */

const TOAST = 5000;
/** The list is an index that can lag behind a change for a moment. */
const LAG = 1500;

/** @type {Record<string, string>} What is said of a change that shows no secret. */
const DONE = {
  updated: "The changes are saved.",
  disabled: "The key is disabled.",
  enabled: "The key is enabled.",
  deleted: "The key is deleted.",
  tokens_revoked: "The tokens are revoked.",
};

/**
 * @fires created, updated, rotated, disabled, enabled, deleted, tokens_revoked – with `{id, name}` of the key, never a secret
 * @fires session-ended – when `getSession` gives no session that the API takes, with `{wasIn}`: whether it took an earlier one
 */
export class KeygateKeys extends LitElement {
  static styles = unsafeCSS(styles);
  static properties = {
    api: {},
    getSession: { attribute: false },
    address: { attribute: false },
    client: { state: true },
    query: { state: true },
    caller: { state: true },
    policy: { state: true },
    dialog: { state: true },
    toast: { state: true },
    revision: { state: true },
    ended: { state: true },
    unknown: { state: true },
  };

  constructor() {
    super();
    /** The base URL of the management API. */
    this.api = "";
    /** @type {import("./api.js").GetSession | undefined} Gives a session, and a new one when it has ended. Never an attribute. */
    this.getSession = undefined;
    /** @type {import("./address.js").Address} */
    this.address = memoryAddress();
    /** @type {Api | null} */
    this.client = null;
    this.query = new URLSearchParams();
    /** @type {import("./types.js").Caller | null} */
    this.caller = null;
    /** @type {import("./types.js").Policy | null} */
    this.policy = null;
    /** @type {Dialog | null} */
    this.dialog = null;
    this.toast = "";
    this.revision = 0;
    this.ended = false;
    /** @type {import("./problem.js").Problem | null} Why the caller and the policy are not known. */
    this.unknown = null;
    /** @type {Element | null} What had the focus before a dialog. */
    this.opener = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.query = this.address.read();
    this.stopListening = this.address.listen(() => {
      this.query = this.address.read();
    });
    this.clock = setInterval(() => this.requestUpdate(), 30_000);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.stopListening?.();
    clearInterval(this.clock);
  }

  /** @param {import("lit").PropertyValues} changed */
  willUpdate(changed) {
    if ((changed.has("api") || changed.has("getSession")) && this.getSession && this.hasAttribute("api")) {
      this.#start(this.getSession);
    }
  }

  /** What had the focus may be gone with the view that it was in: then the new view has it. @param {import("lit").PropertyValues} changed */
  updated(changed) {
    const before = changed.get("query");
    const { activeElement } = /** @type {ShadowRoot} */ (this.renderRoot);
    if (before && viewOf(before) !== viewOf(this.query) && activeElement === null && this.dialog === null) {
      /** @type {HTMLElement | null} */ (this.renderRoot.querySelector("#view"))?.focus();
    }
  }

  /** @param {import("./api.js").GetSession} getSession */
  #start(getSession) {
    const base = new URL(this.api || ".", document.baseURI).href;
    this.client = new Api({ base, getSession, onSignedOut: (wasIn) => this.#end(wasIn) });
    this.ended = false;
    this.caller = null;
    this.policy = null;
    this.revision += 1;
    if (viewOf(this.query) !== "keys") {
      this.#learn();
    }
  }

  /** @param {boolean} wasIn */
  #end(wasIn) {
    if (!this.ended) {
      this.ended = true;
      this.#fire("session-ended", { wasIn });
    }
  }

  render() {
    if (this.client === null) {
      return nothing;
    }
    return html`<div class="app" part="app">
      ${this.#tabs()}
      ${this.ended
        ? html`<div class="notice warning" role="alert">${icon("lock")}<div><p>Your sign-in has ended. Sign in again to continue.</p></div></div>`
        : problemNotice(this.unknown, html`<button type="button" @click=${this.#learn}>Try again</button>`)}
      <div id="view" part="main" tabindex="-1">${this.#view(this.#app(this.client))}</div>
      ${this.#dialog(this.#app(this.client))}
      <div class="toast ${this.toast ? "shown" : ""}" role="status">${this.toast}</div>
    </div>`;
  }

  /** @param {Api} api @returns {App} */
  #app(api) {
    return {
      api,
      caller: this.caller,
      policy: this.policy,
      get now() {
        return Date.now();
      },
      go: (query, replace) => {
        this.address.write(query, replace);
        this.query = query;
      },
      href: (query) => `?${query}`,
      announce: (text) => this.#announce(text),
      open: (kind, key) => this.#open({ kind, key }),
      refresh: () => (this.revision += 1),
      changed: (event, key) => this.#changed(event, key),
    };
  }

  #tabs() {
    const scopes = this.caller?.scopes ?? [];
    const admin = scopes.includes("workspace:admin");
    const view = viewOf(this.query);
    const tabs = [
      { view: "keys", text: "Keys", shown: true },
      { view: "legacy", text: "Legacy keys", shown: Boolean(this.policy?.legacy_sunset) },
      { view: "activity", text: "Activity", shown: admin || scopes.includes("activity:read") },
      { view: "users", text: "Users", shown: admin || scopes.includes("users:write") },
    ].filter(({ shown }) => shown);
    return html`<nav class="tabs" part="tabs" aria-label="Views">
      ${tabs.map(({ view: name, text }) => {
        const query = new URLSearchParams(name === "keys" ? {} : { view: name });
        return html`<a
          href="?${query}"
          aria-current=${view === name || (view === "key" && name === "keys") ? "page" : nothing}
          @click=${(/** @type {MouseEvent} */ event) => {
            event.preventDefault();
            this.address.write(query);
            this.query = query;
          }}
          >${text}</a
        >`;
      })}
    </nav>`;
  }

  /** @param {App} app */
  #view(app) {
    const { query, revision } = this;
    switch (viewOf(query)) {
      case "key":
        return html`<keygate-key-page .app=${app} .query=${query} .revision=${revision}></keygate-key-page>`;
      case "legacy":
        return html`<keygate-legacy-page .app=${app} .query=${query} .revision=${revision}></keygate-legacy-page>`;
      case "activity":
        return html`<keygate-activity-page .app=${app} .query=${query}></keygate-activity-page>`;
      case "users":
        return html`<keygate-users-page .app=${app}></keygate-users-page>`;
      case "keys":
        return html`<keygate-keys-page .app=${app} .query=${query} .revision=${revision} @loaded=${this.#listLoaded}></keygate-keys-page>`;
    }
  }

  /** @param {App} app */
  #dialog(app) {
    const dialog = this.dialog;
    switch (dialog?.kind) {
      case undefined:
        return nothing;
      case "create":
        return html`<keygate-key-dialog .app=${app} .reveal=${this.#reveal} @closed=${this.#closed}></keygate-key-dialog>`;
      case "edit":
        return html`<keygate-key-dialog .app=${app} .key=${dialog.key} .editing=${true} @closed=${this.#closed}></keygate-key-dialog>`;
      case "rotate":
        return html`<keygate-rotate-dialog
          .app=${app}
          .key=${dialog.key}
          .reveal=${this.#reveal}
          @closed=${this.#closed}
        ></keygate-rotate-dialog>`;
      case "disable":
      case "enable":
        return html`<keygate-state-dialog
          .app=${app}
          .key=${dialog.key}
          .disabling=${dialog.kind === "disable"}
          @closed=${this.#closed}
        ></keygate-state-dialog>`;
      case "delete":
        return html`<keygate-delete-dialog .app=${app} .key=${dialog.key} @closed=${this.#closed}></keygate-delete-dialog>`;
      case "revoke-tokens":
        return html`<keygate-tokens-dialog .app=${app} .key=${dialog.key} @closed=${this.#closed}></keygate-tokens-dialog>`;
      case "reveal":
        return html`<keygate-reveal-dialog
          .app=${app}
          .key=${dialog.key}
          .secret=${dialog.secret}
          .created=${dialog.created}
          @closed=${this.#closed}
        ></keygate-reveal-dialog>`;
    }
  }

  /** @param {Dialog} dialog */
  #open(dialog) {
    if (this.dialog === null) {
      this.opener = this.renderRoot instanceof ShadowRoot ? this.renderRoot.activeElement : null;
    }
    this.dialog = dialog;
  }

  /** @param {import("./types.js").KeyWithCredential} answer @param {boolean} created */
  #reveal = (answer, created) => {
    const { key: secret, ...key } = answer;
    this.#open({ kind: "reveal", key, secret, created });
    this.#changed(created ? "created" : "rotated", key);
  };

  async #closed() {
    this.dialog = null;
    await this.updateComplete;
    const target = this.opener?.isConnected ? this.opener : this.renderRoot.querySelector("h2");
    /** @type {HTMLElement | null} */ (target)?.focus();
    this.opener = null;
  }

  /** @param {string} event @param {{id: string, name: string}} key */
  #changed(event, { id, name }) {
    this.#fire(event, { id, name });
    if (event in DONE) {
      this.#announce(DONE[event]);
    }
    if (event === "deleted" && viewOf(this.query) === "key") {
      this.address.write(new URLSearchParams());
      this.query = new URLSearchParams();
    }
    this.revision += 1;
    setTimeout(() => (this.revision += 1), LAG);
    this.#learn();
  }

  /** @param {string} text */
  #announce(text) {
    this.toast = text;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (this.toast = ""), TOAST);
  }

  /** @param {string} name @param {unknown} detail */
  #fire(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #listLoaded() {
    if (this.caller === null && !this.ended) {
      this.#learn();
    }
  }

  /** Who the caller is and what they may do: after the list is there, so that one request shows it. */
  async #learn() {
    const client = this.client;
    try {
      const [caller, policy] = await Promise.all([client?.request("GET", "me"), client?.request("GET", "policy")]);
      if (this.client === client) {
        this.caller = caller?.data;
        this.policy = policy?.data;
        this.unknown = null;
      }
    } catch (error) {
      this.unknown = asProblem(error);
    }
  }
}

customElements.define("keygate-keys", KeygateKeys);
