// Runs the example for Node.js: prints the user of each allowed call, and `refused` or `failed` for the others.
//
//     node introspect.mjs <URL> <method> <path> [<address>]
//
// The backend's key and the credentials are in the environment, as KEY and TOKENS.

import { callerOf } from "../../infra/examples/introspection/introspect.mjs";

const [url, method, path, address] = process.argv.slice(2);
const secret = process.env.KEY;
for (const token of process.env.TOKENS.split(" ")) {
  const asked = callerOf({ url, id: secret.split("_")[2], secret }, token, { method, path, address });
  const caller = await asked.catch(() => ({ sub: "failed" }));
  console.log(caller?.sub ?? "refused");
}
