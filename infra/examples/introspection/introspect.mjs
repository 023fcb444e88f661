// Asks Keygate whether a call is allowed (docs/introspection.md). Returns what Keygate knows about the caller, or undefined if the
// call is refused. Throws if there is no decision: then refuse the call too, as a failure.
export async function callerOf({ url, id, secret }, token, { method, path, address }) {
  const call = { method, path, ...(address && { address }) };
  const response = await fetch(`${url}/oauth/introspect`, {
    method: "POST",
    headers: { Authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    body: new URLSearchParams({ token, ...call }),
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok) throw new Error(`Keygate did not decide: status ${response.status}`);
  const told = await response.json();
  return told.active === true && told.allowed === true ? told : undefined;
}
