// Evaluates calls by the statements of IAM policies, by iam-simulate.
//
//     node evaluate.mjs <folder of iam-simulate> < {"policies": [[statement]], "calls": [{policy, action, resource, context}]}
//
// The policy of a KMS key is taken to delegate to IAM, as those in the template do: without that no role could use the key.
//
// Prints a list with one object for each call. `outcome` is "allowed", "denied", or "error" where AWS has no such action or
// the action does not apply to the resource. `ignored` has the condition keys that AWS does not list for the action.

import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const library = `${folder}/node_modules/@cloud-copilot/iam-simulate/dist/esm/index.js`;
const { runSimulation } = await import(pathToFileURL(library).href);

const { policies, calls } = JSON.parse(await text(process.stdin));
const documents = policies.map((statements) => ({ Version: "2012-10-17", Statement: statements }));
const keyPolicy = {
  Version: "2012-10-17",
  Statement: [
    { Effect: "Allow", Principal: { AWS: "arn:aws:iam::000000000000:root" }, Action: "kms:*", Resource: "*" },
  ],
};
const results = [];
for (const { policy, action, resource, context } of calls) {
  const simulated = await runSimulation(
    {
      request: {
        principal: "arn:aws:iam::000000000000:role/evaluated",
        action,
        resource: { resource, accountId: "000000000000" },
        contextVariables: context,
      },
      identityPolicies: [{ name: "evaluated", policy: documents[policy] }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: action.startsWith("kms:") ? keyPolicy : undefined,
    },
    { simulationMode: "Strict" },
  );
  if (simulated.resultType === "error") {
    results.push({ outcome: "error", ignored: [] });
    continue;
  }
  const evaluated = simulated.resultType === "single" ? [simulated.result] : simulated.results;
  const ignored = new Set(evaluated.flatMap((result) => result.ignoredContextKeys ?? []));
  const outcome = simulated.overallResult === "Allowed" ? "allowed" : "denied";
  results.push({ outcome, ignored: [...ignored] });
}
process.stdout.write(JSON.stringify(results));
