"""Sends the streams of DynamoDB Local to the functions by the template's event source mappings, as Lambda does on AWS.

The emulator stores the mappings, but reads only streams of its own DynamoDB. The pump reads the mappings, and for each
the stream of the same table in DynamoDB Local. Records that pass the mapping's filter are sent in order, in batches,
and repeated until the function succeeds. After some failures a batch is dropped, with a line in the log. The position
is kept in memory: after a restart every record is sent again, which can happen on AWS too.

    pump.py --port 28300 --dynamodb-port 28000 --emulator-port 24566
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PAUSE_SECONDS = 0.2
MAPPINGS_EVERY_SECONDS = 2
ATTEMPTS = 5


class Mapping:
    """One mapping, with the position in its stream: the iterator of each shard."""

    def __init__(self, description: dict) -> None:
        self.function = description["FunctionArn"]
        self.source = description["EventSourceArn"]
        self.table = self.source.partition(":table/")[2].partition("/")[0]
        self.batch_size = description.get("BatchSize", 100)
        filters = description.get("FilterCriteria", {}).get("Filters", [])
        self.patterns = [json.loads(entry["Pattern"]) for entry in filters]
        self.iterators: dict[str, str | None] = {}

    def wants(self, record: dict) -> bool:
        return not self.patterns or any(matches(pattern, record) for pattern in self.patterns)


def matches(pattern: dict, value: object) -> bool:
    """Whether a record matches a filter pattern (AWS Lambda guide, "Filter rule syntax")."""
    if not isinstance(value, dict):
        return False
    for name, wanted in pattern.items():
        if isinstance(wanted, dict):
            if not matches(wanted, value.get(name)):
                return False
        elif not any(fits(rule, value, name) for rule in wanted):
            return False
    return True


def fits(rule: object, value: dict, name: str) -> bool:
    """Whether a member fits one of the alternatives of a filter: a value, its existence, or `anything-but` a list."""
    if isinstance(rule, dict) and "anything-but" in rule:
        return name in value and value[name] not in rule["anything-but"]
    return rule == value.get(name) or rule == {"exists": name in value}


class Pump:
    """Reads the mappings, and moves records."""

    def __init__(self, dynamodb_port: int, emulator_port: int) -> None:
        session = boto3.Session("keygatelocal", "keygatelocal", region_name="us-east-1")
        config = Config(retries={"mode": "standard"}, read_timeout=120)

        def client(service: str, port: int):
            return session.client(service, endpoint_url=f"http://127.0.0.1:{port}", config=config)

        self.tables, self.streams = client("dynamodb", dynamodb_port), client("dynamodbstreams", dynamodb_port)
        self.functions = client("lambda", emulator_port)
        self.mappings: dict[str, Mapping] = {}

    def refresh(self) -> None:
        """Adds new mappings and removes deleted ones."""
        found = self.functions.list_event_source_mappings()["EventSourceMappings"]
        found = {entry["UUID"]: entry for entry in found if ":table/" in entry["EventSourceArn"]}
        known = {uuid: mapping for uuid, mapping in self.mappings.items() if uuid in found}
        self.mappings = {uuid: Mapping(entry) for uuid, entry in found.items()} | known

    def move(self, mapping: Mapping) -> None:
        """Sends the new records of one mapping's stream."""
        stream = self.tables.describe_table(TableName=mapping.table)["Table"]["LatestStreamArn"]
        shards = self.streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
        for shard in (shard["ShardId"] for shard in shards):
            if shard not in mapping.iterators:
                mapping.iterators[shard] = self.streams.get_shard_iterator(
                    StreamArn=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            if not (iterator := mapping.iterators[shard]):
                continue  # a closed shard that has been read to its end
            page = self.streams.get_records(ShardIterator=iterator, Limit=mapping.batch_size)
            records = [record for record in map(self.lambda_record(mapping), page["Records"]) if mapping.wants(record)]
            if records:
                self.hand_over(mapping, records)
            mapping.iterators[shard] = page.get("NextShardIterator")

    def lambda_record(self, mapping: Mapping):
        """Converts a record into the form in which Lambda sends it."""

        def convert(record: dict) -> dict:
            identity = record.get("userIdentity")
            change = dict(record["dynamodb"])
            change["ApproximateCreationDateTime"] = change["ApproximateCreationDateTime"].timestamp()
            converted = {name: record[name] for name in ("eventID", "eventName", "eventVersion")}
            converted |= {"eventSource": "aws:dynamodb", "awsRegion": "us-east-1", "eventSourceARN": mapping.source}
            if identity:
                converted["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
            return converted | {"dynamodb": change}

        return convert

    def hand_over(self, mapping: Mapping, records: list[dict]) -> None:
        """Invokes the function with a batch, and repeats it from the first failed record, a limited number of times."""
        for attempt in range(ATTEMPTS):
            payload = json.dumps({"Records": records}, default=lambda raw: base64.b64encode(raw).decode())
            answer = self.functions.invoke(FunctionName=mapping.function, Payload=payload)
            result = json.loads(answer["Payload"].read() or "null")
            if "FunctionError" not in answer:
                failures = [failure["itemIdentifier"] for failure in (result or {}).get("batchItemFailures", [])]
                numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
                if not failures:
                    return
                records = records[min(map(numbers.index, failures)) :]
            time.sleep(PAUSE_SECONDS * 2**attempt)
        print(f"given up: {len(records)} records for {mapping.function}", flush=True)

    def run(self) -> None:
        refreshed = float("-inf")
        while True:
            try:
                if time.monotonic() - refreshed > MAPPINGS_EVERY_SECONDS:
                    self.refresh()
                    refreshed = time.monotonic()
                threads = [threading.Thread(target=self.attempt, args=(entry,)) for entry in self.mappings.values()]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            except (BotoCoreError, ClientError) as error:
                print(f"mappings: {error}", flush=True)
            time.sleep(PAUSE_SECONDS)

    def attempt(self, mapping: Mapping) -> None:
        try:
            self.move(mapping)
        except (BotoCoreError, ClientError) as error:
            mapping.iterators.clear()  # an iterator may be too old: from the beginning, which does no harm
            print(f"{mapping.table}: {error}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dynamodb-port", type=int, required=True)
    parser.add_argument("--emulator-port", type=int, required=True)
    arguments = parser.parse_args()
    # The port serves no requests. It shows that the process runs.
    listener = socket.create_server(("127.0.0.1", arguments.port), backlog=16)
    threading.Thread(target=lambda: [listener.accept()[0].close() for _ in iter(int, 1)], daemon=True).start()
    Pump(arguments.dynamodb_port, arguments.emulator_port).run()


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"pump: {error}")
    except KeyboardInterrupt:
        pass
