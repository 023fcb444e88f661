"""Asks Keygate whether a call is allowed (docs/introspection.md)."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from typing import Any


def caller_of(url: str, client: tuple[str, str], token: str, call: dict[str, str]) -> dict[str, Any] | None:
    """What Keygate knows about the caller, or None if the call is refused.

    `client` is the id and the secret of the backend's key. `call` has `method`, `path` and `address`. An exception
    means that there is no decision: then refuse the call too, as a failure.
    """
    form = urllib.parse.urlencode({"token": token, **call}).encode()
    basic = base64.b64encode(":".join(client).encode()).decode()
    request = urllib.request.Request(f"{url}/oauth/introspect", form, {"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=5) as response:
        told: dict[str, Any] = json.load(response)
    return told if told["active"] is True and told.get("allowed") is True else None
