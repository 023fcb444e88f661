"""DynamoDB Local without an SDK, which would take longer for a million items than the database does."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

WRITERS = 8
ITEMS_PER_WRITE = 25
local = threading.local()


def call(operation: str, request: dict) -> dict:
    """Makes an idempotent call. DynamoDB Local reads the signature, and does not check it."""
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/20260101/{os.environ['AWS_REGION']}/dynamodb/aws4_request"
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0",
    }
    body = json.dumps(request)
    try:
        status, answer = exchange(headers, body)
    except (ConnectionError, http.client.HTTPException):
        # The database has closed a connection that was not used for a while.
        local.connection = None
        status, answer = exchange(headers, body)
    if status != 200:
        raise RuntimeError(f"{operation}: {answer.decode()}")
    return json.loads(answer)


def exchange(headers: dict[str, str], body: str) -> tuple[int, bytes]:
    """Sends a request on the connection of this thread."""
    if getattr(local, "connection", None) is None:
        address = os.environ["KEYGATE_DYNAMODB_URL"].removeprefix("http://")
        local.connection = http.client.HTTPConnection(address, timeout=120)
    local.connection.request("POST", "/", body, headers)
    response = local.connection.getresponse()
    return response.status, response.read()


@contextmanager
def table_like(original: str, name: str, indexes: list[str]) -> Iterator[str]:
    """An empty table with the keys of another one and only these of its indexes, until the end of the block."""
    described = call("DescribeTable", {"TableName": original})["Table"]
    kept = [index for index in described.get("GlobalSecondaryIndexes", []) if index["IndexName"] in indexes]
    schemas = [described["KeySchema"], *(index["KeySchema"] for index in kept)]
    used = {part["AttributeName"] for schema in schemas for part in schema}
    creation = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": described["KeySchema"],
        "AttributeDefinitions": [
            attribute for attribute in described["AttributeDefinitions"] if attribute["AttributeName"] in used
        ],
    }
    if kept:
        fields = ("IndexName", "KeySchema", "Projection")
        creation["GlobalSecondaryIndexes"] = [{field: index[field] for field in fields} for index in kept]
    call("CreateTable", creation)
    try:
        yield name
    finally:
        call("DeleteTable", {"TableName": name})


def write(table: str, items: Iterable[dict]) -> None:
    """Writes items, several batches at once."""

    def put(batch: tuple[dict, ...]) -> None:
        left = {table: [{"PutRequest": {"Item": item}} for item in batch]}
        while left:
            left = call("BatchWriteItem", {"RequestItems": left})["UnprocessedItems"]

    with ThreadPoolExecutor(WRITERS) as writers:
        batches = batched(items)
        # A part at a time, so that not all items are in memory.
        while part := list(itertools.islice(batches, 400)):
            for _ in writers.map(put, part):
                pass


def batched(items: Iterable[dict]) -> Iterator[tuple[dict, ...]]:
    items = iter(items)
    while batch := tuple(itertools.islice(items, ITEMS_PER_WRITE)):
        yield batch


def query(table: str, name: str, value: str, attributes: list[str]) -> Iterator[dict]:
    """All items of a partition, with these attributes."""
    request = {
        "TableName": table,
        "KeyConditionExpression": "#key = :key",
        "ProjectionExpression": ", ".join(f"#{attribute}" for attribute in attributes),
        "ExpressionAttributeNames": {"#key": name, **{f"#{attribute}": attribute for attribute in attributes}},
        "ExpressionAttributeValues": {":key": {"S": value}},
        "ConsistentRead": True,
        # Without a limit DynamoDB Local reads the whole partition for each page.
        "Limit": 1000,
    }
    while True:
        page = call("Query", request)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
