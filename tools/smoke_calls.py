"""The calls of the smoke test: every route of the management and OAuth APIs, and the example APIs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import uuid
from datetime import UTC, datetime, timedelta

from deployed_stack import CommandError
from keygate_command import Refused, bootstrap
from smoke_run import LIFETIME_SECONDS, CallFailed, Key, Run, eventually, key_of

# The routes that need no scope, and those that need no credential: three take credentials in their bodies, and the keys
# page is public.
NEEDS_NO_SCOPE = {"GET /me", "GET /policy", "DELETE /sessions/current"}
NEEDS_NO_CREDENTIAL = {
    "POST /leaks",
    "POST /leaks/github",
    "POST /sessions/exchange",
    "GET /console",
    "GET /console/{file}",
}
BODIES: dict[str, dict] = {
    "POST /api-keys": {"name": "refused"},
    "PATCH /api-keys/{id}": {"description": "refused"},
    "POST /sessions": {"user_id": "smoke-bob", "scopes": ["keys:write"]},
}

# The parts of a regular expression of which a legacy key can be made: a class, an escape or a character; how often.
PART = re.compile(r"(\[[^\]^]+\]|\\[dw]|\\\W|[^\\\[\](){}|*+?.^$])(?:\{(\d+)(?:,\d*)?\}|([*+?]))?")
# A group, whose first alternative is taken.
GROUP = re.compile(r"\((?:\?:)?([^()|]*)(?:\|[^()]*)?\)(?![*+?{])")


def make_workspace(run: Run) -> None:
    """Bootstraps the run's workspace. Its administrator key expires soon, as every key of the run."""
    try:
        created = bootstrap(run.stack.name, run.workspace, "smoke-admin", "smoke test")
    except Refused as refusal:
        raise CommandError(f"workspace {run.workspace} cannot be bootstrapped: {refusal}") from None
    run.administrator = Key(created["id"], created["key"], "smoke-admin")
    expires_at = f"{datetime.now(UTC) + timedelta(seconds=LIFETIME_SECONDS):%Y-%m-%dT%H:%M:%SZ}"
    body = {"expires_at": expires_at}
    run.manage("PATCH /api-keys/{id}", 200, run.admin, id=run.administrator.id, body=body)


def deployed_routes(run: Run) -> list[str]:
    """The routes of the deployed management API, without those for browsers."""
    pages = run.stack.client("apigateway").get_paginator("get_resources").paginate(restApiId=run.stack.outputs["ApiId"])
    routes = [
        f"{method} {resource['path']}"
        for resource in pages.search("items")
        for method in resource.get("resourceMethods", {})
    ]
    return sorted(routes)


def call_without_rights(run: Run, routes: list[str]) -> None:
    """Every route refuses a caller without a credential, and one without scopes."""
    weak, target = run.create_key("smoke-weak", []), run.create_key("smoke-bob", ["orders:read"])
    values = {"id": target.id, "user_id": "smoke-stranger", "token_id": target.id, "session_id": target.id}
    for route in routes:
        method = route.partition(" ")[0]
        if method == "OPTIONS":
            run.manage(route, 204, run.admin, **used(route, values))
            continue
        if route in NEEDS_NO_CREDENTIAL:
            continue
        body = BODIES.get(route)
        response = run.send(method, run.urls["management"] + filled(route, values), None, body)
        run.expect(f"{route} without a credential", 401, response, "unauthorized")
        if route not in NEEDS_NO_SCOPE:
            run.manage(route, 403, weak.text, "insufficient_scope", body=body, **used(route, values))
    run.manage("GET /me", 200, weak.text)


def used(route: str, values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if f"{{{name}}}" in route}


def filled(route: str, values: dict[str, str]) -> str:
    path = route.partition(" ")[2]
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def call_keys(run: Run) -> None:
    """The life of a key, by its owner."""
    owner = run.create_key("smoke-bob", ["keys:read", "keys:write", "orders:read"])
    me = run.manage("GET /me", 200, owner.text).json()
    check(me.get("user_id") == "smoke-bob" and me.get("workspace_id") == run.workspace, f"GET /me: {me}")

    policy = run.manage("GET /policy", 200, owner.text).json()
    grantable = [scope["name"] for scope in policy["scopes"]]
    check("orders:read" in grantable and policy["may_create_keys"], f"GET /policy: {policy}")

    once = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"name": "smoke idempotent", "scopes": ["orders:read"], "expires_in": LIFETIME_SECONDS}
    first = run.manage("POST /api-keys", 201, owner.text, body=body, headers=once)
    second = run.manage("POST /api-keys", 201, owner.text, body=body, headers=once)
    check(first.json()["key"] == second.json()["key"], "an idempotent create returned another key")
    run.manage("POST /api-keys", 422, owner.text, "idempotency_mismatch", body=body | {"name": "b"}, headers=once)
    run.manage("POST /api-keys", 409, owner.text, "name_taken", body=body)
    run.manage("POST /api-keys", 403, owner.text, "insufficient_scope", body={"name": "a", "scopes": ["orders:write"]})
    run.manage("POST /api-keys", 400, owner.text, "invalid_request", body={"name": ""})
    key = key_of(first.json())

    got = run.manage("GET /api-keys/{id}", 200, owner.text, id=key.id)
    tag = {"If-Match": got.headers["ETag"]}
    run.manage("PATCH /api-keys/{id}", 200, owner.text, id=key.id, body={"description": "changed"}, headers=tag)
    run.manage("PATCH /api-keys/{id}", 412, owner.text, "precondition_failed", id=key.id, body={}, headers=tag)
    usage = run.manage("GET /api-keys/{id}/usage", 200, owner.text, id=key.id, query="?per=day").json()
    check(len(usage["items"]) == 8 and usage["items"][-1]["allowed"] == 0, f"the usage of a new key: {usage}")
    # The indexes of the lists are eventually consistent.
    for query in ("", "?sort=name&limit=1", "?sort=user&user_id=smoke-bob", "?sort=last_used_at&status=unused"):
        is_listed = eventually(
            15, lambda query=query: bool(run.manage("GET /api-keys", 200, owner.text, query=query).json()["items"])
        )
        check(is_listed, f"GET /api-keys{query} is empty")

    once = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"overlap_seconds": 600}
    rotated = run.manage("POST /api-keys/{id}/rotate", 200, owner.text, id=key.id, body=body, headers=once).json()
    again = run.manage("POST /api-keys/{id}/rotate", 200, owner.text, id=key.id, body=body, headers=once).json()
    check(rotated["key"] == again["key"] != key.text, "an idempotent rotation returned another key")
    for text in (key.text, rotated["key"]):
        run.manage("GET /me", 200, text)
    new = run.manage("POST /api-keys/{id}/rotate", 200, owner.text, id=key.id, body={}).json()["key"]
    until_refused(run, key.text, "a secret from before two rotations")
    until_refused(run, rotated["key"], "a secret from before a rotation without an overlap")
    run.manage("PATCH /api-keys/{id}", 200, owner.text, id=key.id, body={"disabled": True})
    until_refused(run, new, "a disabled key")
    run.manage("PATCH /api-keys/{id}", 200, owner.text, id=key.id, body={"disabled": False})
    check(eventually(run.revocation_seconds, lambda: works(run, new)), "an enabled key does not work")
    run.manage("DELETE /api-keys/{id}", 204, owner.text, id=key.id)
    until_refused(run, new, "a deleted key")
    run.manage("GET /api-keys/{id}", 404, owner.text, "not_found", id=key.id)


def call_sessions(run: Run) -> None:
    """A session of a user, its page, and its end."""
    opener = run.create_key("smoke-backend", ["sessions:write", "keys:write", "orders:read"])
    body = {"user_id": "smoke-bob", "scopes": ["keys:write", "orders:read"], "ttl_seconds": 300}
    session = run.manage("POST /sessions", 201, opener.text, body=body).json()
    me = run.manage("GET /me", 200, session["session"]).json()
    check(me.get("user_id") == "smoke-bob" and me.get("opened_by") == "smoke-backend", f"GET /me of a session: {me}")
    page_url, _, code = session["page_url"].partition("#code=")
    check(page_url.startswith("https://") and page_url.endswith("/console"), f"the address of the page: {page_url}")
    body = {"code": code}
    page = run.manage("POST /sessions/exchange", 200, None, body=body).json()
    run.manage("POST /sessions/exchange", 400, None, "invalid_page_code", body=body)
    run.manage("GET /api-keys", 200, page["session"])
    run.manage("POST /sessions", 403, page["session"], "insufficient_scope", body=BODIES["POST /sessions"])
    check(run.example("rest", "/echo", page["session"]).status == 401, "the REST example accepted a session")
    run.manage("DELETE /sessions/current", 204, page["session"])
    check(eventually(run.revocation_seconds, lambda: not works(run, session["session"])), "an ended session works")
    other = run.manage("POST /sessions", 201, opener.text, body=BODIES["POST /sessions"]).json()
    run.manage("DELETE /sessions/{session_id}", 204, opener.text, session_id=other["id"])


def call_leaks(run: Run) -> None:
    """A leaked key ends, and a rotation without an overlap enables it."""
    owner = run.create_key("smoke-bob", ["keys:write", "orders:read"])
    key = run.create_key("smoke-bob", ["orders:read"])
    made_up = key.text[:-1] + ("0" if key.text[-1] != "0" else "1")
    run.manage("POST /leaks", 202, None, body={"credentials": [made_up, key.text]})
    until_refused(run, key.text, "a leaked key")
    matches = [{"token": owner.text, "type": "smoke"}]
    if run.stack.parameters.get("GitHubReports") == "true":
        # Without a signature it ends nothing: `owner` goes on below.
        run.manage("POST /leaks/github", 403, None, "invalid_signature", body=matches)
    else:
        run.manage("POST /leaks/github", 404, None, "not_found", body=matches)
    # Only GitHub can sign a report, so that is all that this test can call.
    run.called.add("POST /leaks/github")
    if run.stack.parameters.get("LeakPolicy") == "delete":
        return
    shown = run.manage("GET /api-keys/{id}", 200, owner.text, id=key.id).json()
    check(shown["status"] == "disabled" and shown["leaked_at"], f"a leaked key: {shown}")
    run.manage("PATCH /api-keys/{id}", 409, owner.text, "key_leaked", id=key.id, body={"disabled": False})
    new = run.manage("POST /api-keys/{id}/rotate", 200, owner.text, id=key.id, body={}).json()["key"]
    check(eventually(run.revocation_seconds, lambda: works(run, new)), "a rotated leaked key does not work")


def call_page(run: Run) -> None:
    """The keys page, and every file that it loads."""
    page = run.manage("GET /console", 200, None)
    check(page.headers["Content-Type"] == "text/html; charset=utf-8", f"the page: {page.headers['Content-Type']}")
    policy = page.headers.get("Content-Security-Policy", "")
    check("default-src 'none'" in policy and "script-src 'self'" in policy, f"the page's policy: {policy}")
    loaded = re.findall(r'(?:src|href)="console/([^"]+)"', page.body.decode())
    check(bool(loaded), "the page loads no script")
    for name in [*loaded, "keygate-keys.js"]:
        file = run.manage("GET /console/{file}", 200, None, file=name)
        tag = {"If-None-Match": file.headers["ETag"]}
        run.manage("GET /console/{file}", 304, None, file=name, headers=tag)
    run.manage("GET /console/{file}", 404, None, "not_found", file="no-such-file.js")


def call_jwts(run: Run, key: Key, audience: str) -> None:
    """JWTs of a key, and the documents by which APIs verify them."""
    well_known = f"{run.urls['oauth']}/.well-known"
    metadata = run.expect("the OpenID metadata", 200, run.send("GET", f"{well_known}/openid-configuration")).json()
    keys = run.expect("the keys of JWTs", 200, run.send("GET", f"{well_known}/jwks.json")).json()["keys"]
    grant = {"grant_type": "client_credentials", "resource": audience}
    jwt = run.oauth("token", 200, grant, key)["access_token"]
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in jwt.split(".")[:2])
    check(header["kid"] in [each["kid"] for each in keys], "the key of a JWT is not published")
    check((claims["iss"], claims["aud"]) == (metadata["issuer"], audience), f"the claims of a JWT: {claims}")
    run.oauth("token", 400, grant | {"resource": "urn:example:unlisted"}, key, "invalid_target")
    run.oauth("revoke", 400, {"token": jwt}, code="unsupported_token_type")


def call_oauth(run: Run) -> None:
    """Access and refresh tokens of a key."""
    metadata = run.send("GET", f"{run.urls['oauth']}/.well-known/oauth-authorization-server")
    check("token_endpoint" in run.expect("the OAuth metadata", 200, metadata).json(), "the OAuth metadata")
    key = run.create_key("smoke-bob", ["orders:read", "orders:write", "keys:write", "tokens:introspect"])
    run.oauth(
        "token", 401, {"grant_type": "client_credentials"}, Key(key.id, f"{key.text[:-1]}!", ""), "invalid_client"
    )
    grant = {"grant_type": "client_credentials", "scope": "orders:read offline_access", "expires_in": "600"}
    tokens = run.oauth("token", 200, grant, key)
    run.oauth("token", 400, grant | {"scope": "orders:delete"}, key, "invalid_scope")
    for kind in ("rest", "http"):
        caller = run.expect(f"an access token, {kind}", 200, run.example(kind, "/echo", tokens["access_token"])).json()
        check(caller["caller"].get("credential") == "access_token", f"the caller, {kind}: {caller}")
    asked = {"token": tokens["access_token"]}
    check(run.oauth("introspect", 200, asked, key).get("active") is True, "introspection")
    asked |= {"method": "GET", "path": "/orders/7", "address": "203.0.113.7"}
    check(run.oauth("introspect", 200, asked, key).get("allowed") is True, "introspection of a call")
    run.oauth("introspect", 400, asked | {"method": "get"}, key, "invalid_request")

    renewal = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    renewed = run.oauth("token", 200, renewal)
    if not run.seconds("RefreshReuseSeconds"):
        run.oauth("token", 400, renewal, code="invalid_grant")
        until_refused(run, renewed["access_token"], "a token of a refresh token that was used twice")

    tokens = run.oauth("token", 200, grant, key)
    run.oauth("revoke", 200, {"token": tokens["access_token"]})
    until_refused(run, tokens["access_token"], "a revoked access token")
    check(run.oauth("introspect", 200, {"token": tokens["access_token"]}, key).get("active") is False, "introspection")

    audience = run.stack.parameters.get("JwtAudiences", "").partition(",")[0]
    if audience:
        call_jwts(run, key, audience)

    run.oauth("token", 200, {"grant_type": "client_credentials"}, key)
    listed = run.manage("GET /api-keys/{id}/tokens", 200, key.text, id=key.id).json()["items"]
    check(bool(listed), "the list of tokens is empty")
    of_first = {"id": key.id, "token_id": listed[0]["id"]}
    run.manage("DELETE /api-keys/{id}/tokens/{token_id}", 204, key.text, **of_first)
    run.manage("DELETE /api-keys/{id}/tokens", 204, key.text, id=key.id)
    check(not run.manage("GET /api-keys/{id}/tokens", 200, key.text, id=key.id).json()["items"], "tokens are left")


def call_examples(run: Run) -> None:
    """The three example APIs, with keys with and without endpoint rules."""
    key = run.create_key("smoke-bob", ["orders:read"])
    for kind in ("rest", "http"):
        for method, path in (("GET", "/echo"), ("POST", "/echo"), ("GET", "/orders/7")):
            response = run.example(kind, path, key.text, method)
            caller = run.expect(f"{method} {path}, {kind}", 200, response).json()["caller"]
            expected = {"userId": "smoke-bob", "workspaceId": run.workspace, "keyId": key.id, "scopes": "orders:read"}
            check(expected.items() <= caller.items(), f"the caller of {method} {path}, {kind}: {caller}")
    run.expect("the WebSocket API", 101, run.connect(key.text))

    simple = run.stack.parameters.get("AuthorizerResponse") == "simple"
    bound = run.create_key("smoke-bob", [], endpoints=["GET /orders/*"])
    for kind in ("rest", "http"):
        inside = 403 if simple and kind == "http" else 200
        run.expect(f"inside the endpoint rules, {kind}", inside, run.example(kind, "/orders/7", bound.text))
        for method, path in (("GET", "/echo"), ("POST", "/echo")):
            run.expect(f"outside the endpoint rules, {kind}", 403, run.example(kind, path, bound.text, method))
    connecting = run.create_key("smoke-bob", [], endpoints=["$connect"])
    run.expect("a key for WebSocket APIs", 101, run.connect(connecting.text))
    run.expect("a key for another API", 403, run.connect(bound.text))


def call_users(run: Run) -> None:
    """Removal of users, with and without a transfer, and reinstatement."""
    gone, moved = run.create_key("smoke-carol", ["orders:read"]), run.create_key("smoke-dave", ["orders:read"])
    run.manage("DELETE /users/{user_id}", 409, run.admin, "own_user", user_id="smoke-admin")
    found = run.manage("DELETE /users/{user_id}", 202, run.admin, user_id="smoke-carol").json()["found"]
    check(found["api_keys"] == 1, f"the keys of a removed user: {found}")
    query = "?transfer_to=svc:smoke"
    run.users.add("svc:smoke")
    run.manage("DELETE /users/{user_id}", 202, run.admin, query=query, user_id="smoke-dave")
    until_refused(run, gone.text, "the key of a removed user", 120)

    def has_moved() -> bool:
        key = run.manage("GET /api-keys/{id}", 200, run.admin, id=moved.id).json()
        return key["user_id"] == "svc:smoke"

    check(eventually(120, has_moved), "the key of a removed user was not transferred")
    run.manage("GET /me", 200, moved.text)
    run.expect("a transferred secret", 200, run.example("rest", "/echo", moved.text))
    run.manage("POST /api-keys", 409, run.admin, "user_removed", body={"name": "late", "user_id": "smoke-carol"})
    run.manage("PUT /users/{user_id}", 204, run.admin, user_id="smoke-carol")
    run.create_key("smoke-carol", [])


def call_legacy_keys(run: Run) -> None:
    """A legacy key, if the stack accepts any, from its import to its end."""
    if not (function := run.stack.outputs.get("ImportLegacyKeysFunctionName")):
        run.manage("GET /legacy-keys", 200, run.admin)
        run.find("legacy keys are imported", "not confirmed", "not configured: LegacySunset is empty")
        return
    pattern = run.stack.parameters.get("LegacyPattern", "")
    if not (key := matching(pattern)):
        run.find("legacy keys are imported", "not confirmed", f"no text could be made that matches {pattern}")
        return
    run.hidden.append(key)
    record = {
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "user_id": "smoke-erin",
        "name": "smoke",
        "scopes": [],
    }
    run.users.add("smoke-erin")
    event = {"import": {"workspace_id": run.workspace, "keys": [record]}}
    response = run.stack.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    summary = json.loads(response["Payload"].read())
    check(summary.get("imported") == 1, f"import-legacy-keys: {summary}")
    caller = run.manage("GET /me", 200, key).json()
    check(caller.get("user_id") == "smoke-erin", f"GET /me with a legacy key: {caller}")
    for kind in ("rest", "http"):
        run.expect(f"a legacy key, {kind}", 200, run.example(kind, "/echo", key))
    legacy_id = caller["key_id"]
    is_listed = eventually(15, lambda: bool(run.manage("GET /legacy-keys", 200, run.admin).json()["items"]))
    check(is_listed, "the list of legacy keys is empty")
    run.manage("GET /legacy-keys/{id}", 200, run.admin, id=legacy_id)
    run.manage("DELETE /legacy-keys/{id}", 204, run.admin, id=legacy_id)
    until_refused(run, key, "a deleted legacy key")
    run.find("legacy keys are imported", "confirmed", f"{legacy_id} was imported, used, listed and deleted")


def matching(pattern: str) -> str:
    """A random text that matches a simple regular expression, or an empty text."""
    text = ""
    for part, count, repeat in PART.findall(GROUP.sub(r"\1", pattern)):
        times = int(count) if count else {"": 1, "?": 1}.get(repeat, 32)
        text += "".join(character_of(part) for _ in range(times))
    return text if text and re.fullmatch(pattern, text, re.ASCII) else ""


def character_of(part: str) -> str:
    if not part.startswith("[") and part not in (r"\d", r"\w"):
        return part.removeprefix("\\")
    allowed = re.compile(part, re.ASCII)
    return secrets.choice([character for character in map(chr, range(33, 127)) if allowed.fullmatch(character)])


def call_audit_trail(run: Run) -> None:
    """The trail of the run itself."""
    for query in ("", "?actor=smoke-admin", f"?key_id={run.administrator.id}", "?action=user.removed"):
        events = run.manage("GET /activity", 200, run.admin, query=query)
        check(bool(events.json()["items"]), f"GET /activity{query} is empty")
    removed = events.json()["items"]
    check({event["target"] for event in removed} == {"smoke-carol", "smoke-dave"}, f"removals: {removed}")


def clean_up(run: Run) -> None:
    """Ends all keys of the run: by removing their users, and last its administrator key, by itself."""
    if not run.administrator:
        return
    for user_id in sorted(run.users):
        run.manage("DELETE /users/{user_id}", 202, run.admin, user_id=user_id)

    def only_own() -> bool:
        listed = run.manage("GET /api-keys", 200, run.admin, query="?limit=100").json()["items"]
        return {key["id"] for key in listed} <= {run.administrator.id}

    if not eventually(180, only_own, pause=2):
        raise CallFailed("the keys of removed users are still there after 180 s; they expire within an hour")
    run.manage("DELETE /api-keys/{id}", 204, run.admin, id=run.administrator.id)


def works(run: Run, credential: str) -> bool:
    """Whether the management API accepts a credential."""
    response = run.send("GET", f"{run.urls['management']}/me", credential)
    if response.status not in (200, 401):
        raise CallFailed(f"GET /me: {response.status}")
    return response.status == 200


def until_refused(run: Run, credential: str, what: str, seconds: float = 0) -> None:
    """Checks that a credential is refused, at the latest when the configured caches are over."""
    is_refused = eventually(max(seconds, run.revocation_seconds), lambda: not works(run, credential))
    check(is_refused, f"{what} is still accepted")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise CallFailed(what)
