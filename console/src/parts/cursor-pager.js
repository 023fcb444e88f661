// Previous and Next of a list whose length is not known.

import { html, nothing } from "lit";
import { icon } from "./icons.js";

/** @param {import("../types.js").Page<unknown>} page @param {string} label @param {(cursor: string) => void} go */
export function cursorPager({ next_cursor: next, prev_cursor: previous }, label, go) {
  if (next === null && previous === null) {
    return nothing;
  }
  return html`<nav class="pager" part="pager" aria-label=${label}>
    <span class="row">
      <button type="button" ?disabled=${previous === null} @click=${() => go(previous ?? "")}>${icon("back")} Previous</button>
      <button type="button" ?disabled=${next === null} @click=${() => go(next ?? "")}>Next ${icon("next")}</button>
    </span>
  </nav>`;
}
