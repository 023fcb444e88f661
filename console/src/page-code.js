// Sign-in by a page code, which an adopter's backend gets with `POST /sessions` and puts into the fragment.

import { Problem } from "./problem.js";

/** Takes the page code out of the address, before anything else can see it. @param {Window} window @returns {string | null} */
export function takePageCode({ location, history }) {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) {
    history.replaceState(null, "", location.pathname + location.search);
  }
  return code;
}

/**
 * Exchanges a page code for a session. The code works once, so the request is not repeated.
 * @param {string} base @param {string} code @param {typeof globalThis.fetch} fetch
 * @returns {Promise<{session: string, expires_at: string}>} @throws {Problem}
 */
export async function exchangePageCode(base, code, fetch) {
  const response = await fetch(new URL("sessions/exchange", base), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
  }).catch(() => {
    throw new Problem({ status: 0, code: "unreachable" });
  });
  if (!response.ok) {
    throw await Problem.of(response);
  }
  return response.json();
}
