// One key: what it is, what it may do, its calls, its tokens, its activity.

import { html, nothing } from "lit";
import { activityList } from "../parts/activity-list.js";
import { icon } from "../parts/icons.js";
import { actionsOf } from "../parts/key-actions.js";
import { failure, Loader, notice, Part, problemNotice, skeleton } from "../parts/part.js";
import { ago, fullTime, isolated, keyBadges, later } from "../parts/show.js";
import { usageChart } from "../parts/usage-chart.js";
import { exactWithUtc, relative } from "../times.js";

/** @typedef {import("../types.js").Key} Key */
/** @typedef {import("../types.js").Token} Token */

const DAYS = 30;

class KeyPage extends Part {
  static properties = { app: { attribute: false }, query: { attribute: false }, revision: { attribute: false } };

  constructor() {
    super();
    this.query = new URLSearchParams();
    this.revision = 0;
    /** @type {Loader<Key>} */
    this.key = new Loader(this);
    /** @type {Loader<import("../types.js").Usage>} */
    this.usage = new Loader(this);
    /** @type {Loader<import("../types.js").Page<Token>>} */
    this.tokens = new Loader(this);
    /** @type {Loader<import("../types.js").Page<import("../types.js").AuditEvent>>} */
    this.activity = new Loader(this);
    this.activityOf = "";
  }

  get path() {
    return `api-keys/${encodeURIComponent(this.query.get("id") ?? "")}`;
  }

  /** @param {import("lit").PropertyValues} changed */
  willUpdate(changed) {
    if (changed.has("query") || changed.has("revision")) {
      this.load();
    }
    // The audit trail is asked for once it is known that the caller may read it.
    const scopes = this.app.caller?.scopes ?? [];
    if (scopes.some((scope) => scope === "activity:read" || scope === "workspace:admin")) {
      const of = `${this.query.get("id")} ${this.revision}`;
      if (of !== this.activityOf) {
        this.activityOf = of;
        this.#load(this.activity, "activity", { key_id: this.query.get("id"), limit: 20 });
      }
    }
  }

  load() {
    const from = new Date(Math.floor(Date.now() / 86_400_000 - DAYS + 1) * 86_400_000).toISOString();
    this.#load(this.key, this.path);
    this.#load(this.usage, `${this.path}/usage`, { per: "day", from });
    this.#load(this.tokens, `${this.path}/tokens`);
  }

  /** @template T @param {Loader<T>} loader @param {string} path @param {Record<string, string | number | null>} [query] */
  #load(loader, path, query) {
    return loader.run(async (signal) => (await this.app.api.request("GET", path, { query, signal })).data);
  }

  render() {
    const { value: key, problem } = this.key;
    const back = new URLSearchParams();
    const link = html`<a
      class="back"
      href=${this.app.href(back)}
      @click=${(/** @type {MouseEvent} */ event) => {
        event.preventDefault();
        this.app.go(back);
      }}
      >${icon("back")} All keys</a
    >`;
    if (key === null || key.id !== this.query.get("id")) {
      return html`${link} ${problem ? failure(problem, () => this.load()) : skeleton(8)}`;
    }
    const { now } = this.app;
    return html`${link}
      <header class="page-head">
        <div>
          <h2 tabindex="-1">${isolated(key.name)}</h2>
          <p>${keyBadges(key, now)}</p>
          ${key.description ? html`<p class="quiet text">${isolated(key.description)}</p>` : nothing}
        </div>
        <div class="row">
          ${actionsOf(this.app, key).map(
            ({ label, danger, run }) => html`<button type="button" class=${danger ? "danger" : nothing} @click=${run}>${label}</button>`,
          )}
        </div>
      </header>
      ${problemNotice(problem)}
      ${key.previous_expires_at && key.status === "active"
        ? notice(
            "warning",
            html`The old secret works until ${exactWithUtc(key.previous_expires_at)}, ${relative(key.previous_expires_at, now)}. Replace it
            in your programs before then.`,
          )
        : nothing}
      <div class="sections">
        ${this.#facts(key)} ${this.#rights(key)} ${this.#usage()} ${this.#tokens(key)} ${this.#activity()}
      </div>`;
  }

  /** @param {Key} key */
  #facts(key) {
    const { now } = this.app;
    const from = key.last_used_from ? html` from <code>${key.last_used_from}</code>` : nothing;
    return html`<section aria-labelledby="facts">
      <h3 id="facts">Key</h3>
      <dl>
        <dt>Begins with</dt>
        <dd><code>${key.prefix}</code></dd>
        <dt>Owner</dt>
        <dd>${isolated(key.user_id)}</dd>
        <dt>Created</dt>
        <dd>${fullTime(key.created_at, now, "")} by ${isolated(key.created_by)}</dd>
        <dt>Last used</dt>
        <dd>${fullTime(key.last_used_at, now, "Never used", later(key.last_used_at, now))}${from}</dd>
        <dt>Expires</dt>
        <dd>${fullTime(key.expires_at, now, "Never")}</dd>
      </dl>
    </section>`;
  }

  /** @param {Key} key */
  #rights(key) {
    const list = (/** @type {string[]} */ values, /** @type {string} */ none) =>
      values.length === 0
        ? html`<span class="quiet">${none}</span>`
        : html`<ul class="tags">
            ${values.map((value) => html`<li><code>${value}</code></li>`)}
          </ul>`;
    const windows = new Map((key.limit_windows ?? []).map((window) => [window.per, window]));
    return html`<section aria-labelledby="rights">
      <h3 id="rights">Permissions</h3>
      <dl>
        <dt>Scopes</dt>
        <dd>${list(key.scopes, "None")}</dd>
        <dt>Endpoints</dt>
        <dd>${list(key.endpoints, "Every endpoint")}</dd>
        <dt>Networks</dt>
        <dd>${list(key.networks, "Every address")}</dd>
        <dt>Call limits</dt>
        <dd>
          ${key.limits.length === 0
            ? html`<span class="quiet">Any number of calls</span>`
            : key.limits.map(({ calls, per }) => {
                const window = windows.get(per);
                return html`<p>
                  ${calls.toLocaleString()} calls per ${per}
                  ${window ? html`<span class="quiet">${window.left.toLocaleString()} left; next window ${ago(window.ends_at, this.app.now, "")}</span>` : nothing}
                </p>`;
              })}
        </dd>
        <dt>Metadata</dt>
        <dd>
          ${list(
            Object.entries(key.metadata).map(([name, value]) => `${name}=${value}`),
            "None",
          )}
        </dd>
      </dl>
    </section>`;
  }

  #usage() {
    const { value, problem } = this.usage;
    return html`<section class="wide" aria-labelledby="usage">
      <h3 id="usage">Calls <span class="quiet">in ${DAYS} days, by day of UTC</span></h3>
      ${problem ? problemNotice(problem) : value ? usageChart(value.items) : skeleton(3)}
    </section>`;
  }

  /** @param {Key} key */
  #tokens(key) {
    const { value, problem } = this.tokens;
    const may = key.can.includes("revoke_tokens");
    return html`<section class="wide" aria-labelledby="tokens">
      <h3 id="tokens">Tokens</h3>
      ${problemNotice(problem)}
      ${value === null
        ? problem
          ? nothing
          : skeleton(2)
        : value.items.length === 0
          ? html`<p class="quiet">This key has no working tokens.</p>`
          : html`<table class="events" role="table" aria-label="Tokens">
                <thead role="rowgroup">
                  <tr role="row">
                    ${["Kind", "Created", "Last used", "Expires", ""].map(
                      (text) => html`<th role="columnheader" scope="col">${text || html`<span class="visually-hidden">Actions</span>`}</th>`,
                    )}
                  </tr>
                </thead>
                <tbody role="rowgroup">
                  ${value.items.map((token) => this.#token(token, may))}
                </tbody>
              </table>
              ${value.next_cursor ? html`<p class="quiet">There are more tokens than these.</p>` : nothing}
              ${may ? html`<button type="button" class="danger" @click=${() => this.app.open("revoke-tokens", key)}>Revoke all tokens</button>` : nothing}`}
    </section>`;
  }

  /** @param {Token} token @param {boolean} may */
  #token(token, may) {
    const { now } = this.app;
    const kind = token.kind === "access_token" ? "Access token" : "Refresh token";
    return html`<tr role="row">
      <td role="cell" data-label="Kind">${kind} <span class="quiet">${token.scopes.join(", ")}</span></td>
      <td role="cell" data-label="Created">${ago(token.created_at, now, "")}</td>
      <td role="cell" data-label="Last used">${ago(token.last_used_at, now, "Never used")}</td>
      <td role="cell" data-label="Expires">${ago(token.expires_at, now, "")}</td>
      <td role="cell" class="actions">
        ${may
          ? html`<button type="button" class="link danger" aria-label="Revoke ${kind} ${token.id}" @click=${() => this.#revoke(token)}>Revoke</button>`
          : nothing}
      </td>
    </tr>`;
  }

  /** @param {Token} token */
  async #revoke(token) {
    await this.tokens.run(async (signal) => {
      await this.app.api.request("DELETE", `${this.path}/tokens/${token.id}`);
      return (await this.app.api.request("GET", `${this.path}/tokens`, { signal })).data;
    });
    if (this.tokens.problem === null) {
      this.app.announce("The token is revoked.");
    }
  }

  #activity() {
    const { value, problem } = this.activity;
    if (this.activityOf === "") {
      return nothing;
    }
    const query = new URLSearchParams({ view: "activity", key_id: this.query.get("id") ?? "" });
    return html`<section class="wide" aria-labelledby="activity">
      <h3 id="activity">Activity</h3>
      ${problemNotice(problem)}
      ${value === null ? (problem ? nothing : skeleton(3)) : value.items.length === 0 ? html`<p class="quiet">Nothing is recorded.</p>` : activityList(value.items, this.app)}
      ${value?.next_cursor
        ? html`<a
            href=${this.app.href(query)}
            @click=${(/** @type {MouseEvent} */ event) => {
              event.preventDefault();
              this.app.go(query);
            }}
            >All activity of this key</a
          >`
        : nothing}
    </section>`;
  }
}

customElements.define("keygate-key-page", KeyPage);
