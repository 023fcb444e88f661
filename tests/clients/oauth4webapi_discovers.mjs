// Finds the token endpoint by the URL of an API alone (RFC 9728), with oauth4webapi as it comes, and calls the API.
//
//     node oauth4webapi_discovers.mjs <folder of oauth4webapi> <URL of the API> <where it is deployed> [<resource>]
//
// The key is in the environment, as KEY. Any unexpected result ends the run with an error.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// What browsers and later versions of Node.js have anyway.
globalThis.crypto ??= webcrypto;

const [folder, url, deployed, resource] = process.argv.slice(2);
const oauth = await import(pathToFileURL(`${folder}/build/index.js`).href);
const api = new URL(url);
const key = process.env.KEY;
const client = { client_id: key.split("_")[2] };
const options = {
  // The local stack has neither TLS nor domains.
  [oauth.allowInsecureRequests]: true,
  [oauth.customFetch]: (address, init) => fetch(address.replace(/\/$/, "").replace(api.origin, deployed), init),
};

const described = await oauth.resourceDiscoveryRequest(api, options);
const metadata = await oauth.processResourceDiscoveryResponse(api, described);
const issuer = new URL(metadata.authorization_servers[0]);
const discovered = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...options });
const server = await oauth.processDiscoveryResponse(issuer, discovered);

const parameters = { scope: metadata.scopes_supported.join(" "), ...(resource && { resource: metadata.resource }) };
const granted = await oauth.clientCredentialsGrantRequest(
  server, client, oauth.ClientSecretBasic(key), parameters, options,
);
const { access_token: token } = await oauth.processClientCredentialsResponse(server, client, granted);
const orders = new URL("/orders", api);
const answer = await oauth.protectedResourceRequest(token, "GET", orders, undefined, null, options);
assert.equal(answer.status, 200);
console.log("the API accepted the token");
