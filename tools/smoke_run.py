"""One run of the smoke test: its calls, its findings, and its keys."""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import urlencode, urlsplit

from botocore.exceptions import ClientError

from deployed_stack import CommandError, DeployedStack

CONFIRMED, REFUTED, UNCONFIRMED = "confirmed", "refuted", "not confirmed"

TIMEOUT_SECONDS = 30
# Every key of a run expires after it, so a run that is killed leaves no key that works for longer.
LIFETIME_SECONDS = 3600
# How long the management API, which has no cache, may accept a revoked credential.
REVOCATION_SECONDS = 15

# A credential: its public part, and its secret.
CREDENTIAL = re.compile(r"([a-z][a-z0-9]{1,9}_(?:key|tok|ref|ses|cod)_(?:[0-9A-Z]{26}_){1,2})[0-9A-Za-z]{49}")
JWT = re.compile(r"\beyJ[\w.-]+")


class CallFailed(Exception):
    """A call had another response than it must have; the rest of its section cannot be done."""


@dataclass(frozen=True)
class Response:
    """A complete HTTP response."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> dict:
        """The body; an empty object where it is no JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Finding:
    """The verdict on one doubt, and the evidence."""

    doubt: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Key:
    """An API key, as its creation returned it."""

    id: str
    text: str
    user_id: str

    def __repr__(self) -> str:
        return f"Key({self.id})"


@dataclass
class Run:
    """The stacks, the workspace and the findings of one run."""

    stack: DeployedStack
    examples: DeployedStack
    urls: Mapping[str, str]
    # Whether the stacks are in the local emulator, which differs from AWS.
    is_emulated: bool
    wait_seconds: float
    workspace: str = field(default_factory=lambda: f"smoke-{secrets.token_hex(6)}")
    started: float = field(default_factory=time.time)
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    # Users who may have keys, and are removed in the end.
    users: set[str] = field(default_factory=set)
    administrator: Key | None = None

    # --- Reports ---

    def mask(self, text: str) -> str:
        """The text without the secrets of credentials."""
        return JWT.sub("…", CREDENTIAL.sub(r"\1…", text))

    def say(self, text: str) -> None:
        print(self.mask(text), flush=True)

    def fail(self, text: str) -> None:
        """Records a call that failed."""
        text = self.mask(text)
        self.failures.append(text)
        print(f"  FAILED: {text}", flush=True)

    def find(self, doubt: str, verdict: str, evidence: str, emulator: str = "") -> None:
        """Records a finding. `emulator` says why the emulator proves nothing about the doubt, if it proves nothing."""
        if self.is_emulated and emulator:
            verdict, evidence = UNCONFIRMED, f"the emulator {emulator}. Seen here: {evidence}"
        self.findings.append(Finding(doubt, verdict, self.mask(evidence)))

    def decide(self, doubt: str, holds: bool, evidence: str, emulator: str = "") -> None:
        self.find(doubt, CONFIRMED if holds else REFUTED, evidence, emulator)

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        """A part of the run. A call that fails ends it, and the run goes on with the next one.

        A call of AWS that the operator may not make is no failure of the stack.
        """
        started, calls = time.monotonic(), self.calls
        self.say(f"{title} ...")
        try:
            yield
        except CallFailed as failure:
            self.fail(str(failure))
        except ClientError as error:
            if "AccessDenied" in error.response["Error"]["Code"]:
                self.find(title, UNCONFIRMED, f"you lack a right: {error}")
            else:
                self.fail(str(error))
        self.say(f"  {self.calls - calls} calls, {time.monotonic() - started:.1f} s")

    # --- Settings of the stacks ---

    def seconds(self, parameter: str) -> int:
        return int(self.stack.parameters.get(parameter, "0"))

    @property
    def cache_seconds(self) -> int:
        """How long API Gateway caches the authorizer's responses for the example APIs."""
        return int(self.examples.parameters.get("AuthorizerCacheSeconds", "0"))

    # --- Calls ---

    def send(
        self,
        method: str,
        url: str,
        credential: str | None = None,
        body: object = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Sends one request. The path is sent as it stands, and no redirection is followed."""
        sent = dict(headers or {})
        if credential is not None:
            sent["Authorization"] = credential if " " in credential else f"Bearer {credential}"
        content = None
        if body is not None:
            content, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif form is not None:
            content, sent["Content-Type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "ws")
        connect = http.client.HTTPConnection if is_plain else http.client.HTTPSConnection
        connection = connect(parts.netloc, timeout=TIMEOUT_SECONDS)
        self.calls += 1
        try:
            connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), content, sent)
            response = connection.getresponse()
            # After a 101 the connection is no longer HTTP.
            return Response(response.status, response.headers, b"" if response.status == 101 else response.read())
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(f"{method} {parts.path}: {error}") from None
        finally:
            connection.close()

    def expect(self, what: str, status: int, response: Response, code: str = "") -> Response:
        """The response, which must have this status, and this `code` or `error` in its body."""
        body = response.json()
        if response.status != status or (code and code not in (body.get("code"), body.get("error"))):
            # Masked before it is cut: a part of a secret is not recognised.
            shown = self.mask(response.body.decode(errors="replace"))[:300]
            raise CallFailed(f"{what}: {response.status}, expected {status} {code}: {shown}")
        return response

    def manage(
        self, route: str, status: int, credential: str | None, code: str = "", query: str = "", **options
    ) -> Response:
        """Calls the management API. `route` is such as `GET /api-keys/{id}`; options name the values in its path."""
        method, path = route.split(" ", 1)
        filled = path
        for name in re.findall(r"\{(\w+)\}", path):
            filled = filled.replace(f"{{{name}}}", options.pop(name))
        response = self.send(method, f"{self.urls['management']}{filled}{query}", credential, **options)
        return self.expect(route, status, response, code)

    def oauth(
        self, endpoint: str, status: int, form: Mapping[str, str], key: Key | None = None, code: str = ""
    ) -> dict:
        """Calls the OAuth API, as the client with that key or without a client."""
        credential = f"Basic {base64.b64encode(f'{key.id}:{key.text}'.encode()).decode()}" if key else None
        response = self.send("POST", f"{self.urls['oauth']}/oauth/{endpoint}", credential, form=form)
        return self.expect(f"POST /oauth/{endpoint}", status, response, code).json()

    def example(self, kind: str, path: str, credential: str | None, method: str = "GET") -> Response:
        """Calls the example API of a kind: rest or http."""
        return self.send(method, f"{self.urls[kind]}{path}", credential)

    def connect(self, credential: str | None) -> Response:
        """Opens a connection to the example WebSocket API (RFC 6455, section 4.1), and closes it."""
        nonce = base64.b64encode(secrets.token_bytes(16)).decode()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        upgrade |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": nonce}
        return self.send("GET", self.urls["websocket"], credential, headers=upgrade)

    # --- Keys ---

    @property
    def admin(self) -> str:
        if not self.administrator:
            raise CommandError("there is no administrator key yet")
        return self.administrator.text

    def create_key(self, user_id: str, scopes: list[str], credential: str = "", **fields: object) -> Key:
        """Creates a key of a user, which expires soon after the run."""
        body = {"name": f"smoke {secrets.token_hex(4)}", "user_id": user_id, "scopes": scopes}
        body |= {"expires_in": LIFETIME_SECONDS} | fields
        self.users.add(user_id)
        return key_of(self.manage("POST /api-keys", 201, credential or self.admin, body=body).json())

    def key_calls(self, key: Key) -> list[dict]:
        """The calls of a key in the audit trail, newest first."""
        page = self.manage("GET /activity", 200, self.admin, query=f"?key_id={key.id}&action=key.used&limit=100")
        return page.json().get("items", [])


def key_of(created: dict) -> Key:
    return Key(created["id"], created["key"], created["user_id"])


def eventually(seconds: float, condition: Callable[[], bool], pause: float = 1.0) -> bool:
    """Whether a condition holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    return True
