// Signs a person in at an OpenID Connect provider with oauth4webapi as it comes: an authorization code with PKCE, whose response
// and ID token the library verifies. Prints the tokens as JSON.
//
//     node sign_in.mjs <folder of oauth4webapi> <issuer> <client id> <redirect URI> <resource>
//
// What the person enters on the login page is in the environment, as FORM. The certificate of the provider's root is
// NODE_EXTRA_CA_CERTS.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

// What browsers and later versions of Node.js have anyway.
globalThis.crypto ??= webcrypto;

const [folder, address, clientId, redirectUri, resource] = process.argv.slice(2);
const oauth = await import(pathToFileURL(`${folder}/build/index.js`).href);
const client = { client_id: clientId };
const issuer = new URL(address);
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer));

const verifier = oauth.generateRandomCodeVerifier();
const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()];
const request = new URL(server.authorization_endpoint);
request.search = new URLSearchParams({
  response_type: "code",
  client_id: clientId,
  redirect_uri: redirectUri,
  scope: "openid",
  resource,
  state,
  nonce,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
});

// A browser: it follows redirects, keeps cookies, and sends the form of the login page.
const cookies = new Map();
let [next, form] = [request, undefined];
while (!next.href.startsWith(`${redirectUri}?`)) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const page = await fetch(next, {
    method: form ? "POST" : "GET", body: form, headers: { cookie }, redirect: "manual",
  });
  for (const line of page.headers.getSetCookie()) {
    const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
    cookies.set(name, value);
  }
  const location = page.headers.get("location");
  if (location) {
    [next, form] = [new URL(location, next), undefined];
  } else {
    assert.equal(page.status, 200, await page.text());
    assert.equal(form, undefined, "the login page, a second time");
    form = new URLSearchParams(process.env.FORM);
  }
}

const parameters = oauth.validateAuthResponse(server, client, next, state);
const granted = await oauth.authorizationCodeGrantRequest(
  server, client, oauth.None(), parameters, redirectUri, verifier,
);
const tokens = await oauth.processAuthorizationCodeResponse(server, client, granted, {
  expectedNonce: nonce, requireIdToken: true,
});
await oauth.validateApplicationLevelSignature(server, granted);
console.log(JSON.stringify(tokens));
