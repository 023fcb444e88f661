// Failures of requests, as the rest of the page sees them.

/** @typedef {{pointer?: string, parameter?: string, header?: string, detail: string}} FieldError */

/**
 * A failed request: the API's problem document (RFC 9457), or a failure without an answer, whose status is 0 and whose code is
 * `offline`, `unreachable` or `timeout`.
 */
export class Problem extends Error {
  /**
   * @param {object} from
   * @param {number} from.status
   * @param {string} from.code
   * @param {string} [from.detail]
   * @param {FieldError[]} [from.errors]
   * @param {string} [from.keyId]
   * @param {string} [from.requestId]
   * @param {number} [from.retryAfter] Seconds.
   * @param {unknown} [from.cause]
   */
  constructor({ status, code, detail = "", errors = [], keyId, requestId, retryAfter, cause }) {
    super(`${status} ${code}`, { cause });
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.errors = errors;
    this.keyId = keyId;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  /** Whether the request may have been carried out although it failed. */
  get isAmbiguous() {
    return this.status === 0 || this.status >= 500;
  }

  /** Reads a response that is not a success. @param {Response} response */
  static async of(response) {
    const body = await response.json().catch(() => null);
    const retryAfter = Number(response.headers.get("Retry-After") ?? NaN);
    return new Problem({
      status: response.status,
      code: typeof body?.code === "string" ? body.code : "unreadable",
      detail: typeof body?.detail === "string" ? body.detail : undefined,
      errors: Array.isArray(body?.errors) ? body.errors : [],
      keyId: body?.key_id,
      requestId: body?.request_id,
      retryAfter: Number.isFinite(retryAfter) ? retryAfter : undefined,
    });
  }
}
