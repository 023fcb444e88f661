// Every flow of the OAuth API, run by oauth4webapi as it comes: what it takes for valid is valid.
//
//     node oauth4webapi_flows.mjs <folder of oauth4webapi> <issuer> <URL behind the authorizer>
//
// The key is in the environment, as KEY. Any unexpected result ends the run with an error.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// What browsers and later versions of Node.js have anyway.
globalThis.crypto ??= webcrypto;

const [folder, address, api] = process.argv.slice(2);
const oauth = await import(pathToFileURL(`${folder}/build/index.js`).href);
const options = { [oauth.allowInsecureRequests]: true }; // The local stack has no TLS.
const key = process.env.KEY;
const client = { client_id: key.split("_")[2] };
const issuer = new URL(address);

const statusWith = async (token) =>
  (await fetch(api, { headers: { Authorization: `Bearer ${token}` } })).status;

const discovered = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...options });
const server = await oauth.processDiscoveryResponse(issuer, discovered);

for (const authenticate of [oauth.ClientSecretBasic(key), oauth.ClientSecretPost(key)]) {
  const granted = await oauth.clientCredentialsGrantRequest(
    server, client, authenticate, { scope: "orders:read offline_access" }, options,
  );
  const tokens = await oauth.processClientCredentialsResponse(server, client, granted);
  assert.equal(tokens.token_type, "bearer");
  assert.equal(await statusWith(tokens.access_token), 200);

  // Without the key, as a less trusted part of a system would.
  const renewed = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), tokens.refresh_token, options);
  const next = await oauth.processRefreshTokenResponse(server, client, renewed);
  assert.equal(await statusWith(next.access_token), 200);

  const introspect = async (token) =>
    oauth.processIntrospectionResponse(
      server, client, await oauth.introspectionRequest(server, client, authenticate, token, options),
    );
  const told = await introspect(next.access_token);
  assert.deepEqual([told.active, told.scope, told.client_id], [true, "orders:read", client.client_id]);

  await oauth.processRevocationResponse(
    await oauth.revocationRequest(server, client, authenticate, next.access_token, options),
  );
  assert.equal((await introspect(next.access_token)).active, false);
  assert.equal(await statusWith(next.access_token), 401);
  assert.equal(await statusWith(tokens.access_token), 200);

  // Used before: the library has to recognise the error, and everything that came of the grant has ended.
  const again = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), tokens.refresh_token, options);
  await assert.rejects(oauth.processRefreshTokenResponse(server, client, again), { error: "invalid_grant" });
  assert.equal(await statusWith(tokens.access_token), 401);
}

const refused = await oauth.clientCredentialsGrantRequest(
  server, client, oauth.ClientSecretBasic("not the key"), {}, options,
);
await assert.rejects(oauth.processClientCredentialsResponse(server, client, refused), (error) => {
  assert.ok(error instanceof oauth.WWWAuthenticateChallengeError || error.error === "invalid_client", String(error));
  return true;
});
console.log("every flow succeeded");
