// Serves the page as the deployed function does, built anew for each load, and passes all else on to the management API, so that
// both have one origin: `KEYGATE_API_URL=… npm run dev`. SIGN_IN can have the configuration of an identity provider, as JSON.
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { build } from "./build.mjs";

const api = process.env.KEYGATE_API_URL;
if (!api) {
  throw new Error("Set KEYGATE_API_URL to the management API, for example from .local/env.");
}
const signIn = JSON.parse(process.env.SIGN_IN ?? "null");
const dist = new URL("dist/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8" };
const connect = signIn ? ` ${new URL(signIn.token_endpoint).origin}` : "";
const CSP =
  `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'${connect}; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
async function serve(request, response) {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  if (pathname === "/console") {
    await build();
    const config = JSON.stringify({ sign_in: signIn }).replaceAll("<", "\\u003c");
    const page = (await readFile(new URL("index.html", dist), "utf8")).replace("__KEYGATE_CONFIG__", () => config);
    response.writeHead(200, { "Content-Type": TYPES.html, "Content-Security-Policy": CSP }).end(page);
  } else if (pathname.startsWith("/console/") && (await readdir(dist)).includes(pathname.slice(9))) {
    response.writeHead(200, { "Content-Type": TYPES.js }).end(await readFile(new URL(pathname.slice(9), dist)));
  } else {
    await pass(request, response);
  }
}

/** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
async function pass(request, response) {
  /** @type {Buffer[]} */
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  const headers = new Headers();
  for (const name of ["authorization", "content-type", "if-match", "idempotency-key", "accept"]) {
    const value = request.headers[name];
    if (typeof value === "string") {
      headers.set(name, value);
    }
  }
  const body = chunks.length ? Buffer.concat(chunks).toString() : undefined;
  const answer = await fetch(`${api}${request.url}`, { method: request.method, headers, body });
  response.writeHead(answer.status, Object.fromEntries([...answer.headers].filter(([name]) => !/^(content-(encoding|length)|transfer|connection|keep-alive)/.test(name))));
  response.end(Buffer.from(await answer.arrayBuffer()));
}

const port = Number(process.env.PORT ?? 8377);
createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.writeHead(502).end();
  });
}).listen(port, "127.0.0.1", () => console.log(`http://localhost:${port}/console`));
