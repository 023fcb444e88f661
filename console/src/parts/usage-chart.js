// Calls by day, as bars, and as a table for those who cannot see them.

import { html, nothing, svg } from "lit";

const [WIDTH, HEIGHT, GAP] = [600, 120, 2];

/** @param {{start: string, allowed: number, refused: number}[]} items */
export function usageChart(items) {
  const allowed = items.reduce((sum, item) => sum + item.allowed, 0);
  const refused = items.reduce((sum, item) => sum + item.refused, 0);
  const most = Math.max(1, ...items.map((item) => item.allowed + item.refused));
  const step = WIDTH / Math.max(1, items.length);
  const height = (/** @type {number} */ calls) => (calls / most) * (HEIGHT - 2);
  const day = (/** @type {string} */ start) => new Date(start).toLocaleDateString(undefined, { dateStyle: "medium", timeZone: "UTC" });
  return html`<p class="figures">
      <span><strong>${allowed.toLocaleString()}</strong> allowed</span>
      <span class=${refused ? "bad" : nothing}><strong>${refused.toLocaleString()}</strong> refused</span>
    </p>
    ${allowed + refused === 0
      ? html`<p class="quiet">No calls in this time. A call is counted some minutes after it is made.</p>`
      : html`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
            <path class="axis" d="M0 ${HEIGHT - 0.5}H${WIDTH}" />
            ${items.map((item, index) => {
              const [x, width] = [index * step + GAP / 2, step - GAP];
              const [ok, bad] = [height(item.allowed), height(item.refused)];
              return svg`<g><title>${day(item.start)}: ${item.allowed} allowed, ${item.refused} refused</title>
                <rect class="allowed" x=${x} y=${HEIGHT - ok} width=${width} height=${ok} />
                <rect class="refused" x=${x} y=${HEIGHT - ok - bad} width=${width} height=${bad} /></g>`;
            })}
          </svg>
          <details class="more">
            <summary>As a table</summary>
            <table class="events plain">
              <thead>
                <tr>
                  <th scope="col">Day</th>
                  <th scope="col">Allowed</th>
                  <th scope="col">Refused</th>
                </tr>
              </thead>
              <tbody>
                ${items
                  .filter((item) => item.allowed + item.refused > 0)
                  .map(
                    (item) =>
                      html`<tr>
                        <td>${day(item.start)}</td>
                        <td>${item.allowed.toLocaleString()}</td>
                        <td>${item.refused.toLocaleString()}</td>
                      </tr>`,
                  )}
              </tbody>
            </table>
          </details>`}`;
}
