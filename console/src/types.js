// The shapes of the management API, as infra/openapi.yaml describes them.

/**
 * What a caller may do with a key now. `widen` is to give it other scopes, endpoint rules or networks, more calls or a later expiry.
 * @typedef {"update" | "widen" | "rotate" | "disable" | "enable" | "delete" | "revoke_tokens"} Action
 */
/** @typedef {{calls: number, per: "second" | "minute" | "hour" | "day" | "month"}} Limit */

/**
 * @typedef {object} Key
 * @property {string} id
 * @property {string} name
 * @property {string | null} description
 * @property {string} prefix
 * @property {string} user_id
 * @property {string} created_by
 * @property {string} created_at
 * @property {string | null} expires_at
 * @property {string | null} last_used_at
 * @property {string | null} last_used_from
 * @property {"active" | "expired" | "disabled"} status
 * @property {string[]} scopes
 * @property {string[]} endpoints
 * @property {string[]} networks
 * @property {Record<string, string>} metadata
 * @property {Limit[]} limits
 * @property {Action[]} can
 * @property {string | null} [previous_expires_at] Only of a single key.
 * @property {{per: string, left: number, ends_at: string}[]} [limit_windows] Only of a single key with limits.
 */

/** @typedef {Omit<Key, "can"> & {key: string}} KeyWithCredential */
/** @template T @typedef {{items: T[], next_cursor: string | null, prev_cursor: string | null}} Page */
/** @typedef {Page<Key> & {count?: {number: number, more: boolean}}} KeyPage */

/**
 * @typedef {object} LegacyKey
 * @property {string} id
 * @property {string} name
 * @property {string} user_id
 * @property {string[]} scopes
 * @property {string} imported_at
 * @property {string | null} last_used_at
 * @property {"active" | "sunset"} status
 * @property {string} sunset
 */

/**
 * @typedef {object} Token
 * @property {string} id
 * @property {"access_token" | "refresh_token"} kind
 * @property {string[]} scopes
 * @property {string} created_at
 * @property {string} expires_at
 * @property {string | null} last_used_at
 */

/**
 * @typedef {object} AuditEvent
 * @property {string} id
 * @property {string} at
 * @property {string} actor
 * @property {string} action
 * @property {string | null} key_id
 * @property {string} target
 * @property {string | null} session_id
 * @property {string | null} opened_by
 * @property {string[]} changed
 * @property {string | null} method
 * @property {string | null} path
 * @property {string | null} source
 * @property {"done" | "allowed" | "refused"} outcome
 * @property {string | null} reason
 * @property {number} count
 */

/**
 * @typedef {object} Caller
 * @property {string} user_id
 * @property {string} workspace_id
 * @property {string} [key_id]
 * @property {string[]} scopes
 * @property {"api_key" | "access_token" | "legacy_key" | "session" | "person"} credential
 * @property {string | null} expires_at
 */

/**
 * @typedef {object} Policy
 * @property {boolean} may_create_keys
 * @property {number | null} max_lifetime_days
 * @property {{quota: number, left: number}} keys
 * @property {boolean} any_scope
 * @property {{name: string, description: string | null}[]} scopes
 * @property {boolean} limits_enforced
 * @property {string | null} legacy_sunset
 */

/** @typedef {{per: "hour" | "day", items: {start: string, allowed: number, refused: number}[]}} Usage */

/**
 * @typedef {object} Removal
 * @property {string} user_id
 * @property {string | null} transfer_to
 * @property {number} overlap_seconds
 * @property {{api_keys: number, legacy_keys: number}} found
 * @property {string | null} hint
 */

export {};
