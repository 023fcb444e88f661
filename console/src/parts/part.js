// What the parts of the page have in common.

import { html, LitElement, nothing } from "lit";
import { Problem } from "../problem.js";
import { sentence } from "../messages.js";
import { icon } from "./icons.js";

/** @typedef {import("../api.js").Api} Api */
/** @typedef {import("../types.js").Key} Key */

/**
 * @typedef {object} App What `<keygate-keys>` gives to its parts.
 * @property {Api} api
 * @property {import("../types.js").Caller | null} caller Null until it is known, after the list is there.
 * @property {import("../types.js").Policy | null} policy
 * @property {number} now The present. What was loaded after the last rendering of the whole is in the past, too.
 * @property {(query: URLSearchParams, replace?: boolean) => void} go
 * @property {(query: URLSearchParams) => string} href
 * @property {(text: string) => void} announce Says it to everyone, screen readers included.
 * @property {(kind: DialogKind, key: Key | null) => void} open Opens a dialog.
 * @property {() => void} refresh Loads the view again.
 * @property {(event: string, key: {id: string, name: string}) => void} changed Tells the embedding page, and loads the view again.
 */
/** @typedef {"create" | "edit" | "rotate" | "disable" | "enable" | "delete" | "revoke-tokens"} DialogKind */

/**
 * A part without a shadow root of its own: labels, ids and styles work across all parts within the one of `<keygate-keys>`.
 */
export class Part extends LitElement {
  constructor() {
    super();
    /** Set before the first rendering. */
    this.app = /** @type {App} */ (/** @type {unknown} */ (undefined));
  }

  createRenderRoot() {
    return this;
  }
}

/** A load that the next one replaces. @template T */
export class Loader {
  /** @type {T | null} What was loaded last; it stays while the next load is on its way. */
  value = null;
  /** @type {Problem | null} */
  problem = null;
  loading = false;
  #abort = new AbortController();

  /** @param {LitElement} host */
  constructor(host) {
    this.host = host;
    host.addController(this);
  }

  hostDisconnected() {
    this.#abort.abort();
  }

  /** @param {(signal: AbortSignal) => Promise<T>} load */
  async run(load) {
    this.#abort.abort();
    const abort = new AbortController();
    this.#abort = abort;
    this.loading = true;
    this.host.requestUpdate();
    try {
      const value = await load(abort.signal);
      if (!abort.signal.aborted) {
        this.value = value;
        this.problem = null;
      }
    } catch (error) {
      if (!abort.signal.aborted) {
        this.problem = asProblem(error);
      }
    }
    if (!abort.signal.aborted) {
      this.loading = false;
      this.host.requestUpdate();
    }
  }
}

/** A failure that is no problem is a fault of the page, and is thrown on. @param {unknown} error */
export function asProblem(error) {
  if (error instanceof Problem) {
    return error;
  }
  throw error;
}

/** @param {"error" | "warning" | "info"} kind @param {unknown} content */
export function notice(kind, content) {
  return html`<div class="notice ${kind}" part="notice" role=${kind === "error" ? "alert" : nothing}>
    ${icon(kind === "info" ? "info" : "warning")}
    <div>${content}</div>
  </div>`;
}

/** A problem in a view or dialog. @param {Problem | null} problem @param {unknown} [more] */
export function problemNotice(problem, more = nothing) {
  if (problem === null) {
    return nothing;
  }
  const id = problem.requestId && problem.status >= 500;
  return notice(
    "error",
    html`<p>${sentence(problem)}</p>
      ${problem.errors.map(({ parameter, detail }) => (parameter ? html`<p>${parameter}: ${detail}.</p>` : nothing))}
      ${id ? html`<p class="quiet">Request id: <code>${problem.requestId}</code></p>` : nothing} ${more}`,
  );
}

/** What is in place of a view whose load failed. @param {Problem} problem @param {() => void} again */
export function failure(problem, again) {
  const denied = problem.status === 403;
  const title = denied ? "You cannot see this" : problem.code === "offline" ? "You are offline" : "This could not be loaded";
  return html`<div class="state" role="alert">
    ${icon(denied ? "lock" : "warning")}
    <h2>${title}</h2>
    <p>${sentence(problem)}</p>
    ${problem.requestId && problem.status >= 500 ? html`<p class="quiet">Request id: <code>${problem.requestId}</code></p>` : nothing}
    ${denied ? nothing : html`<button type="button" @click=${again}>Try again</button>`}
  </div>`;
}

/** The text of an input, from its event. @param {Event} event */
export function valueOf(event) {
  return /** @type {HTMLInputElement} */ (event.target).value;
}

/** Rows that are on their way. @param {number} [rows] */
export function skeleton(rows = 5) {
  return html`<div class="skeleton" role="status">
    <span class="visually-hidden">Loading…</span>
    ${Array.from({ length: rows }, () => html`<div></div>`)}
  </div>`;
}
