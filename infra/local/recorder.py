"""A proxy between the functions and their services that records the IAM actions of each call.

The functions reach DynamoDB Local and the emulator's other services through this proxy. Every call becomes one line of
JSON:

    {"time": "…", "function": "create-key", "operation": "TransactWriteItems",
     "actions": [["dynamodb:PutItem", "keygate-keys"], ["dynamodb:Query", "keygate-keys/index/by_name"]]}

A line contains IAM actions and their resources, without bodies and credentials. It is written before the call is passed
on, so a test that has the response finds the line. Tests compare the functions' roles with their calls, and show that a
refusal cost no database read. The recorder itself responds to calls of API Gateway, which the emulator lacks.

A second file has each distinct action once, with the values of IAM's condition keys:

    {"function": "get-key", "action": "dynamodb:GetItem", "resource": "keygate-keys",
     "context": {"dynamodb:Attributes": ["key_id", …], "dynamodb:LeadingKeys": ["01JD…"]},
     "defaults": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES", …}}

Of calls that differ in nothing but the key of a workspace, a user or a key, the first one is written. tests/roles
evaluates the roles' policies with them.

    recorder.py --port 28100 --dynamodb-port 28000 --emulator-port 24566 --calls .local/calls.jsonl \\
        --distinct-calls .local/distinct-calls.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote

from condition_keys import Conditions, example_class, of_item_action
from proxy import CONNECTION_LOST, Connection, Message, close, connect, no_delay, read_message, run

# The Rust SDK ends both user agents with the application's name, which is `keygate-` and the binary's name.
APPLICATION = re.compile(rb"\bapp/(?:keygate-)?([A-Za-z0-9_-]+)")
INVOCATION = re.compile(rb"POST /2015-03-31/functions/([^/ ]+)/invocations[ ?]")


@dataclass(frozen=True)
class Need:
    """An IAM action that a call needs, and the table, index, key, function, bus, queue or path that it is for."""

    action: str
    resource: str
    conditions: Conditions = field(default_factory=Conditions)


class Recorder:
    """The proxy: where calls go, and the files in which they are written down."""

    def __init__(self, dynamodb_port: int, emulator_port: int, calls: str, distinct_calls: str) -> None:
        emulated = ("kms", "events", "sqs", "lambda")
        self.upstreams = {"dynamodb": dynamodb_port, **dict.fromkeys(emulated, emulator_port)}
        self.calls, self.distinct_calls = calls, distinct_calls
        self.recorded: set[str] = set()
        # The partition key of each table and index that was described so far.
        self.partition_keys: dict[str, str] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client's connection, with connections of its own to the services behind.

        A service that hangs up is passed on as hanging up, so that the client's retries see what they would see
        without us in between.
        """
        no_delay(writer)
        upstreams: dict[str, Connection] = {}
        try:
            while request := await read_message(reader):
                service, operation = target(request)
                if service == "apigateway":
                    await self.record(service, operation, request)
                    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                    continue
                if service not in self.upstreams:
                    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                await self.record(service, operation, request)
                if service not in upstreams or upstreams[service][0].at_eof():
                    close(upstreams.get(service))
                    upstreams[service] = await connect(self.upstreams[service])
                from_upstream, to_upstream = upstreams[service]
                to_upstream.write(request.raw)
                await to_upstream.drain()
                response = await read_message(from_upstream)
                if response is None:
                    break
                writer.write(response.raw)
                await writer.drain()
                if b"close" in (request.header(b"Connection").lower(), response.header(b"Connection").lower()):
                    break
        except CONNECTION_LOST:
            pass
        finally:
            for upstream in upstreams.values():
                close(upstream)
            close((reader, writer))

    async def record(self, service: str, operation: str, request: Message) -> None:
        """Appends the call to the file in one write, so that lines do not mix."""
        application = APPLICATION.search(request.header(b"x-amz-user-agent")) or APPLICATION.search(
            request.header(b"User-Agent")
        )
        function = application[1].decode() if application else None
        needs = await self.needs(service, operation, request)
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "function": function,
            "operation": operation,
            "actions": [list(pair) for pair in dict.fromkeys((need.action, need.resource) for need in needs)],
        }
        append(self.calls, line)
        for need in needs:
            context, defaults = need.conditions.context, need.conditions.defaults
            distinct = {"function": function, "action": need.action, "resource": need.resource}
            leading = example_class(context.get("dynamodb:LeadingKeys", []))
            alike = json.dumps([distinct, context | {"dynamodb:LeadingKeys": leading}, defaults], sort_keys=True)
            if alike not in self.recorded:
                self.recorded.add(alike)
                append(self.distinct_calls, distinct | {"context": context, "defaults": defaults})

    async def needs(self, service: str, operation: str, request: Message) -> list[Need]:
        """The IAM actions that a call needs. A call that the service will not understand either needs none."""
        try:
            if service == "dynamodb":
                call = json.loads(request.body)
                for table in tables(call):
                    if table not in self.partition_keys:
                        self.partition_keys |= await self.describe(table)
                return list(item_actions(operation, call, self.partition_keys))
            return list(actions(service, operation, request))
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    async def describe(self, table: str) -> dict[str, str]:
        """The partition keys of a table and of its indexes, by the resource; nothing of a table that does not exist."""
        body = json.dumps({"TableName": table}).encode()
        head = (
            f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.DescribeTable\r\n"
            "Authorization: AWS4-HMAC-SHA256 Credential=recorder/20260101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0\r\nConnection: close\r\n\r\n"
        )
        connection = await connect(self.upstreams["dynamodb"])
        try:
            connection[1].write(head.encode() + body)
            response = await read_message(connection[0])
        finally:
            close(connection)
        described = json.loads(response.body).get("Table") if response else None
        if described is None:
            return {}
        indexes = described.get("GlobalSecondaryIndexes", [])
        keys = {table: described["KeySchema"]}
        keys |= {f"{table}/index/{index['IndexName']}": index["KeySchema"] for index in indexes}
        return {
            resource: attribute["AttributeName"]
            for resource, schema in keys.items()
            for attribute in schema
            if attribute["KeyType"] == "HASH"
        }


def append(path: str, line: Mapping) -> None:
    """Appends a line of JSON to a file in one write."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def target(request: Message) -> tuple[str, str]:
    """The service and the operation that a request names, as in `X-Amz-Target: DynamoDB_20120810.GetItem`.

    Lambda has paths instead: a request to invoke a function is one of `InvokeFunction`, and the function.
    """
    if invocation := INVOCATION.match(request.head):
        return "lambda", f"InvokeFunction {unquote(invocation[1].decode())}"
    prefix, _, operation = request.header(b"X-Amz-Target").decode("latin-1").partition(".")
    if not prefix and b"/apigateway/aws4_request" in request.header(b"Authorization"):
        return "apigateway", request.head.partition(b" ")[0].decode("latin-1")
    services = {"DynamoDB_20120810": "dynamodb", "TrentService": "kms", "AWSEvents": "events", "AmazonSQS": "sqs"}
    return services.get(prefix, ""), operation


TRANSACTION_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}


def item_actions(operation: str, call: Mapping, partition_keys: Mapping[str, str]) -> Iterator[Need]:
    """The actions of a call to DynamoDB.

    A transaction needs the action of each of its items (Amazon DynamoDB developer guide, "Using IAM with DynamoDB
    transactions"); a query of an index needs the index and not the table.
    """

    def need(action: str, table: str, part: Mapping, enclosing: str | None = None) -> Need:
        resource = table_name(table)
        if "IndexName" in part:
            resource += f"/index/{part['IndexName']}"
        conditions = of_item_action(action, part, partition_keys.get(resource), enclosing, call)
        return Need(f"dynamodb:{action}", resource, conditions)

    if "TransactItems" in call:
        for entry in call["TransactItems"]:
            for kind, item in entry.items():
                yield need(TRANSACTION_ACTIONS[kind], item["TableName"], item, operation)
    elif "RequestItems" in call:
        for table, part in call["RequestItems"].items():
            yield need(operation, table, part)
    else:
        yield need(operation, call.get("TableName", ""), call)


def tables(call: Mapping) -> set[str]:
    """The names of the tables that a call to DynamoDB is about."""
    items = [item for entry in call.get("TransactItems", ()) for item in entry.values()]
    named = [item["TableName"] for item in (call, *items) if "TableName" in item]
    return {table_name(table) for table in (*named, *call.get("RequestItems", ()))}


def actions(service: str, operation: str, request: Message) -> Iterator[Need]:
    """The actions of a call to another service."""
    if service == "lambda":
        action, _, function = operation.partition(" ")
        yield Need(f"lambda:{action}", function)
    elif service == "apigateway":
        path = request.head.split(b" ", 2)[1].decode("latin-1")
        yield Need(f"apigateway:{operation}", unquote(path.removeprefix("/v2")))
    elif service == "events":
        entries = json.loads(request.body)["Entries"]
        for bus in dict.fromkeys(entry["EventBusName"] for entry in entries):
            of_bus = [entry for entry in entries if entry["EventBusName"] == bus]
            context = {"events:source": sorted({entry["Source"] for entry in of_bus})}
            yield Need(f"events:{operation}", f"event-bus/{bus}", Conditions(context))
    elif service == "sqs":
        yield Need(f"sqs:{operation}", json.loads(request.body)["QueueUrl"].rpartition("/")[2])
    elif service == "kms":
        call = json.loads(request.body)
        named = ("MacAlgorithm", "MessageType", "SigningAlgorithm")
        context = {f"kms:{name}": call[name] for name in named if name in call}
        yield Need(f"kms:{operation}", call.get("KeyId", ""), Conditions(context))


def table_name(name_or_arn: str) -> str:
    """The name of a table that may have been given as an ARN."""
    return name_or_arn.rpartition(":table/")[2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dynamodb-port", type=int, required=True)
    parser.add_argument("--emulator-port", type=int, required=True)
    parser.add_argument("--calls", required=True)
    parser.add_argument("--distinct-calls", required=True)
    arguments = parser.parse_args()
    recorder = Recorder(arguments.dynamodb_port, arguments.emulator_port, arguments.calls, arguments.distinct_calls)
    run("recorder", arguments.port, recorder.serve)


if __name__ == "__main__":
    main()
