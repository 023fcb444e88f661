// What this caller may do with a key now. What they may not do is not offered.

/** @typedef {import("../types.js").Action} Action */
/** @typedef {import("./part.js").DialogKind} DialogKind */

/** @type {[Action, DialogKind, string, boolean][]} */
const ACTIONS = [
  ["update", "edit", "Edit", false],
  ["rotate", "rotate", "Rotate", false],
  ["disable", "disable", "Disable", false],
  ["enable", "enable", "Enable", false],
  ["delete", "delete", "Delete", true],
];

/** @param {import("./part.js").App} app @param {import("../types.js").Key} key */
export function actionsOf(app, key) {
  return ACTIONS.filter(([action]) => key.can.includes(action)).map(([, dialog, label, danger]) => ({
    label,
    danger,
    run: () => app.open(dialog, key),
  }));
}
