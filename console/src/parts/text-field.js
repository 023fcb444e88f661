// A line of text with its label, a help and what is wrong with it.

import { html } from "lit";
import { valueOf } from "./part.js";

/**
 * @typedef {object} TextField
 * @property {string} id
 * @property {string} label
 * @property {string} value
 * @property {number} max The longest value, in characters.
 * @property {(value: string) => void} input Called when the value changes.
 * @property {string} [help]
 * @property {string} [error]
 * @property {boolean} [required]
 */

/** @param {TextField} field */
export function textField({ id, label, value, max, input, help = "", error = "", required = false }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input
      id=${id}
      type="text"
      dir="auto"
      autocomplete="off"
      spellcheck="false"
      maxlength=${max}
      aria-invalid=${Boolean(error)}
      aria-describedby="${id}-help ${id}-error"
      ?required=${required}
      .value=${value}
      @input=${(/** @type {Event} */ event) => input(valueOf(event))}
    />
    <p class="help" id="${id}-help">${help}</p>
    <p class="error" id="${id}-error">${error}</p>
  </div>`;
}
