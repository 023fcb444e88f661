// The stack that the tests run against: its addresses, and what a test needs in it before a browser comes.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A variable that `make console-tests` sets. */
export function variable(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: run the tests by \`make console-tests\``);
  }
  return value;
}

export const API = variable("KEYGATE_API_URL");
export const PAGE = `${API}/console`;
export const ISSUER = variable("KEYGATE_OIDC_ISSUER");

let number = 0;
/** A name that no other test and no earlier run has. */
export function unique(prefix) {
  number += 1;
  return `${prefix}-${Date.now().toString(36)}${process.pid.toString(36)}${number}`;
}

/** The last tests of a whole run search tables and logs for the secret of this credential, which ends in a checksum. */
export function rememberSecret(credential) {
  const folder = join(dirname(variable("KEYGATE_CALLS_LOG")), "tests");
  mkdirSync(folder, { recursive: true });
  appendFileSync(join(folder, "secrets"), `${credential.slice(-49, -6)}\n`);
}

/** Sends a request to the management API; a status of 400 or more is an error. */
export async function call(method, path, credential, body, headers = {}) {
  const response = await fetch(API + path, {
    method,
    headers: {
      ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`${method} ${path}: ${response.status} ${text}`);
  }
  return text ? JSON.parse(text) : null;
}

/** Invokes a function of the stack, whose name is the value of the variable. */
async function invoke(function_, event) {
  const url = `${variable("AWS_ENDPOINT_URL")}/2015-03-31/functions/${variable(function_)}/invocations`;
  const response = await fetch(url, { method: "POST", body: JSON.stringify(event) });
  return response.json();
}

/** Sends an operation to the database itself. The tests' database takes every signature. */
export async function database(operation, input) {
  const response = await fetch(variable("KEYGATE_DYNAMODB_URL"), {
    method: "POST",
    headers: {
      "Content-Type": "application/x-amz-json-1.0",
      "X-Amz-Target": `DynamoDB_20120810.${operation}`,
      Authorization: `AWS4-HMAC-SHA256 Credential=${variable("AWS_ACCESS_KEY_ID")}/20260101/${variable("AWS_REGION")}/dynamodb/aws4_request, SignedHeaders=host, Signature=0`,
    },
    body: JSON.stringify(input),
  });
  const output = await response.json();
  if (!response.ok) {
    throw new Error(`${operation}: ${JSON.stringify(output)}`);
  }
  return output;
}

/** A batch of BatchWriteItem has at most so many requests. */
const BATCH = 25;

/** Sends requests of BatchWriteItem, eight batches at a time. */
async function writeAll(table, requests) {
  const starts = [...Array(Math.ceil(requests.length / BATCH)).keys()].map((number) => number * BATCH);
  const worker = async () => {
    for (let start = starts.pop(); start !== undefined; start = starts.pop()) {
      const RequestItems = { [table]: requests.slice(start, start + BATCH) };
      const { UnprocessedItems } = await database("BatchWriteItem", { RequestItems });
      if (Object.keys(UnprocessedItems).length > 0) {
        throw new Error(`${table}: ${JSON.stringify(UnprocessedItems)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/**
 * Stores copies of a key of the workspace, with ids and names of their own, which nothing but the list of keys knows. The test
 * removes them in the end, because the tables of a whole run have to fit together.
 */
export async function manyKeys(workspace, number) {
  const { id } = await workspace.key({ name: "Many", user_id: "svc:many" });
  const [keys, usage] = [variable("KEYGATE_KEYS_TABLE"), variable("KEYGATE_USAGE_TABLE")];
  const read = async (TableName, Key) => (await database("GetItem", { TableName, Key, ConsistentRead: true })).Item;
  const key = await read(keys, { key_id: { S: id } });
  const lastUse = await read(usage, { key_id: { S: id }, entry: { S: "LAST" } });
  // An id is one of Crockford's base 32. Those with other last letters sort beside the copied one.
  const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const serial = (index) => [2, 1, 0].map((place) => digits[Math.floor(index / 32 ** place) % 32]).join("");
  const ids = [...Array(number).keys()].map(serial).map((end) => ({ S: id.slice(0, -3) + end })).filter(({ S }) => S !== id);
  const put = (Item) => ({ PutRequest: { Item } });
  const name = ({ S }) => `many ${S.slice(-3)}`;
  await writeAll(
    keys,
    ids.map((key_id) => put({ ...key, key_id, name: { S: name(key_id) }, name_folded: { S: name(key_id).toLowerCase() } })),
  );
  await writeAll(usage, ids.map((key_id) => put({ ...lastUse, key_id })));
  return {
    remove: async () => {
      await writeAll(keys, ids.map((key_id) => ({ DeleteRequest: { Key: { key_id } } })));
      await writeAll(usage, ids.map((key_id) => ({ DeleteRequest: { Key: { key_id, entry: { S: "LAST" } } } })));
    },
  };
}

/** A workspace of a test's own. */
export class Workspace {
  /** @param {string} id @param {string} admin */
  constructor(id, admin) {
    this.id = id;
    this.admin = admin;
  }

  static async create() {
    const id = unique("page");
    const bootstrap = { workspace_id: id, user_id: "admin", name: "first" };
    const created = await invoke("KEYGATE_CREATE_KEY_FUNCTION", { bootstrap });
    if (!created.key) {
      throw new Error(`bootstrap of ${id}: ${JSON.stringify(created)}`);
    }
    rememberSecret(created.key);
    return new Workspace(id, created.key);
  }

  /** Creates a key, and returns it with its secret. */
  async key(fields) {
    const created = await call("POST", "/api-keys", this.admin, { name: unique("key"), ...fields });
    rememberSecret(created.key);
    return created;
  }

  /** Imports a legacy key of a user, and returns its text. */
  async legacyKey(user_id, name) {
    const key = `old-${randomBytes(16).toString("hex")}`;
    const event = { import: { workspace_id: this.id, keys: [{ key, user_id, name, scopes: [] }] } };
    const { imported } = await invoke("KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION", event);
    if (imported !== 1) {
      throw new Error(`no legacy key of ${user_id} was imported`);
    }
    rememberSecret(key);
    return key;
  }

  /** Trades a key with the scope `orders:read` for an access token and a refresh token. */
  async tokens({ id, key }) {
    const response = await fetch(`${variable("KEYGATE_OAUTH_URL")}/oauth/token`, {
      method: "POST",
      headers: { Authorization: `Basic ${Buffer.from(`${id}:${key}`).toString("base64")}` },
      body: new URLSearchParams({ grant_type: "client_credentials", scope: "orders:read offline_access" }),
    });
    const tokens = await response.json();
    if (!response.ok) {
      throw new Error(`POST /oauth/token: ${response.status} ${JSON.stringify(tokens)}`);
    }
    rememberSecret(tokens.access_token);
    rememberSecret(tokens.refresh_token);
    return tokens;
  }

  /** The address of the page with a code, for a session of a user. */
  async pageAddress(user, scopes = ["keys:write", "orders:read"]) {
    this.opener ??= (await this.key({ user_id: "svc:backend", scopes: ["sessions:write", "keys:write", "orders:read"] })).key;
    const opened = await call("POST", "/sessions", this.opener, { user_id: user, scopes });
    rememberSecret(opened.session);
    return PAGE + new URL(opened.page_url).hash;
  }
}

/** Runs infra/examples/embed on an origin that the test stack allows, and returns its address and how to end it. */
export async function embed(openerKey) {
  const origin = variable("KEYGATE_CORS_ALLOW_ORIGINS").split(",").find((listed) => listed.startsWith("http://localhost:"));
  const { port } = new URL(origin);
  const server = spawn(process.execPath, [join(ROOT, "infra/examples/embed/server.mjs")], {
    env: { PATH: process.env.PATH, KEYGATE_API_URL: API, KEYGATE_OPENER_KEY: openerKey, PORT: port },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(server, "exit");
  await Promise.race([
    once(server.stdout, "data"),
    ended.then(([code]) => {
      throw new Error(`the example backend ended with ${code}: port ${port} has to be free`);
    }),
  ]);
  return {
    origin,
    stop: async () => {
      server.kill();
      await ended;
    },
  };
}
