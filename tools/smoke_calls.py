"""The run's workspace and its end, and the calls of the example APIs, which `keygate smoke` does not know."""

from __future__ import annotations

from functools import partial

from deployed_stack import CommandError
from keygate_command import Refused, bootstrap
from smoke_run import LIFETIME_SECONDS, CallFailed, Key, Run, eventually

# How long the background work for a removed user may take.
REMOVAL_SECONDS = 180


def make_workspace(run: Run) -> None:
    """Bootstraps the run's workspace. Its administrator key expires soon, as every key of the run."""
    try:
        created = bootstrap(run.stack.name, run.workspace, "smoke-admin", "smoke test", lifetime=LIFETIME_SECONDS)
    except Refused as refusal:
        raise CommandError(f"workspace {run.workspace} cannot be bootstrapped: {refusal}") from None
    run.administrator = Key(created["id"], created["key"], "smoke-admin")


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

    form = {"grant_type": "client_credentials", "scope": "orders:read", "expires_in": "600"}
    token = run.oauth("token", 200, form, key)["access_token"]
    for kind in ("rest", "http"):
        caller = run.expect(f"an access token, {kind}", 200, run.example(kind, "/echo", token)).json()["caller"]
        check(caller.get("credential") == "access_token", f"the caller with an access token, {kind}: {caller}")
    body = {"user_id": "smoke-bob", "scopes": ["keys:write"], "ttl_seconds": 300}
    session = run.manage("POST /sessions", 201, run.admin, body=body).json()["session"]
    run.expect("a session, which calls no API", 401, run.example("rest", "/echo", session))

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


def clean_up(run: Run) -> None:
    """Ends all keys of the run: by removing their users, and last its administrator key, by itself."""
    if not run.administrator:
        return
    failures = []

    def only_own() -> bool:
        listed = run.manage("GET /api-keys", 200, run.admin, query="?limit=100").json()["items"]
        return {key["id"] for key in listed} <= {run.administrator.id}

    def others_end() -> None:
        if not eventually(REMOVAL_SECONDS, only_own, pause=2):
            raise CallFailed(f"the keys of removed users are still there after {REMOVAL_SECONDS} s")

    def remove(user_id: str) -> None:
        run.manage("DELETE /users/{user_id}", 202, run.admin, user_id=user_id)

    def delete_own() -> None:
        run.manage("DELETE /api-keys/{id}", 204, run.admin, id=run.administrator.id)

    # Each step after the failure of another one too.
    for end in (*(partial(remove, user_id) for user_id in sorted(run.users)), others_end, delete_own):
        try:
            end()
        except CallFailed as failure:
            failures.append(str(failure))
    if failures:
        raise CallFailed(f"{'; '.join(failures)}. Keys of {run.workspace} may be left; they expire within an hour")


def works(run: Run, credential: str) -> bool:
    """Whether the management API accepts a credential."""
    response = run.send("GET", f"{run.urls['management']}/me", credential)
    if response.status not in (200, 401):
        raise CallFailed(f"GET /me: {response.status}")
    return response.status == 200


def check(holds: bool, what: str) -> None:
    if not holds:
        raise CallFailed(what)
