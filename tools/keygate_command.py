"""The command `keygate`, for scripts: `cargo build --package keygate-cli` builds it, and the local stack does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Refused(Exception):
    """A command failed; the message tells the reason."""

    def __init__(self, error: dict) -> None:
        super().__init__("; ".join([error["message"], *error["details"]]))
        self.has_users = error["code"] == "already_bootstrapped"


def program() -> str:
    """The path of the command."""
    return str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "keygate")


def keygate(*arguments: str, environment: Mapping[str, str] = os.environ) -> dict:
    """Runs a command, and returns its document. docs/cli.md describes both."""
    done = subprocess.run(
        [program(), *arguments, "--json"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    *_, last = done.stderr.splitlines()
    raise Refused(json.loads(last)["error"])


def bootstrap(
    stack: str,
    workspace: str,
    user: str,
    name: str,
    *,
    lifetime: int | None = None,
    break_glass: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> dict:
    """The first administrator key of a workspace, with its `id` and, only this time, the `key` itself."""
    arguments = ["--stack", stack, "--workspace", workspace, "--user-id", user, "--name", name]
    if lifetime is not None:
        arguments += ["--expires-in", f"{lifetime}s"]
    if break_glass:
        arguments.append("--break-glass")
    return keygate("bootstrap", *arguments, environment=environment)["item"]
