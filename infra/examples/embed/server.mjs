// A product whose users manage their API keys on a page of its own, with the web component <keygate-keys>. Node.js 18 or newer, without
// packages. docs/console.md shows how to run it.
//
// Replace the sign-in by yours: this one takes everyone's word for who they are.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";

const { KEYGATE_API_URL: api, KEYGATE_OPENER_KEY: opener, PORT: port = "5173" } = process.env;
if (!api || !opener) {
  throw new Error("set KEYGATE_API_URL, and KEYGATE_OPENER_KEY to a key with sessions:write and the scopes of its sessions");
}

/** The signed-in users, by the value of their cookie. */
const users = new Map();

const html = (body) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>API keys - Example</title>
${body}
`;
const SIGN_IN = html(`<main><h1>Sign in</h1>
<form method="post" action="/sign-in"><label>Email <input name="user" type="email" required></label> <button>Sign in</button></form></main>`);
const KEYS = html(`<script type="module" src="${api}/console/keygate-keys.js"></script>
<script type="module" src="/page.js"></script>
<header><h1>Example</h1></header>
<main><keygate-keys api="${api}"></keygate-keys></main>`);
const SCRIPT = `document.querySelector("keygate-keys").getSession = async () => {
  const response = await fetch("/keygate-session", { method: "POST" });
  if (!response.ok) {
    throw new Error("your product could not open a session");
  }
  return response.json();
};
`;
// The page may load the component and call the management API.
const POLICY = [
  "default-src 'none'",
  `script-src 'self' ${api}/console/keygate-keys.js`,
  `connect-src 'self' ${api}/`,
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

/** Opens a session, with which `user` manages their own keys for a quarter of an hour. */
async function openSession(user) {
  const response = await fetch(`${api}/sessions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${opener}`, "Content-Type": "application/json" },
    body: JSON.stringify({ user_id: user, scopes: ["keys:write", "orders:read"], ttl_seconds: 900 }),
  });
  if (!response.ok) {
    throw new Error(`POST /sessions: ${response.status} ${await response.text()}`);
  }
  const { session, expires_at } = await response.json();
  return { session, expires_at };
}

async function respond(request, response) {
  const send = (status, type, body, headers = {}) =>
    response.writeHead(status, { "Content-Type": type, "Cache-Control": "no-store", ...headers }).end(body);
  const user = users.get(/(?:^|; )sid=([^;]+)/.exec(request.headers.cookie ?? "")?.[1]);
  switch (`${request.method} ${request.url.split("?")[0]}`) {
    case "GET /":
      return send(200, "text/html; charset=utf-8", user ? KEYS : SIGN_IN, { "Content-Security-Policy": POLICY });
    case "GET /page.js":
      return send(200, "text/javascript; charset=utf-8", SCRIPT);
    case "POST /sign-in": {
      const form = new URLSearchParams(Buffer.concat(await request.toArray()).toString());
      const id = randomBytes(16).toString("base64url");
      users.set(id, form.get("user"));
      return send(303, "text/plain", "", { Location: "/", "Set-Cookie": `sid=${id}; HttpOnly; SameSite=Strict; Path=/` });
    }
    case "POST /keygate-session":
      return user
        ? send(200, "application/json", JSON.stringify(await openSession(user)))
        : send(401, "application/json", "{}");
    default:
      return send(404, "text/plain", "not found");
  }
}

createServer((request, response) => {
  respond(request, response).catch((error) => {
    console.error(error.message);
    response.writeHead(502).end();
  });
}).listen(Number(port), "localhost", () => console.log(`http://localhost:${port}`));
