"""Counts how many hashes are left on each version of the pepper: what says when an old one can be taken away.

It reads no hash, but the version that stands beside each. It takes `dynamodb:Scan` of the table, all of which is read at
half a read unit for 4 kB, and `cloudformation:DescribeStackResource`.

    pepper_status.py --stack keygate
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    arguments = parser.parse_args()
    session = boto3.Session()
    try:
        table = session.client("cloudformation").describe_stack_resource(
            StackName=arguments.stack, LogicalResourceId="KeysTable"
        )["StackResourceDetail"]["PhysicalResourceId"]
        keys, previous = count(session.client("dynamodb"), table, int(time.time()))
    except (BotoCoreError, ClientError) as error:
        print(f"pepper-status: {error}", file=sys.stderr)
        return 1
    print(f"{'version':>10} {'keys':>10} {'in overlap':>10}")
    for version in sorted(keys | previous):
        print(f"{version:>10} {keys[version]:>10} {previous[version]:>10}")
    return 0


def count(dynamodb, table: str, now: int) -> tuple[Counter[int], Counter[int]]:
    """By version: the keys whose secret is hashed under it, and those of whose overlap the old secret is.

    Keys past their ttl are gone, whether or not DynamoDB has come to removing them.
    """
    keys: Counter[int] = Counter()
    previous: Counter[int] = Counter()
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression="pepper_version, previous_pepper_version, previous_expires_at",
        FilterExpression="attribute_not_exists(#ttl) OR #ttl > :now",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={":now": {"N": str(now)}},
    )
    for item in pages.search("Items"):
        number = {name: int(value["N"]) for name, value in item.items()}
        keys[number["pepper_version"]] += 1
        if number.get("previous_expires_at", 0) > now:
            previous[number["previous_pepper_version"]] += 1
    return keys, previous


if __name__ == "__main__":
    sys.exit(main())
