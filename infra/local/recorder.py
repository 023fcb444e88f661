"""A proxy between the functions and their services that records the IAM actions of each call.

The functions reach DynamoDB Local and the emulator's other services through this proxy. Every call becomes one line of
JSON:

    {"time": "…", "function": "create-key", "operation": "TransactWriteItems",
     "actions": [["dynamodb:PutItem", "keygate-keys"], ["dynamodb:Query", "keygate-keys/index/by_name"]]}

A line contains IAM actions and their resources, without bodies and credentials. It is written before the call is passed
on, so a test that has the response finds the line. Tests compare the functions' roles with their calls, and show that a
refusal cost no database read. The recorder itself responds to calls of API Gateway, which the emulator lacks.

    recorder.py --port 28100 --dynamodb-port 28000 --emulator-port 24566 --calls .local/calls.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from datetime import UTC, datetime
from urllib.parse import unquote

from proxy import CONNECTION_LOST, Connection, Message, close, connect, no_delay, read_message, run

# The Rust SDK ends both user agents with the application's name, which is `keygate-` and the binary's name.
APPLICATION = re.compile(rb"\bapp/(?:keygate-)?([A-Za-z0-9_-]+)")
INVOCATION = re.compile(rb"POST /2015-03-31/functions/([^/ ]+)/invocations[ ?]")


class Recorder:
    """The proxy, with the addresses of the services and the file of the recorded calls."""

    def __init__(self, dynamodb_port: int, emulator_port: int, calls: str) -> None:
        emulated = ("kms", "events", "sqs", "lambda")
        self.upstreams = {"dynamodb": dynamodb_port, **dict.fromkeys(emulated, emulator_port)}
        self.calls = calls

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
                    self.record(service, operation, request)
                    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                    continue
                if service not in self.upstreams:
                    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                self.record(service, operation, request)
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

    def record(self, service: str, operation: str, request: Message) -> None:
        """Appends the call to the file in one write, so that lines do not mix."""
        application = APPLICATION.search(request.header(b"x-amz-user-agent")) or APPLICATION.search(
            request.header(b"User-Agent")
        )
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "function": application[1].decode() if application else None,
            "operation": operation,
            "actions": actions(service, operation, request),
        }
        file = os.open(self.calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
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


def actions(service: str, operation: str, request: Message) -> list[list[str]]:
    """The IAM actions that a call requires, each with its resource: a table, index, key, function, bus, queue or path.

    A transaction needs the action of each of its items (Amazon DynamoDB developer guide, "Using IAM with DynamoDB
    transactions"); a query of an index needs the index and not the table.
    """
    if service == "lambda":
        action, _, function = operation.partition(" ")
        return [[f"lambda:{action}", function]]
    if service == "apigateway":
        path = request.head.split(b" ", 2)[1].decode("latin-1")
        return [[f"apigateway:{operation}", unquote(path.removeprefix("/v2"))]]
    try:
        call = json.loads(request.body)
        if service == "events":
            buses = dict.fromkeys(entry["EventBusName"] for entry in call["Entries"])
            return [[f"events:{operation}", f"event-bus/{bus}"] for bus in buses]
        if service == "sqs":
            return [[f"sqs:{operation}", call["QueueUrl"].rpartition("/")[2]]]
        if service == "kms":
            return [[f"kms:{operation}", call.get("KeyId", "")]]
        if "TransactItems" in call:
            needed = [
                [f"dynamodb:{TRANSACTION_ACTIONS[kind]}", table_name(item["TableName"])]
                for entry in call["TransactItems"]
                for kind, item in entry.items()
            ]
            return [list(pair) for pair in dict.fromkeys(map(tuple, needed))]
        if "RequestItems" in call:
            return [[f"dynamodb:{operation}", table_name(table)] for table in call["RequestItems"]]
        resource = table_name(call.get("TableName", ""))
        if "IndexName" in call:
            resource += f"/index/{call['IndexName']}"
        return [[f"dynamodb:{operation}", resource]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # not a call that the service will understand either


def table_name(name_or_arn: str) -> str:
    """The name of a table that may have been given as an ARN."""
    return name_or_arn.rpartition(":table/")[2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dynamodb-port", type=int, required=True)
    parser.add_argument("--emulator-port", type=int, required=True)
    parser.add_argument("--calls", required=True)
    arguments = parser.parse_args()
    recorder = Recorder(arguments.dynamodb_port, arguments.emulator_port, arguments.calls)
    run("recorder", arguments.port, recorder.serve)


if __name__ == "__main__":
    main()
