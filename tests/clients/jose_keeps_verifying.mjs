// Verifies JWTs with jose for as long as they come.
//
//     node jose_keeps_verifying.mjs <folder of jose> <url of the keys> <issuer> <audience> <seconds that it keeps keys>
//
// Each line of the standard input is a token. For each it prints `accepted`, or `refused: ` and the reason.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// What browsers and later versions of Node.js have anyway.
globalThis.crypto ??= webcrypto;

const [folder, url, issuer, audience, seconds] = process.argv.slice(2);
const { createRemoteJWKSet, errors, jwtVerify } = await import(pathToFileURL(`${folder}/webapi/index.js`).href);
const keys = createRemoteJWKSet(new URL(url), { cacheMaxAge: Number(seconds) * 1000 });
const options = { issuer, audience, typ: "at+jwt", algorithms: ["RS256"], requiredClaims: ["exp"] };

for await (const token of createInterface({ input: process.stdin })) {
  try {
    await jwtVerify(token, keys, options);
    console.log("accepted");
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error;
    console.log(`refused: ${error.code}`);
  }
}
