// Sign-in by the organisation's identity provider: OAuth 2.0 authorization code with PKCE (RFC 7636) and `state`.

/**
 * @typedef {object} Provider
 * @property {string} authorization_endpoint
 * @property {string} token_endpoint
 * @property {string} client_id
 * @property {string} scope
 * @property {string | null} resource
 * @property {"access_token" | "id_token"} token The token that the management API takes.
 */
/** @typedef {import("./api.js").Session} Session */

/** A sign-in that did not succeed, as a sentence. */
export class SignInError extends Error {}

const STORED = "keygate.sign-in";
/** An address with more than this is not restored after the sign-in: providers bound `state`. */
const MAX_VIEW = 500;

/**
 * Leaves for the provider. The verifier and the state are in sessionStorage until the return, and nothing else ever is. The
 * state carries the query of the page's address, so that a linked view opens after the sign-in.
 * @param {Provider} provider @param {Window} window
 */
export async function leave(provider, window) {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const { search } = window.location;
  const view = search.length <= MAX_VIEW ? base64url(new TextEncoder().encode(search)) : "";
  const state = `${base64url(crypto.getRandomValues(new Uint8Array(16)))}.${view}`;
  window.sessionStorage.setItem(STORED, JSON.stringify({ verifier, state }));
  const url = new URL(provider.authorization_endpoint);
  const parameters = {
    response_type: "code",
    client_id: provider.client_id,
    redirect_uri: redirectUri(window.location),
    scope: provider.scope,
    state,
    code_challenge: await challengeOf(verifier),
    code_challenge_method: "S256",
    ...(provider.resource === null ? {} : { resource: provider.resource }),
  };
  for (const [name, value] of Object.entries(parameters)) {
    url.searchParams.set(name, value);
  }
  window.location.assign(url);
}

/** @typedef {{code: string} | {error: string}} Returned */

/**
 * Takes the provider's response out of the address, before anything else can see it. Null if the address has none.
 * @param {Window} window @returns {{answer: Returned, verifier: string} | null}
 * @throws {SignInError} if the response does not belong to a sign-in of this tab.
 */
export function takeReturn(window) {
  const { location, history, sessionStorage } = window;
  const query = new URLSearchParams(location.search);
  const [code, error, state] = [query.get("code"), query.get("error"), query.get("state")];
  if (state === null || (code === null && error === null)) {
    return null;
  }
  history.replaceState(null, "", location.pathname);
  const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
  sessionStorage.removeItem(STORED);
  if (stored?.state !== state) {
    throw new SignInError("This sign-in was not started here. Sign in again.");
  }
  const view = state.slice(state.indexOf(".") + 1);
  history.replaceState(null, "", location.pathname + new TextDecoder().decode(fromBase64url(view)));
  return { answer: code !== null ? { code } : { error: error ?? "" }, verifier: stored.verifier };
}

/**
 * Exchanges the code for the token that the management API takes. Refresh tokens are dropped.
 * @param {Provider} provider @param {{answer: Returned, verifier: string}} returned @param {Location} location
 * @param {typeof globalThis.fetch} fetch @param {number} now @returns {Promise<Session>} @throws {SignInError}
 */
export async function exchange(provider, { answer, verifier }, location, fetch, now) {
  if ("error" in answer) {
    throw new SignInError(
      answer.error === "access_denied" ? "The sign-in was cancelled or refused." : "The identity provider refused the sign-in.",
    );
  }
  const body = new URLSearchParams({
    grant_type: "authorization_code",
    code: answer.code,
    redirect_uri: redirectUri(location),
    client_id: provider.client_id,
    code_verifier: verifier,
    ...(provider.resource === null ? {} : { resource: provider.resource }),
  });
  const failed = new SignInError("The identity provider did not complete the sign-in. Sign in again.");
  const response = await fetch(provider.token_endpoint, {
    method: "POST",
    body,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
  }).catch((cause) => {
    throw Object.assign(failed, { cause });
  });
  const tokens = response.ok ? await response.json().catch(() => null) : null;
  const token = tokens?.[provider.token];
  if (typeof token !== "string") {
    throw failed;
  }
  const seconds = tokens.expires_in;
  return { session: token, expires_at: typeof seconds === "number" ? new Date(now + seconds * 1000).toISOString() : null };
}

/** The page's own address: the one redirect URI that is registered with the provider. @param {Location} location */
export function redirectUri({ origin, pathname }) {
  return origin + pathname;
}

/** The S256 challenge of a verifier. @param {string} verifier */
export async function challengeOf(verifier) {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

/** @param {Uint8Array} bytes */
function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** @param {string} text */
function fromBase64url(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}
