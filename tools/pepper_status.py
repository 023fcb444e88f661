"""Counts the hashes of each pepper version, to show when an old version can be removed.

The command reads the version beside each hash, not the hash. It requires `dynamodb:Scan` of two tables, and of a third
while legacy keys are accepted, at half a read unit for 4 kB, and `cloudformation:DescribeStacks`.

    pepper_status.py --stack keygate
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator

from deployed_stack import DeployedStack, run


def main() -> int:
    # `make pepper-status | head` ends it, as it does other programs.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    arguments = parser.parse_args()
    stack, now = DeployedStack(arguments.stack), int(time.time())
    dynamodb = stack.client("dynamodb")
    keys: Counter[int] = Counter()
    overlaps: Counter[int] = Counter()
    for key in hashed(dynamodb, stack.outputs["KeysTableName"], now):
        keys[key["pepper_version"]] += 1
        if key.get("previous_expires_at", 0) > now:
            overlaps[key["previous_pepper_version"]] += 1
    tokens = Counter(token["pepper_version"] for token in hashed(dynamodb, stack.outputs["TokensTableName"], now))
    legacy: Counter[int] = Counter()
    if table := stack.outputs.get("LegacyKeysTableName"):
        legacy.update(key["pepper_version"] for key in hashed(dynamodb, table, now))
    counts = {"keys": keys, "overlaps": overlaps, "tokens": tokens, "legacy": legacy}
    print(f"{'version':>10}", *(f"{name:>10}" for name in counts))
    for version in sorted(keys | overlaps | tokens | legacy):
        print(f"{version:>10}", *(f"{count[version]:>10}" for count in counts.values()))
    return 0


def hashed(dynamodb, table: str, now: int) -> Iterator[dict[str, int]]:
    """The pepper versions of the items of a table.

    Items past their ttl are left out, because DynamoDB may remove them late.
    """
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression="pepper_version, previous_pepper_version, previous_expires_at",
        FilterExpression="attribute_exists(pepper_version) AND (attribute_not_exists(#ttl) OR #ttl > :now)",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={":now": {"N": str(now)}},
    )
    for item in pages.search("Items"):
        yield {name: int(value["N"]) for name, value in item.items()}


if __name__ == "__main__":
    sys.exit(run("pepper-status", main))
