"""Gives schemathesis real keys to change, and protects the key that it authenticates with."""

from __future__ import annotations

import itertools
import os
import random
from typing import Any
from urllib.parse import unquote

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation

API_URL = os.environ["KEYGATE_API_URL"]
OAUTH_URL = os.environ["KEYGATE_OAUTH_URL"]
CREDENTIAL = os.environ["KEYGATE_FUZZ_KEY"]
OWN_ID = CREDENTIAL.split("_")[2]


class Keys:
    """The existing and deleted keys of the run's workspace that responses have shown."""

    def __init__(self, fewest: int) -> None:
        self.fewest = fewest
        self.alive: list[str] = []
        self.known: set[str] = {OWN_ID}
        self.turn = itertools.count()

    def one(self) -> str:
        """The next key in turn, so that changes are spread over all keys."""
        while len(self.alive) < self.fewest:
            self.add(create_key(f"to be changed {len(self.known)}")["id"])
        return self.alive[next(self.turn) % len(self.alive)]

    def add(self, key_id: str) -> None:
        if key_id not in self.known:
            self.known.add(key_id)
            self.alive.append(key_id)

    def remove(self, key_id: str) -> None:
        if key_id in self.alive:
            self.alive.remove(key_id)


class LegacyKeys:
    """The legacy keys that were imported for the run and not deleted since."""

    def __init__(self) -> None:
        self.alive: list[str] = []
        self.turn = itertools.count()
        cursor: str | None = None
        while not self.alive or cursor:
            page = get("/legacy-keys", {"limit": "100"} | ({"cursor": cursor} if cursor else {}))
            self.alive += [key["id"] for key in page["items"]]
            cursor = page["next_cursor"]

    def one(self) -> str:
        return self.alive[next(self.turn) % len(self.alive)]

    def remove(self, key_id: str) -> None:
        if key_id in self.alive:
            self.alive.remove(key_id)


def get(path: str, query: dict[str, str]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    answer = requests.get(f"{API_URL}{path}", query, headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json()


def create_key(name: str, **fields: str) -> dict[str, Any]:
    body = {"name": name} | fields
    answer = requests.post(
        f"{API_URL}/api-keys", headers={"Authorization": f"Bearer {CREDENTIAL}"}, json=body, timeout=30
    )
    answer.raise_for_status()
    return answer.json()


def create_token() -> dict[str, str]:
    """A key with a token, by their ids."""
    number = len(KEYS.known)
    # For a separate user, because all these keys would exceed one user's quota.
    key = create_key(f"with a token {number}", user_id=f"holder-{number}@example.com")
    KEYS.add(key["id"])
    form = {"grant_type": "client_credentials", "client_id": key["id"], "client_secret": key["key"]}
    answer = requests.post(f"{OAUTH_URL}/oauth/token", data=form, timeout=30)
    answer.raise_for_status()
    return {"id": key["id"], "token_id": answer.json()["access_token"].split("_")[3]}


def open_session() -> dict[str, Any]:
    """A session of our own key, with its secret and the address of its page."""
    # For a separate user each time, because random requests remove users.
    body = {"user_id": f"visitor-{next(VISITORS)}@example.com", "scopes": ["keys:write"]}
    answer = requests.post(
        f"{API_URL}/sessions", headers={"Authorization": f"Bearer {CREDENTIAL}"}, json=body, timeout=30
    )
    answer.raise_for_status()
    return answer.json()


KEYS = Keys(fewest=5)
VISITORS = itertools.count()
LEGACY_KEYS = LegacyKeys()
NAMES: set[str] = set()
DICE = random.Random(0)
IN_THE_FUTURE = "2099-12-31T23:59:59Z"
# Events that are listed only by actor or by key.
USES = ("key.used", "token.issued", "token.refreshed")


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Adds links from a created key to its other operations. API Gateway does not support links in the document."""
    raw_schema["paths"]["/api-keys"]["post"]["responses"]["201"]["links"] = {
        operation: {"operationId": operation, "parameters": {"id": "$response.body#/id"}}
        for operation in ("getKey", "updateKey", "rotateKey", "deleteKey")
    }


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Makes most valid requests succeed, and lets some conflict with stored keys."""
    if valid(case, ParameterLocation.PATH):
        use_a_real_key(case)
    # Only a session ends itself. Requests without our credential stay without one.
    if case.path == "/sessions/current" and CREDENTIAL in (case.headers or {}).get("Authorization", ""):
        case.headers["Authorization"] = f"Bearer {open_session()['session']}"
    if valid(case, ParameterLocation.HEADER):
        # The generator handles this pattern wrongly: it takes an invalid ETag for a valid one.
        if "If-Match" in case.headers and (most_times() or '"' not in case.headers["If-Match"]):
            case.headers["If-Match"] = "*"
        if "Idempotency-Key" in case.headers and most_times():
            case.headers["Idempotency-Key"] = f"{DICE.getrandbits(128):032x}"
    if valid(case, ParameterLocation.QUERY):
        case.query.pop("cursor", None)  # a cursor is good only for the query that made it
        make_answerable(case.query, case.path_parameters or {})
        if case.path.endswith("/usage"):
            case.query.pop("from", None)  # a schema cannot express that it is at most 31 days before `to`
    if valid(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        case.body = acceptable(case.body)
        if case.path == "/sessions/exchange":
            # A schema cannot express which codes exist.
            case.body = {"code": open_session()["page_url"].partition("#code=")[2]}


def make_answerable(query: dict[str, Any], path: dict[str, Any]) -> None:
    """Ensures the rules that a schema cannot express: known actors and keys, a range that begins before it ends, a user
    other than the caller, and parameters that belong together."""
    if "unused_days" in query:
        query["status"] = "unused"
    if query.get("action") in USES or query.get("outcome") in ("allowed", "refused"):
        query.setdefault("actor", "ada@example.com")
    if "from" in query:
        query.pop("to", None)
    if query.get("transfer_to") == unquote(path.get("user_id", "")):
        query.pop("transfer_to", None)


def valid(case: schemathesis.Case, location: ParameterLocation) -> bool:
    return not (case.meta and case.meta.is_negative_at(location))


def most_times() -> bool:
    return DICE.random() < 0.75


def use_a_real_key(case: schemathesis.Case) -> None:
    """Replaces most invented ids and our own key's id by existing ones, and keeps ids from responses."""
    if "session_id" in case.path_parameters:
        case.path_parameters["session_id"] = open_session()["id"]
    if "file" in case.path_parameters and most_times():
        case.path_parameters["file"] = "keygate-keys.js"
    key_id = case.path_parameters.get("id")
    if key_id is None:
        return
    if case.path.startswith("/legacy-keys"):
        if most_times():
            case.path_parameters["id"] = LEGACY_KEYS.one()
        return
    if "token_id" in case.path_parameters:
        if most_times():
            case.path_parameters |= create_token()
        return
    made_up = key_id not in KEYS.known and most_times()
    if made_up or (key_id == OWN_ID and case.method.upper() != "GET"):
        case.path_parameters["id"] = KEYS.one()


def acceptable(body: dict[str, Any]) -> dict[str, Any]:
    """The body with an expiry in the future, at most one endpoint rule and one limit, valid networks, few entries of
    metadata, and usually a new name.

    A schema cannot express that the size of rules and metadata depends on other attributes, that limits have different
    units, and that a network has no bits after its prefix.
    """
    changed = {}
    if body.get("endpoints"):
        changed["endpoints"] = body["endpoints"][:1]
    if body.get("networks"):
        changed["networks"] = [f"10.{number}.0.0/16" for number in range(len(body["networks"]))]
    if body.get("metadata"):
        changed["metadata"] = dict(zip(("env", "customer.id"), body["metadata"].values(), strict=False))
    if body.get("limits"):
        changed["limits"] = body["limits"][:1]
    if body.get("expires_at"):
        changed["expires_at"] = IN_THE_FUTURE
    if "name" in body:
        if body["name"] in NAMES and most_times():
            changed["name"] = f"another name {len(NAMES)}"
        NAMES.add(changed.get("name", body["name"]))
    return body | changed


@schemathesis.hook
def after_call(context: Any, case: schemathesis.Case, response: schemathesis.Response) -> None:
    """Keeps track of the existing keys."""
    method = case.method.upper()
    if (method, case.path, response.status_code) == ("POST", "/api-keys", 201):
        KEYS.add(response.json()["id"])
    elif method == "DELETE" and response.status_code == 204 and "id" in (case.path_parameters or {}):
        keys = LEGACY_KEYS if case.path.startswith("/legacy-keys") else KEYS
        keys.remove(case.path_parameters["id"])
