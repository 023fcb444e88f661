// What people paste elsewhere: a line of an .env file, and a first call.

/** The name of an environment variable for a key. @param {string} name */
export function variableName(name) {
  const words = name
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 40);
  return /^[A-Z]/.test(words) ? `${words}_API_KEY` : "API_KEY";
}

/** An .env file with the key. Its characters need no quotes. @param {string} name @param {string} key */
export function envFile(name, key) {
  return `${variableName(name)}=${key}\n`;
}

/** A command that shows who the key is. @param {string} base The base URL of the API. @param {string} key */
export function curl(base, key) {
  return `curl "${base}me" -H "Authorization: Bearer ${key}"`;
}
