// What went wrong, in sentences that say what to do.

/** @typedef {import("./problem.js").Problem} Problem */

/** @type {Record<string, string>} The codes of problem documents, and those of failures without an answer. */
const SENTENCES = {
  unauthorized: "Your sign-in has ended. Sign in again.",
  no_session: "Your sign-in has ended. Sign in again.",
  forbidden: "Only administrators of the workspace may do this for other users.",
  insufficient_scope: "Your sign-in does not include the permission that this needs. Ask an administrator.",
  insufficient_endpoints: "This key would reach endpoints that you cannot reach yourself. Give it endpoint rules within yours.",
  insufficient_networks: "This key would work from networks that you are not allowed yourself. Give it networks within yours.",
  insufficient_credential: "This needs an API key with its current secret, or another kind of sign-in.",
  limited_caller: "The key that you signed in with has call limits. It cannot create or widen keys. Sign in another way.",
  limits_not_enforced: "This deployment does not enforce call limits. Remove the limits from the form.",
  caller_removed: "Your user was removed from this workspace. Ask an administrator.",
  too_many_keys: "You have too many keys to list here. Delete some through the API, or ask an administrator.",
  not_found: "It is not there any more. It may have been deleted meanwhile.",
  invalid_request: "Some fields need a correction.",
  invalid_signature: "Only GitHub may send this report, and its signature did not match.",
  invalid_page_code: "This link was used before or is too old. Open the page again from where you came.",
  name_taken: "Another key already has this name. Choose a different one.",
  quota_exceeded: "The user has as many keys as are allowed. Delete a key that is not needed, then try again.",
  user_removed: "That user was removed from the workspace and cannot have keys.",
  own_user: "You cannot remove or reinstate yourself. Ask another administrator.",
  removal_limit: "Too many unknown users have been removed from this workspace. Check the spelling of the user.",
  key_leaked: "The secret of this key was reported as leaked. Rotate the key without an overlap: that enables it.",
  conflict: "Somebody else changed this at the same moment. Look at it again, then repeat your change.",
  precondition_failed: "This key was changed after you opened it. Look at its present state, then repeat your change.",
  idempotency_conflict: "The key was made by an earlier attempt, and was changed since. Rotate it if its secret is lost.",
  idempotency_mismatch: "An earlier attempt had other values. Close this dialog, and start again.",
  payload_too_large: "This is too much for one key. Shorten the description, the rules or the metadata.",
  unsupported_media_type: "Something between this page and Keygate changed the request. Try another network, or ask an administrator.",
  throttled: "Too many requests. Wait a moment, then try again.",
  internal: "Keygate could not process this. Try again; if it persists, report the request id.",
  unavailable: "Keygate does not answer at the moment. Try again in a moment.",
  offline: "You are offline. Check your connection, then try again.",
  unreachable: "Keygate cannot be reached. Check your connection, then try again.",
  timeout: "Keygate took too long to answer. Try again.",
};

/**
 * A problem as a sentence for people; a code that is not known has the API's own text.
 * @param {Problem} problem
 */
export function sentence(problem) {
  if (problem.code === "throttled" && problem.retryAfter) {
    return `Too many requests. Try again in ${problem.retryAfter} seconds.`;
  }
  return SENTENCES[problem.code] ?? (problem.detail || `The request failed with the status ${problem.status}.`);
}

/** What to know about a change whose answer was lost. @param {Problem} problem @param {string} change Such as "The deletion". */
export function uncertain(problem, change) {
  return problem.isAmbiguous ? `${change} may have been made nevertheless. Look at the key before you repeat it.` : "";
}

/** @type {Record<string, string>} The actions of the audit trail. */
const ACTIONS = {
  "key.created": "Key created",
  "key.updated": "Key changed",
  "key.rotated": "Key rotated",
  "key.deleted": "Key deleted",
  "key.bootstrapped": "First key created",
  "key.break_glass": "Emergency key created",
  "key.used": "Call",
  "key.transferred": "Key handed over",
  "key.leaked": "Leaked credential ended",
  "key.expiring": "Key expires soon",
  "key.expired": "Key expired",
  "key.overlap_ended": "Old secret ended",
  "key.unused": "Key unused",
  "key.purged": "Expired key removed",
  "token.issued": "Token issued",
  "token.refreshed": "Token refreshed",
  "token.revoked": "Token revoked",
  "token.reused": "Refresh token reused",
  "user.removed": "User removed",
  "user.reinstated": "User reinstated",
  "session.opened": "Session opened",
  "session.exchanged": "Session started on the page",
  "session.ended": "Session ended",
  "legacy.imported": "Legacy key imported",
  "legacy.deleted": "Legacy key deleted",
};

/** @type {Record<string, string>} The fields of a key whose names alone would mislead. */
const FIELDS = { disabled: "disabled or enabled", endpoints: "endpoint rules", expires_at: "expiry", limits: "call limits" };

/** @type {Record<string, string>} Why a call was refused, if the word in the trail does not say it. */
const REASONS = {
  wrong_secret: "wrong secret",
  refresh_token: "a refresh token instead of an access token",
  session: "a session instead of a key",
  sunset: "after the sunset of legacy keys",
  removed: "its user was removed",
  nowhere_to_use: "no endpoint is left to it",
  outside_networks: "from outside its networks",
  outside_endpoints: "not among its endpoint rules",
  limit_exceeded: "over its call limit",
  limits_not_enforced: "call limits are not enforced here",
};

/** The name of a field of a key. @param {string} field */
export function fieldName(field) {
  return FIELDS[field] ?? field;
}

/** A reason of the trail; a new one is shown as it is. @param {string} reason */
export function reasonText(reason) {
  return REASONS[reason] ?? reason;
}

export const ACTION_NAMES = Object.keys(ACTIONS);

/** The name of an action; a new one is shown as it is. @param {string} action */
export function actionName(action) {
  return ACTIONS[action] ?? action;
}
