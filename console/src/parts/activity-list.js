// Events of the audit trail, newest first.

import { html, nothing } from "lit";
import { actionName, fieldName, reasonText } from "../messages.js";
import { exactWithUtc, relative } from "../times.js";
import { badge, isolated } from "./show.js";

/** @param {import("../types.js").AuditEvent[]} events @param {import("./part.js").App} app */
export function activityList(events, app) {
  return html`<table class="events" role="table" aria-label="Activity">
    <thead role="rowgroup">
      <tr role="row">
        ${["Time", "Event", "User", "About", "From"].map((text) => html`<th role="columnheader" scope="col">${text}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${events.map(
        (event) =>
          html`<tr role="row">
            <td role="cell" data-label="Time"><time datetime=${event.at} title=${exactWithUtc(event.at)}>${relative(event.at, app.now)}</time></td>
            <td role="cell" data-label="Event">
              ${actionName(event.action)}
              ${event.outcome === "refused" ? badge("bad", "expired", "Refused") : nothing}
              ${event.count > 1 ? html`<span class="quiet">${event.count} times</span>` : nothing}
              ${event.changed.length ? html`<span class="quiet">${event.changed.map(fieldName).join(", ")}</span>` : nothing}
              ${event.reason ? html`<span class="quiet">${reasonText(event.reason)}</span>` : nothing}
              ${event.method && event.outcome !== "done" ? html`<code>${event.method} ${event.path}</code>` : nothing}
            </td>
            <td role="cell" data-label="User">
              ${isolated(event.actor)}
              ${event.opened_by && event.opened_by !== event.actor ? html`<span class="quiet">in a session of ${isolated(event.opened_by)}</span>` : nothing}
            </td>
            <td role="cell" data-label="About">${about(event, app)}</td>
            <td role="cell" data-label="From"><code>${event.source ?? "–"}</code></td>
          </tr>`,
      )}
    </tbody>
  </table>`;
}

/** @param {import("../types.js").AuditEvent} event @param {import("./part.js").App} app */
function about({ key_id: id, target, actor }, app) {
  const user = target === actor ? nothing : isolated(target);
  if (id === null) {
    return isolated(target);
  }
  const query = new URLSearchParams({ view: "key", id });
  return html`${user}
    <a
      href=${app.href(query)}
      @click=${(/** @type {MouseEvent} */ event) => {
        event.preventDefault();
        app.go(query);
      }}
      ><code>${id}</code></a
    >`;
}
