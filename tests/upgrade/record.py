"""Records what the present code writes and answers, for later versions to be tested with (tests/upgrade.rs).

    infra/local/stack.py --folder FOLDER run -- tests/upgrade/record.py FOLDER-TO-WRITE

A workspace lives through every state that its items can have: keys that are active, expiring, expired, disabled,
rotated with and without an overlap, handed over, created and rotated idempotently; tokens and their families; legacy
keys; users that were removed and reinstated. Everything happens over the deployed APIs of a fresh local stack. Two
files are written:

    items.jsonl   every item of the workspace, with the table as functions name it (KEYS_TABLE), in DynamoDB's JSON
    life.json     the credentials, which of them work, the idempotent requests, and the responses to GET requests
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import boto3

WORKSPACE = "upgraded"
DAY = 86_400

ENV = os.environ
API, OAUTH = ENV["KEYGATE_API_URL"], ENV["KEYGATE_OAUTH_URL"]
EXAMPLE = f"{ENV['KEYGATE_REST_EXAMPLE_URL']}/echo"


class RecordError(Exception):
    """The life went otherwise than planned; the message says where."""


def main() -> int:
    folder = Path(sys.argv[1])
    try:
        life = Life()
        life.live()
        items, shown = at_rest(life)
    except RecordError as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(item, sort_keys=True, ensure_ascii=False) for item in items)
    (folder / "items.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    content = {
        "recorded_at": int(time.time()),
        "workspace_id": WORKSPACE,
        "keys": life.keys,
        "works": life.works,
        "refused": life.refused,
        "refresh_tokens": life.refresh_tokens,
        "repeats": life.repeats,
        "shown": shown,
    }
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "life.json").write_text(text + "\n", encoding="utf-8")
    print(f"record: {len(items)} items of {len(life.keys)} keys, in {folder}")
    return 0


class Life:
    """The life of the workspace, and what is known of it afterwards."""

    def __init__(self) -> None:
        # A time before all of it, the same in every request.
        self.hour_ago = timestamp(time.time() - 3600)
        # The id of each key by its role in the life.
        self.keys: dict[str, str] = {}
        # Credentials by their role: those that open an API at the end, and those that do not.
        self.works: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        # Refresh tokens, and whether each can be used.
        self.refresh_tokens: dict[str, dict] = {}
        # Requests that are safe to repeat, with their responses.
        self.repeats: list[dict] = []
        created = invoke(
            ENV["KEYGATE_CREATE_KEY_FUNCTION"],
            {"bootstrap": {"workspace_id": WORKSPACE, "user_id": "admin", "name": "first administrator key"}},
        )
        self.admin = created["key"]
        self.keys["admin"] = created["id"]
        self.works["admin"] = self.admin

    def live(self) -> None:
        self.keys_in_every_state()
        self.tokens()
        self.legacy_keys()
        self.users()
        self.idempotent_requests()
        invoke(deployed("AnnounceLifecycle"), {})
        # Each credential is used, which the authorizer records.
        for expected, credentials in ((200, self.works), (401, self.refused)):
            for role, credential in credentials.items():
                status, _ = send("GET", EXAMPLE, bearer(credential))
                expect(status == expected, f"the credential “{role}” is answered {status}")

    def create(self, role: str, **fields: object) -> str:
        """Creates a key, and returns its text. It works until the caller says otherwise."""
        body = {"name": role, "user_id": "bob", "scopes": ["orders:read"]} | fields
        created = self.manage("POST", "/api-keys", body, 201)
        self.keys[role] = created["id"]
        self.works[role] = created["key"]
        return created["key"]

    def manage(self, method: str, route: str, body: dict | None = None, status: int = 200) -> dict:
        """Sends a request to the management API as the administrator."""
        answered, answer = send(method, f"{API}{route}", bearer(self.admin), body)
        expect(answered == status, f"{method} {route} is answered {answered}: {answer}")
        return answer

    def rotate(self, role: str, **fields: object) -> str:
        """Rotates a key, and returns the secret before. The new one works."""
        before = self.works[role]
        self.works[role] = self.manage("POST", f"/api-keys/{self.keys[role]}/rotate", fields)["key"]
        return before

    def ends(self, role: str) -> None:
        """From now on this credential is refused."""
        self.refused[role] = self.works.pop(role)

    def keys_in_every_state(self) -> None:
        self.create("reader", user_id="svc:reader", scopes=["keys:read", "activity:read"])
        self.create("active", description="A key without an end", scopes=["orders:read", "orders:write"])
        self.create("never used")
        del self.works["never used"]
        self.create("Ärger, größer", user_id="carla")
        self.create("creator", scopes=["keys:read", "keys:write", "orders:read"])
        self.create("with rules", endpoints=["GET /echo", "GET /orders/*"])
        self.create("with limits", limits=[{"calls": 1000, "per": "month"}, {"calls": 10, "per": "second"}])
        self.create("expiring", expires_in=40 * DAY)
        self.create("about to expire", expires_in=DAY // 2)
        self.create("changed", expires_in=40 * DAY)
        patch = {"name": "changed twice", "scopes": ["a:b"], "expires_at": None, "description": "changed"}
        self.manage("PATCH", f"/api-keys/{self.keys['changed']}", patch)
        self.manage("PATCH", f"/api-keys/{self.keys['changed']}", {"description": "changed again"})
        self.create("disabled")
        self.manage("PATCH", f"/api-keys/{self.keys['disabled']}", {"disabled": True})
        self.ends("disabled")
        self.create("disabled and enabled")
        for disabled in (True, False):
            self.manage("PATCH", f"/api-keys/{self.keys['disabled and enabled']}", {"disabled": disabled})
        self.create("rotated")
        self.refused["the secret before a rotation"] = self.rotate("rotated")
        self.create("in an overlap", expires_in=60 * DAY)
        self.works["the old secret in an overlap"] = self.rotate("in an overlap", overlap_seconds=20 * DAY)
        self.create("deleted")
        self.manage("DELETE", f"/api-keys/{self.keys.pop('deleted')}", status=204)
        self.ends("deleted")
        self.create("deleted", user_id="carla")
        self.create("expired", expires_in=1)
        self.create("expired, and its name taken", expires_in=1)
        # Two seconds after the expiry the name is free.
        time.sleep(4)
        self.ends("expired")
        self.ends("expired, and its name taken")
        self.create("of the taken name", name="expired, and its name taken", user_id="carla")

    def tokens(self) -> None:
        key = self.works["active"]
        self.works["access token"] = token(key, "orders:read")["access_token"]
        revoked = token(key, "orders:read")["access_token"]
        form("revoke", {"token": revoked})
        self.refused["revoked access token"] = revoked

        family = token(key, "orders:read orders:write offline_access")
        self.works["access token of a family"] = family["access_token"]
        self.refresh_tokens["unused"] = {"token": family["refresh_token"], "works": True}

        family = token(key, "orders:read offline_access")
        second = form("token", {"grant_type": "refresh_token", "refresh_token": family["refresh_token"]})
        self.works["access token of a second step"] = second["access_token"]
        self.refresh_tokens["of a second step"] = {"token": second["refresh_token"], "works": True}

        family = token(key, "offline_access")
        second = form("token", {"grant_type": "refresh_token", "refresh_token": family["refresh_token"]})
        self.refresh_tokens["used"] = {"token": family["refresh_token"], "works": False}
        self.works["access token of a family whose used token comes again"] = second["access_token"]

        family = token(key, "offline_access")
        form("revoke", {"token": family["refresh_token"]})
        self.refused["access token of a revoked family"] = family["access_token"]
        self.refresh_tokens["revoked"] = {"token": family["refresh_token"], "works": False}

        old = self.works["the old secret in an overlap"]
        self.works["access token of an old secret"] = token(old, "orders:read")["access_token"]

        self.create("disabled with tokens")
        self.refused["access token of a disabled key"] = token(self.works["disabled with tokens"], "")["access_token"]
        self.manage("PATCH", f"/api-keys/{self.keys['disabled with tokens']}", {"disabled": True})
        self.manage("PATCH", f"/api-keys/{self.keys['disabled with tokens']}", {"disabled": False})

        self.create("rotated with tokens")
        kept = token(self.works["rotated with tokens"], "")["access_token"]
        self.refused["the secret before a rotation that kept tokens"] = self.rotate(
            "rotated with tokens", overlap_seconds=0, revoke_tokens=False
        )
        self.works["access token from before a rotation"] = kept

    def legacy_keys(self) -> None:
        keys = {
            name: {"key": f"old-{digit * 32}", "user_id": user, "name": name, "scopes": ["orders:read"]}
            for name, user, digit in (
                ("legacy key", "bob", "1"),
                ("second legacy key", "carla", "2"),
                ("deleted legacy key", "bob", "3"),
                ("legacy key of a removed user", "dave", "4"),
            )
        }
        event = {"import": {"workspace_id": WORKSPACE, "keys": list(keys.values())}}
        answer = invoke(ENV["KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION"], event)
        expect(answer.get("imported") == len(keys), f"the import is answered {answer}")
        for name, key in keys.items():
            (self.refused if name in ("deleted legacy key", "legacy key of a removed user") else self.works)[name] = (
                key["key"]
            )
        listed = self.manage("GET", "/legacy-keys?user_id=bob")["items"]
        (deleted,) = (key["id"] for key in listed if key["name"] == "deleted legacy key")
        self.manage("DELETE", f"/legacy-keys/{deleted}", status=204)

    def users(self) -> None:
        self.create("of a removed user", user_id="dave")
        self.manage("DELETE", "/users/dave", status=202)
        self.until_cleared("dave", ["of a removed user"])

        self.create("handed over", user_id="erin", scopes=["orders:read", "keys:write"])
        self.create("handed over and rotated", user_id="erin")
        self.manage("DELETE", f"/users/erin?transfer_to=svc:heir&overlap_seconds={20 * DAY}", status=202)
        handed_over = ("handed over", "handed over and rotated")

        def is_done() -> bool:
            keys = (self.manage("GET", f"/api-keys/{self.keys[role]}") for role in handed_over)
            return all(key["user_id"] == "svc:heir" for key in keys)

        eventually(is_done, "the keys are handed over")
        self.works["the former user's secret of a rotated key"] = self.rotate(
            "handed over and rotated", overlap_seconds=10 * DAY
        )

        self.create("from before a reinstatement", user_id="frank")
        self.manage("DELETE", "/users/frank", status=202)
        self.until_cleared("frank", ["from before a reinstatement"])
        self.manage("PUT", "/users/frank", status=204)
        self.create("from after a reinstatement", user_id="frank")

        # Removed before it has ever had a key.
        self.manage("DELETE", "/users/grace", status=202)

    def until_cleared(self, user: str, roles: list[str]) -> None:
        """Waits until a removed user has no keys. The roles are of keys that the user had."""
        route = f"/api-keys?user_id={user}"
        eventually(lambda: not self.manage("GET", route)["items"], f"{user} has no keys")
        for role in roles:
            del self.keys[role]
            self.ends(role)

    def idempotent_requests(self) -> None:
        self.repeat("created idempotently", "POST", "/api-keys", {"name": "created idempotently", "scopes": ["a:b"]})
        self.create("rotated idempotently")
        route = f"/api-keys/{self.keys['rotated idempotently']}/rotate"
        self.works["the old secret of an idempotent rotation"] = self.works["rotated idempotently"]
        self.repeat("rotated idempotently", "POST", route, {"overlap_seconds": 20 * DAY})

    def repeat(self, role: str, method: str, route: str, body: dict) -> None:
        header = f"idempotent-request-{len(self.repeats)}"
        status, answer = send(method, f"{API}{route}", bearer(self.admin), body, {"Idempotency-Key": header})
        expect(status in (200, 201), f"{method} {route} is answered {status}: {answer}")
        self.keys[role] = answer["id"]
        self.works[role] = answer["key"]
        self.repeats.append({"method": method, "route": route, "header": header, "body": body, "response": answer})

    def shown(self) -> dict[str, dict]:
        """The responses to GET requests of the key `reader`, by their routes."""
        routes = [f"/api-keys/{key}" for key in self.keys.values()]
        routes += [
            f"/api-keys/{self.keys[role]}/tokens?limit=100" for role in ("active", "in an overlap", "never used")
        ]
        for sort in ("name", "user", "created_at", "last_used_at"):
            routes += [f"/api-keys?limit=100&sort={sort}&order={order}" for order in ("asc", "desc")]
        for query in (
            *(f"status={status}" for status in ("active", "expired", "disabled", "unused")),
            "name=EXPIR",
            "user_id=bob",
            "user_id=svc:heir",
            "user_id=bob&status=active&name=rotated&sort=name",
            f"created_after={self.hour_ago}",
            f"created_before={self.hour_ago}",
        ):
            routes.append(f"/api-keys?limit=100&{query}")
        routes += ["/legacy-keys?limit=100", "/legacy-keys?limit=100&user_id=carla", "/activity?limit=100"]
        routes += [
            f"/activity?limit=100&action={action}" for action in ("key.rotated", "user.removed", "key.transferred")
        ]
        routes += [f"/activity?limit=100&key_id={self.keys[role]}" for role in ("changed", "handed over")]
        routes += [f"/activity?limit=100&actor={actor}" for actor in ("bob", "admin")]
        return {route: self.show(route) for route in routes}

    def show(self, route: str) -> dict:
        status, answer = send("GET", f"{API}{route}", bearer(self.works["reader"]))
        expect(status == 200, f"GET {route} is answered {status}: {answer}")
        return answer


def at_rest(life: Life) -> tuple[list[dict], dict[str, dict]]:
    """The items of the workspace, and the responses to GET requests that belong to them.

    The authorizer writes some calls a minute later. Between two equal sets of responses it has written none of them.
    """
    shown = life.shown()
    for _ in range(10):
        items = items_of(life)
        again = life.shown()
        if again == shown:
            return items, shown
        shown = again
        time.sleep(5)
    raise RecordError("the responses go on changing")


def items_of(life: Life) -> list[dict]:
    """The items of the workspace in all tables, in an order that does not depend on the database.

    An item is the workspace's if one of its texts has the workspace's name or the id of one of its keys.
    """
    client = boto3.client("dynamodb", endpoint_url=ENV["KEYGATE_DYNAMODB_URL"])
    ended = (credential.split("_")[2] for credential in life.refused.values() if "_" in credential)
    names = [WORKSPACE, *life.keys.values(), *ended]
    found = []
    for variable in sorted(ENV):
        if not (variable.startswith("KEYGATE_") and variable.endswith("_TABLE")):
            continue
        table = variable.removeprefix("KEYGATE_")
        pages = client.get_paginator("scan").paginate(TableName=ENV[variable], ConsistentRead=True)
        items = [plain(item) for page in pages for item in page["Items"]]
        ours = [item for item in items if any(name in text for text in texts(item) for name in names)]
        found += [{"table": table, "item": item} for item in ours]
    return sorted(found, key=lambda entry: json.dumps(entry, sort_keys=True))


def texts(item: dict) -> list[str]:
    """The texts among an item's attributes."""
    return [value["S"] for value in item.values() if "S" in value]


def plain(value: object) -> object:
    """A value of DynamoDB's JSON with bytes in base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: plain(held) for name, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, list) else value


def invoke(function: str, event: dict) -> dict:
    """Invokes a function directly."""
    response = boto3.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    answer = json.loads(response["Payload"].read())
    is_problem = isinstance(answer, dict) and isinstance(answer.get("status"), int)
    expect("FunctionError" not in response and not is_problem, f"{function} answers {answer}")
    return answer


def deployed(logical_name: str) -> str:
    """The name of the deployed function with that name in the template."""
    pages = boto3.client("lambda").get_paginator("list_functions").paginate()
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    (name,) = (name for name in names if name.startswith(f"{ENV['KEYGATE_STACK']}-{logical_name}"))
    return name


def token(key: str, scope: str) -> dict:
    """Trades a key for tokens."""
    return form("token", {"grant_type": "client_credentials", "scope": scope}, key)


def form(endpoint: str, fields: dict, key: str | None = None) -> dict:
    """Sends a form to an endpoint of the OAuth API, with a key as the client."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if key:
        client = base64.b64encode(f"{key.split('_')[2]}:{key}".encode()).decode()
        headers["Authorization"] = f"Basic {client}"
    status, answer = request("POST", f"{OAUTH}/oauth/{endpoint}", headers, urllib.parse.urlencode(fields).encode())
    expect(status == 200, f"/oauth/{endpoint} answers {status}: {answer}")
    return answer


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def send(
    method: str, url: str, headers: dict[str, str], body: dict | None = None, more: dict[str, str] | None = None
) -> tuple[int, dict]:
    """Sends a request with JSON, and returns the status and the body of the response."""
    data = None
    if body is not None:
        headers = headers | {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
    return request(method, url, headers | (more or {}), data)


def request(method: str, url: str, headers: dict[str, str], data: bytes | None) -> tuple[int, dict]:
    # A name in a route may have any character.
    message = urllib.request.Request(urllib.parse.quote(url, safe=":/?&=%"), data, headers, method=method)
    try:
        with urllib.request.urlopen(message, timeout=60) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else {}


def eventually(condition: object, awaited: str) -> None:
    """Waits until a condition is true, for at most a minute."""
    for _ in range(120):
        if condition():
            return
        time.sleep(0.5)
    raise RecordError(f"this did not happen in time: {awaited}")


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise RecordError(otherwise)


def timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


if __name__ == "__main__":
    sys.exit(main())
