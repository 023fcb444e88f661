// Verifies JWTs with jose as it comes.
//
//     node jose_verifies.mjs <folder of jose> <issuer> <audience>
//
// TOKENS in the environment is a JSON object with a token to accept, `good`, and an object of tokens to refuse, `bad`, by what is
// wrong with them. Any other result ends the run with an error.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// What browsers and later versions of Node.js have anyway.
globalThis.crypto ??= webcrypto;

const [folder, issuer, audience] = process.argv.slice(2);
const { createRemoteJWKSet, errors, jwtVerify } = await import(pathToFileURL(`${folder}/webapi/index.js`).href);
const { good, bad } = JSON.parse(process.env.TOKENS);

const response = await fetch(`${issuer}/.well-known/openid-configuration`);
const keys = createRemoteJWKSet(new URL((await response.json()).jwks_uri));
const options = { issuer, audience, typ: "at+jwt", algorithms: ["RS256"], requiredClaims: ["exp"] };
const verify = (token) => jwtVerify(token, keys, options);

const { payload } = await verify(good);
assert.equal(payload.sub, payload.client_id);
for (const [about, token] of Object.entries(bad)) {
  await assert.rejects(verify(token), errors.JOSEError, about);
}
console.log("every token was judged right");
