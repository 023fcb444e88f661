"""Sends random requests to the deployed APIs with schemathesis, and checks the responses against the OpenAPI documents.

Works in a new workspace of its own, as its administrator: its requests delete, disable and rotate keys. Legacy keys
are imported for it, as many as its requests may delete. Takes the stack's addresses from the environment.

    PYTHONPATH=tools fuzz.py [OPTION OF SCHEMATHESIS ...]
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from keygate_command import Refused, bootstrap

# More than the number of requests that delete one.
LEGACY_KEYS = 300

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCHEMATHESIS = ROOT / ".local" / "tools" / "fuzz" / "bin" / "schemathesis"


class NotImportedError(Exception):
    """The function did not import all legacy keys; the message is its response."""


def main() -> int:
    try:
        workspace = f"fuzz-{secrets.token_hex(8)}"
        key = administrator_key(workspace)
        import_legacy_keys(workspace)
        environment = os.environ | {
            "KEYGATE_FUZZ_KEY": key,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".local" / "run" / "hypothesis"),
        }
        management, oauth = os.environ["KEYGATE_API_URL"], os.environ["KEYGATE_OAUTH_URL"]
    except KeyError as error:
        print(f"fuzz: {error} is not set: load the environment of a stack, .local/env", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, NotImportedError, Refused) as error:
        print(f"fuzz: the first keys could not be created: {error}", file=sys.stderr)
        return 1
    for configuration, document, options in (
        ("schemathesis.toml", "openapi.yaml", ["--url", management]),
        ("oauth.toml", "oauth.yaml", ["--url", oauth, "--auth", f"{key.split('_')[2]}:{key}"]),
    ):
        command = [str(SCHEMATHESIS), "--config-file", configuration, "run", f"../../infra/{document}"]
        # In this folder, because the paths in the configuration are relative to the working directory.
        done = subprocess.run([*command, *options, *sys.argv[1:]], cwd=HERE, env=environment, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def administrator_key(workspace: str) -> str:
    return bootstrap(os.environ["KEYGATE_STACK"], workspace, "fuzz@example.com", "the key of this run")["key"]


def import_legacy_keys(workspace: str) -> None:
    """Imports legacy keys by random digests."""
    client = boto3.client("lambda", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    keys = [
        {"sha256": secrets.token_hex(32), "user_id": f"holder-{number % 3}@example.com", "name": f"old key {number}"}
        for number in range(LEGACY_KEYS)
    ]
    event = {"import": {"workspace_id": workspace, "keys": keys}}
    function = os.environ["KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION"]
    answer = json.loads(client.invoke(FunctionName=function, Payload=json.dumps(event).encode())["Payload"].read())
    if answer.get("imported") != LEGACY_KEYS:
        raise NotImportedError(answer)


if __name__ == "__main__":
    sys.exit(main())
