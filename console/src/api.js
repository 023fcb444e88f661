// Requests to the management API: credential, retries, problems.

import { Problem } from "./problem.js";

/** @typedef {{session: string, expires_at?: string | null}} Session */
/** @typedef {() => Promise<Session | string> | Session | string} GetSession */

/**
 * @typedef {object} Options
 * @property {Record<string, string | number | boolean | null | undefined>} [query] Empty values are left out.
 * @property {unknown} [body]
 * @property {string | null} [ifMatch] The ETag of the key as it was shown.
 * @property {string} [idempotencyKey] Makes a repetition of a create or rotate safe.
 * @property {AbortSignal} [signal]
 */

const TIMEOUT = 30_000;
const ATTEMPTS = 3;
/** A session is renewed this long before its end, so that it does not end on the way. */
const MARGIN = 10_000;

export class Api {
  /** @type {Session | null} */
  #session = null;
  /** @type {Promise<Session> | null} */
  #renewal = null;
  #wasIn = false;

  /**
   * @param {object} from
   * @param {string} from.base The base URL of the management API, absolute.
   * @param {GetSession} from.getSession
   * @param {typeof globalThis.fetch} [from.fetch]
   * @param {(wasIn: boolean) => void} [from.onSignedOut] Called when there is no session that the API takes, with whether it ever
   *   took one.
   * @param {(milliseconds: number) => Promise<void>} [from.wait]
   */
  constructor({ base, getSession, fetch = globalThis.fetch.bind(globalThis), onSignedOut = () => {}, wait = sleep }) {
    this.base = base.endsWith("/") ? base : `${base}/`;
    this.getSession = getSession;
    this.fetch = fetch;
    this.onSignedOut = onSignedOut;
    this.wait = wait;
  }

  /**
   * Sends a request and returns the JSON of its response and its ETag.
   *
   * Repeats it up to twice where that is safe: if API Gateway throttled it, and, for reads and requests with an
   * `Idempotency-Key`, if there was no answer or a temporary failure. A 401 is repeated once, with a new session.
   *
   * @param {string} method @param {string} path Without a leading slash. @param {Options} [options]
   * @returns {Promise<{data: any, etag: string | null}>}
   * @throws {Problem} if the request failed. @throws {DOMException} AbortError, if `signal` ended it.
   */
  async request(method, path, options = {}) {
    try {
      const answer = await this.#repeat(method, path, options);
      this.#wasIn = true;
      return answer;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        this.onSignedOut(this.#wasIn);
      }
      throw error;
    }
  }

  /** @param {string} method @param {string} path @param {Options} options */
  async #repeat(method, path, options) {
    const repeatable = method === "GET" || options.idempotencyKey !== undefined;
    let renewed = false;
    for (let attempt = 1; ; attempt += 1) {
      const session = await this.#current();
      try {
        return await this.#send(method, path, options, session);
      } catch (error) {
        if (!(error instanceof Problem) || options.signal?.aborted) {
          throw error;
        }
        if (error.status === 401 && !renewed) {
          renewed = true;
          if ((await this.#renew()).session === session.session) {
            throw error;
          }
          continue;
        }
        const retry = error.status === 429 || (repeatable && (error.status === 0 || error.status >= 502));
        if (!retry || attempt >= ATTEMPTS || error.code === "offline") {
          throw error;
        }
        await this.wait(Math.min(1000 * (error.retryAfter ?? 0.5 * attempt), 5000));
      }
    }
  }

  /** Takes another credential: a key that rotated itself is its own successor. @param {string} credential */
  continueWith(credential) {
    this.#session = { session: credential };
  }

  /** @param {string} method @param {string} path @param {Options} options @param {Session} session */
  async #send(method, path, { query, body, ifMatch, idempotencyKey, signal }, session) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null && value !== "") {
        url.searchParams.set(name, String(value));
      }
    }
    const headers = new Headers({ Authorization: `Bearer ${session.session}`, Accept: "application/json" });
    if (body !== undefined) {
      headers.set("Content-Type", "application/json");
    }
    if (ifMatch) {
      headers.set("If-Match", ifMatch);
    }
    if (idempotencyKey !== undefined) {
      headers.set("Idempotency-Key", idempotencyKey);
    }
    const timeout = AbortSignal.timeout(TIMEOUT);
    try {
      const response = await this.fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
      if (!response.ok) {
        throw await Problem.of(response);
      }
      const data = response.status === 204 ? null : await response.json();
      return { data, etag: response.headers.get("ETag") };
    } catch (error) {
      if (error instanceof Problem || signal?.aborted) {
        throw error;
      }
      throw new Problem({ status: 0, code: timeout.aborted ? "timeout" : unreachable(), cause: error });
    }
  }

  async #current() {
    const session = this.#session;
    const ends = session?.expires_at ? Date.parse(session.expires_at) : Infinity;
    return session && ends - Date.now() > MARGIN ? session : this.#renew();
  }

  /** One renewal serves all requests that wait for it. */
  #renew() {
    this.#renewal ??= (async () => {
      try {
        const given = await this.getSession();
        this.#session = typeof given === "string" ? { session: given } : given;
        if (typeof this.#session?.session !== "string" || this.#session.session === "") {
          throw new Problem({ status: 401, code: "no_session" });
        }
        return this.#session;
      } catch (error) {
        this.#session = null;
        throw error instanceof Problem ? error : new Problem({ status: 401, code: "no_session", cause: error });
      } finally {
        this.#renewal = null;
      }
    })();
    return this.#renewal;
  }
}

function unreachable() {
  return globalThis.navigator?.onLine === false ? "offline" : "unreachable";
}

/** @param {number} milliseconds @returns {Promise<void>} */
function sleep(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** A new `Idempotency-Key`: 16 random bytes. The secret of the key is derived with it, so it must not be guessable. */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
