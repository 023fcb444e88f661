// An OpenID Connect provider, as an adopter has one: oidc-provider with a login page on which any user name signs in.
//
//     node identity_provider.mjs --modules FOLDER --certificates FOLDER --keys FILE --port N --redirect-uri URL
//                                [--algorithm ES256] [--token-seconds N]
//
// It issues JWT access tokens (RFC 9068) for the audience that a client names as `resource` (RFC 8707), to one public client that
// uses an authorization code with PKCE. Its signing keys are those of the file, which it makes if there is none; the one for ES256 also
// stands for GitHub's, at /github/keys. It prints each request that it gets.

import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const options = {
  modules: { type: "string" },
  certificates: { type: "string" },
  keys: { type: "string" },
  port: { type: "string" },
  "redirect-uri": { type: "string" },
  algorithm: { type: "string", default: "RS256" },
  "token-seconds": { type: "string", default: "600" },
};
const { modules, certificates, keys, port, algorithm, ...more } = parseArgs({ options }).values;
const library = pathToFileURL(`${modules}/node_modules/oidc-provider/lib/index.js`).href;
const { default: Provider, errors } = await import(library);

const CLIENT = "keygate-console";
// Those of Keygate, and of an API that has nothing to do with it.
const AUDIENCES = ["https://keys.example.com", "https://orders.example.com"];

// The claims of everyone who has signed in, by user id.
const people = new Map();

const claims = ({ groups, workspace }) => ({ groups: groups.split(/\s+/).filter(Boolean), workspace });

// The client is the issuer's own, so nobody is asked for consent.
const grantEverything = async ({ oidc }) => {
  const { client, session } = oidc;
  const grant = new oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope("openid");
  for (const audience of AUDIENCES) grant.addResourceScope(audience, "openid");
  await grant.save();
  return grant;
};

const provider = new Provider(`https://127.0.0.1:${port}`, {
  clients: [{
    client_id: CLIENT,
    redirect_uris: [more["redirect-uri"]],
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code"],
    response_types: ["code"],
    id_token_signed_response_alg: algorithm,
  }],
  jwks: { keys: signingKeys() },
  cookies: { keys: [randomBytes(32).toString("base64url")] },
  pkce: { required: () => true },
  claims: { openid: ["sub", "groups", "workspace"] },
  conformIdTokenClaims: false,
  findAccount: (_, sub) => people.has(sub) && { accountId: sub, claims: () => ({ sub, ...people.get(sub) }) },
  loadExistingGrant: grantEverything,
  extraTokenClaims: (_, token) => people.get(token.accountId),
  clientBasedCORS: (_, origin, client) => client.redirectUris.some((uri) => new URL(uri).origin === origin),
  interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
  ttl: { AccessToken: Number(more["token-seconds"]), IdToken: Number(more["token-seconds"]) },
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        if (!AUDIENCES.includes(resource)) throw new errors.InvalidTarget();
        const accessTokenTTL = Number(more["token-seconds"]);
        const jwt = { sign: { alg: algorithm } };
        return { audience: resource, scope: "", accessTokenFormat: "jwt", accessTokenTTL, jwt };
      },
    },
  },
});

function signingKeys() {
  if (!existsSync(keys)) {
    const pairs = [["RS256", "rsa", { modulusLength: 2048 }], ["ES256", "ec", { namedCurve: "P-256" }]];
    const made = pairs.map(([alg, type, form]) => {
      const jwk = generateKeyPairSync(type, form).privateKey.export({ format: "jwk" });
      return { ...jwk, kid: randomUUID(), use: "sig", alg };
    });
    writeFileSync(keys, JSON.stringify(made), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(keys, "utf8"));
}

const LOGIN = `<!doctype html>
<html lang="en">
  <head><meta charset="utf-8"><title>Sign in</title></head>
  <body>
    <h1>Sign in</h1>
    <form method="post">
      <p><label>User <input name="user" required autofocus></label></p>
      <p><label>Groups <input name="groups" value="admins"></label></p>
      <p><label>Workspace <input name="workspace" value="acme"></label></p>
      <p><button>Sign in</button></p>
    </form>
  </body>
</html>
`;

async function login(request, response) {
  await provider.interactionDetails(request, response); // which fails if there is none
  if (request.method !== "POST") {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(LOGIN);
    return;
  }
  const { user, ...told } = Object.fromEntries(new URLSearchParams(await text(request)));
  people.set(user, claims(told));
  await provider.interactionFinished(request, response, { login: { accountId: user } });
}

// As GitHub publishes the keys with which it signs reports of leaked credentials.
function githubKeys(response) {
  const published = signingKeys().filter(({ alg }) => alg === "ES256").map(({ kid, ...jwk }) => {
    const key = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
    return { key_identifier: kid, key, is_current: true };
  });
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ public_keys: published }));
}

const answer = provider.callback();
const tls = { key: readFileSync(`${certificates}/key.pem`), cert: readFileSync(`${certificates}/certificate.pem`) };
createServer(tls, (request, response) => {
  const { pathname } = new URL(request.url, provider.issuer);
  console.log(`${request.method} ${pathname}`);
  if (pathname === "/github/keys") {
    githubKeys(response);
    return;
  }
  if (!pathname.startsWith("/login/")) {
    answer(request, response);
    return;
  }
  login(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(`${error.message}\n`);
  });
}).listen(Number(port), "127.0.0.1");
