"""Lists the users of legacy keys and their last use, the most recent first.

The command reads the index by id, which can be a moment behind the table, and no hash. It requires `dynamodb:Scan` of
that index, or with a workspace `dynamodb:Query` of it and `dynamodb:GetItem` of the table of workspaces, at half a read
unit for 4 kB, and `cloudformation:DescribeStacks`. The actual last use can be later by up to LastUsedInterval.

    legacy_report.py --stack keygate --workspace acme
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from deployed_stack import CommandError, DeployedStack, run


@dataclass
class User:
    """The legacy keys of one user: their number, the number of used ones, and the last use in Unix seconds."""

    keys: int = 0
    used: int = 0
    last_used_at: int = 0


def main() -> int:
    # `make legacy-report | head` ends it, as it does other programs.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    parser.add_argument("--workspace")
    arguments = parser.parse_args()
    stack = DeployedStack(arguments.stack)
    table = stack.outputs.get("LegacyKeysTableName")
    if not table:
        raise CommandError("the stack accepts no legacy keys")
    dynamodb = stack.client("dynamodb")
    if arguments.workspace and not exists(dynamodb, stack.outputs["WorkspacesTableName"], arguments.workspace):
        raise CommandError(f"the workspace {arguments.workspace} does not exist: check its name")
    users: dict[tuple[str, str], User] = {}
    for workspace, user_id, last_used_at in keys(dynamodb, table, arguments.workspace):
        user = users.setdefault((workspace, user_id), User())
        user.keys += 1
        user.used += last_used_at > 0
        user.last_used_at = max(user.last_used_at, last_used_at)
    if not users:
        whose = f"workspace {arguments.workspace} has" if arguments.workspace else "the stack has"
        print(f"legacy-report: {whose} no legacy keys", file=sys.stderr)
    rows = [("workspace", "user", "keys", "used", "last used")]
    for (workspace, user_id), user in sorted(users.items(), key=lambda entry: (-entry[1].last_used_at, entry[0])):
        last = datetime.fromtimestamp(user.last_used_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if user.used else "never"
        rows.append((workspace, user_id, str(user.keys), str(user.used), last))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def exists(dynamodb, table: str, workspace: str) -> bool:
    """Whether a workspace was ever bootstrapped."""
    key = {"workspace_id": {"S": workspace}, "entry": {"S": "BOOTSTRAP"}}
    return "Item" in dynamodb.get_item(TableName=table, Key=key, ProjectionExpression="entry")


def keys(dynamodb, table: str, workspace: str | None) -> Iterator[tuple[str, str, int]]:
    """Workspace, user and last use of each legacy key. Keys past their ttl are left out."""
    request = {
        "TableName": table,
        "IndexName": "by_id",
        "ProjectionExpression": "workspace_id, user_id, last_used_at",
        "FilterExpression": "#ttl > :now",
        "ExpressionAttributeNames": {"#ttl": "ttl"},
        "ExpressionAttributeValues": {":now": {"N": str(int(time.time()))}},
    }
    if workspace:
        request["KeyConditionExpression"] = "workspace_id = :workspace"
        request["ExpressionAttributeValues"][":workspace"] = {"S": workspace}
    pages = dynamodb.get_paginator("query" if workspace else "scan").paginate(**request)
    for item in pages.search("Items"):
        yield item["workspace_id"]["S"], item["user_id"]["S"], int(item["last_used_at"]["N"])


if __name__ == "__main__":
    sys.exit(run("legacy-report", main))
