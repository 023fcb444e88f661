// The hosted page: sign-in, and `<keygate-keys>` once there is a session. Credentials are in memory alone.

import { html, LitElement, nothing } from "lit";
import { browserAddress } from "./address.js";
import "./keygate-keys.js";
import { sentence } from "./messages.js";
import { exchangePageCode, takePageCode } from "./page-code.js";
import { icon } from "./parts/icons.js";
import { Problem } from "./problem.js";
import { exchange, leave, SignInError, takeReturn } from "./sign-in.js";
import styles from "./styles/console.css";
import sheetOfKeys from "./styles/keys.css";

/** @typedef {import("./api.js").Session} Session */
/** @typedef {{sign_in: import("./sign-in.js").Provider | null}} Config */

for (const text of [sheetOfKeys, styles]) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  document.adoptedStyleSheets.push(sheet);
}

// Secrets leave the address before anything else happens.
const pageCode = takePageCode(window);
/** @type {ReturnType<typeof takeReturn>} */
let returned = null;
let refusal = "";
try {
  returned = takeReturn(window);
} catch (error) {
  if (!(error instanceof SignInError)) {
    throw error;
  }
  refusal = error.message;
}

/** @type {Config} */
const config = JSON.parse(document.getElementById("keygate-config")?.textContent ?? "null");
const base = new URL(".", document.baseURI).href;

class Console extends LitElement {
  static properties = {
    session: { state: true },
    user: { state: true },
    busy: { state: true },
    message: { state: true },
    ended: { state: true },
  };

  constructor() {
    super();
    /** @type {Session | null} */
    this.session = null;
    this.busy = false;
    this.message = refusal;
    this.ended = false;
    this.address = browserAddress(window);
    this.getSession = () => this.session ?? "";
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    if (pageCode !== null) {
      this.#signIn(() => exchangePageCode(base, pageCode, fetch));
    } else if (returned !== null && config.sign_in !== null) {
      const [provider, answer] = [config.sign_in, returned];
      this.#signIn(() => exchange(provider, answer, location, fetch, Date.now()));
    }
  }

  render() {
    const product = html`${icon("key")} API keys`;
    return html`<header class="bar">
        ${this.session ? html`<h1 class="product">${product}</h1>` : html`<span class="product">${product}</span>`}
        ${this.session ? html`<button type="button" @click=${this.#signOut}>${this.ended ? "Sign in again" : "Sign out"}</button>` : nothing}
      </header>
      ${this.session
        ? html`<main>
            <keygate-keys
              api=${base}
              .getSession=${this.getSession}
              .address=${this.address}
              @session-ended=${this.#end}
            ></keygate-keys>
          </main>`
        : this.#welcome()}`;
  }

  #welcome() {
    return html`<main class="welcome">
      <h1>Your API keys</h1>
      ${this.busy
        ? html`<p role="status">Signing you in…</p>`
        : html`${this.message ? html`<div class="notice error" role="alert">${icon("warning")}<p>${this.message}</p></div>` : nothing}
            ${config.sign_in
              ? html`<button type="button" class="primary large" @click=${this.#leave}>Sign in</button>
                  <details class="more" ?open=${this.message !== ""}>
                    <summary>Use an API key instead</summary>
                    ${this.#keyForm()}
                  </details>`
              : this.#keyForm()}`}
    </main>`;
  }

  #keyForm() {
    return html`<form @submit=${this.#paste} autocomplete="off">
      <div class="field">
        <label for="pasted">API key</label>
        <input
          id="pasted"
          class="mono"
          type="password"
          dir="ltr"
          autocomplete="off"
          spellcheck="false"
          required
          aria-describedby="pasted-help"
        />
        <p class="help" id="pasted-help">
          A key with the scope <code>keys:read</code> or <code>keys:write</code>. This page keeps it in memory until you leave or reload.
        </p>
      </div>
      <button type="submit" class=${config.sign_in ? nothing : "primary"}>Continue with the key</button>
    </form>`;
  }

  /** @param {Event} event */
  #paste(event) {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (this.querySelector("#pasted"));
    const key = input.value.trim();
    input.value = "";
    if (/^[\x21-\x7e]+$/.test(key)) {
      this.#signIn(async () => ({ session: key }));
    } else {
      this.message = "That is not an API key. Paste the whole key, without spaces.";
    }
  }

  #leave() {
    if (config.sign_in !== null) {
      this.busy = true;
      leave(config.sign_in, window);
    }
  }

  /** @param {() => Promise<Session>} obtain */
  async #signIn(obtain) {
    this.busy = true;
    this.message = "";
    try {
      this.session = await obtain();
      this.ended = false;
    } catch (error) {
      if (error instanceof Problem) {
        this.message = sentence(error);
      } else if (error instanceof SignInError) {
        this.message = error.message;
      } else {
        throw error;
      }
    } finally {
      this.busy = false;
    }
  }

  /** A view stays as it is when its session ends, because it may show a secret. @param {CustomEvent<{wasIn: boolean}>} event */
  #end(event) {
    this.ended = true;
    if (!event.detail.wasIn) {
      this.session = null;
      this.message = "This sign-in is not accepted. The key may be mistyped, expired, disabled or deleted.";
    }
  }

  /** Ends a session of a page code for good. Another credential is forgotten: what issued it ends it. */
  #signOut() {
    const session = this.session?.session ?? "";
    if (/_ses_/.test(session) && !this.ended) {
      fetch(new URL("sessions/current", base), {
        method: "DELETE",
        headers: { Authorization: `Bearer ${session}` },
        keepalive: true,
        credentials: "omit",
      }).catch(() => {
        this.message = "You are signed out of this page, but the server could not be told. The session ends by itself.";
      });
    }
    this.session = null;
    this.message = this.ended ? "Your sign-in has ended. Sign in again." : "";
    this.address.write(new URLSearchParams(), true);
  }
}

customElements.define("keygate-console", Console);
