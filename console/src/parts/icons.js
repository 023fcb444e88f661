// Icons of 16 by 16, drawn with lines. They decorate text, so screen readers skip them.

import { html, svg } from "lit";

const SHAPES = {
  key: svg`<circle cx="5.5" cy="10.5" r="3"/><path d="m7.7 8.3 5.8-5.8M11 5l2 2"/>`,
  plus: svg`<path d="M8 3v10M3 8h10"/>`,
  close: svg`<path d="m4 4 8 8m0-8-8 8"/>`,
  more: svg`<path d="M3.5 8h.01M8 8h.01M12.5 8h.01" stroke-width="2.4"/>`,
  search: svg`<circle cx="7" cy="7" r="4"/><path d="m10 10 3.5 3.5"/>`,
  up: svg`<path d="M8 12.5v-9M4.5 7 8 3.5 11.5 7"/>`,
  down: svg`<path d="M8 3.5v9M4.5 9 8 12.5 11.5 9"/>`,
  back: svg`<path d="M12.5 8h-9M7 4.5 3.5 8 7 11.5"/>`,
  next: svg`<path d="M3.5 8h9M9 4.5 12.5 8 9 11.5"/>`,
  active: svg`<circle cx="8" cy="8" r="5.5"/><path d="m5.5 8.2 1.7 1.7 3.3-3.6"/>`,
  soon: svg`<circle cx="8" cy="8" r="5.5"/><path d="M8 5v3.2l2 1.3"/>`,
  expired: svg`<circle cx="8" cy="8" r="5.5"/><path d="m6 6 4 4m0-4-4 4"/>`,
  disabled: svg`<circle cx="8" cy="8" r="5.5"/><path d="m4.2 11.8 7.6-7.6"/>`,
  unused: svg`<path d="M12.9 9.6A5.5 5.5 0 0 1 6.4 3.1a5.5 5.5 0 1 0 6.5 6.5Z"/>`,
  warning: svg`<path d="M8 2.5 14 13H2L8 2.5ZM8 6.5v3M8 11.2v.01"/>`,
  info: svg`<circle cx="8" cy="8" r="5.5"/><path d="M8 7.5v3M8 5.3v.01"/>`,
  lock: svg`<rect x="3.5" y="7" width="9" height="6" rx="1"/><path d="M5.5 7V5a2.5 2.5 0 0 1 5 0v2"/>`,
  copy: svg`<rect x="5.5" y="5.5" width="7.5" height="7.5" rx="1.2"/><path d="M3.5 10.2V4a1 1 0 0 1 1-1h6"/>`,
  check: svg`<path d="m3.5 8.5 3 3 6-7"/>`,
  download: svg`<path d="M8 3v7M5 7.2l3 3 3-3M3 13h10"/>`,
};

/** @param {string} name */
export function icon(name) {
  const shape = SHAPES[/** @type {keyof typeof SHAPES} */ (name)];
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">${shape}</svg>`;
}
