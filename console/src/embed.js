// The entry of keygate-keys.js, for pages of your own.

export { KeygateKeys } from "./keygate-keys.js";
