"""Imports legacy keys from a file into Keygate, a batch at a time, and goes on where it stopped.

    import_legacy.py --stack keygate --workspace acme keys.jsonl

The file has one key a line as a JSON object, or, if its name ends in .csv, a heading and one key a row; scopes are then
separated by spaces:

    {"key": "old-5f7c…", "user_id": "bob@example.com", "name": "nightly export", "scopes": ["orders:read"]}
    {"sha256": "2cf24dba…", "user_id": "carol@example.com", "name": "dashboard"}

A key in plain text is hashed here, so that only its SHA-256 leaves the machine; who has only digests gives those.

Beside the file, in FILE.progress, stands how many of its lines are imported. Run again, it goes on behind them, unless
one of them has changed. Keys that are there already are left as they are, so nothing is lost without it. It takes
`lambda:InvokeFunction` on the function and `cloudformation:DescribeStacks`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# What import-legacy-keys takes at most.
LARGEST_BATCH = 1000
ATTEMPTS = 10
LONGEST_PAUSE = 20.0
# Others are at work on the same items, or a service is not there: what these say passes.
PASSING_CODES = {"conflict", "unavailable"}
PASSING_ERRORS = {"TooManyRequestsException", "ServiceException", "ResourceConflictException", "EC2ThrottledException"}
FIELDS = {"key", "sha256", "user_id", "name", "scopes"}


class Refused(Exception):
    """Why the import stops: a text for whoever started it, which holds no value of the file."""


class Lines:
    """The lines of a file: how many were read, and their digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            for line in file:
                self.count += 1
                self.sha256.update(line.encode())
                yield line

    def records(self) -> Iterator[tuple[int, object]]:
        """Each record as it stands in the file, with the number of its last line."""
        if self.path.suffix.lower() == ".csv":
            for row in csv.DictReader(self, restkey="beyond the heading"):
                key = {name: value for name, value in row.items() if value}
                yield self.count, key | ({"scopes": key["scopes"].split()} if "scopes" in key else {})
        else:
            for line in self:
                if line.strip():
                    try:
                        yield self.count, json.loads(line)
                    except ValueError:
                        raise Refused(f"line {self.count}: must be a JSON object") from None


class Progress:
    """How far the import of one file into one workspace of one stack is, in a file beside it that holds no key."""

    def __init__(self, file: Path, stack: str, workspace: str) -> None:
        self.path = file.with_name(f"{file.name}.progress")
        self.of = {"stack": stack, "workspace": workspace}

    def lines(self, file: Path) -> int:
        """How many lines of the file are imported; none, if they are not those that were."""
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            if known | self.of != known:
                return 0
            lines = Lines(file)
            if any(lines.count == known["lines"] for _ in lines) and lines.sha256.hexdigest() == known["sha256"]:
                return lines.count
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return 0

    def write(self, lines: int, sha256: str) -> None:
        """Notes how far it is: all of it or nothing, whenever this process ends."""
        temporary = self.path.with_name(f"{self.path.name}.new")
        temporary.write_text(json.dumps(self.of | {"lines": lines, "sha256": sha256}), encoding="utf-8")
        os.replace(temporary, self.path)


def digested(line: int, record: object) -> dict:
    """The record with the SHA-256 of its key in place of the key, so that no key in plain text is ever sent.

    That is why a record that may hold one elsewhere is refused here; all else is for the function to judge.
    """
    if not isinstance(record, dict):
        raise Refused(f"line {line}: must be a JSON object")
    if unknown := len(record.keys() - FIELDS):
        raise Refused(f"line {line}: {unknown} of its fields are none of {', '.join(sorted(FIELDS))}")
    if "key" not in record:
        return record
    if "sha256" in record or not isinstance(record["key"], str) or not record["key"]:
        raise Refused(f"line {line}: key must be a text that is not empty, and not beside sha256")
    digest = hashlib.sha256(record["key"].encode()).hexdigest()
    return {name: value for name, value in record.items() if name != "key"} | {"sha256": digest}


def send(client, function: str, workspace: str, batch: list[tuple[int, object]]) -> dict:
    """Has a batch imported, and tries again what passes: the function's answer."""
    event = {"import": {"workspace_id": workspace, "keys": [key for _, key in batch]}}
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.25 * 2**attempt)))
        try:
            response = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        except ClientError as error:
            if error.response["Error"]["Code"] not in PASSING_ERRORS:
                raise
            reason = error.response["Error"]["Code"]
            continue
        answer = json.loads(response["Payload"].read())
        if "imported" in answer:
            return answer
        # A function that ran out of its time has imported some, and goes on with the others.
        if "FunctionError" not in response and answer.get("code") not in PASSING_CODES:
            raise Refused(explained(answer, batch))
        reason = answer.get("detail") or answer.get("errorMessage") or "no answer"
    raise Refused(f"lines {batch[0][0]} to {batch[-1][0]}: given up after {ATTEMPTS} attempts: {reason}")


def explained(answer: dict, batch: list[tuple[int, object]]) -> str:
    """What was wrong with a batch, by the lines of the file."""
    faults = []
    for fault in answer.get("errors", []):
        place = fault["pointer"].split("/", 3)
        if place[:2] == ["", "keys"] and len(place) > 2:
            field = f"{place[3]} " if len(place) > 3 else ""
            faults.append(f"line {batch[int(place[2])][0]}: {field}{fault['detail']}")
        else:
            faults.append(f"{place[-1]} {fault['detail']}")
    if faults:
        return "\n".join(faults)
    return f"lines {batch[0][0]} to {batch[-1][0]}: {answer.get('detail') or json.dumps(answer)}"


def import_file(client, function: str, arguments: argparse.Namespace) -> None:
    """Sends what is not imported yet, and says how far it is."""
    file, workspace = arguments.file, arguments.workspace
    progress = Progress(file, arguments.stack, workspace)
    known = progress.lines(file)
    if known:
        print(f"{known} lines are imported already: going on behind them", flush=True)
    total = sum(1 for _ in Lines(file))
    lines, started = Lines(file), time.monotonic()
    imported = present = 0
    batch: list[tuple[int, object]] = []

    def finish() -> None:
        nonlocal imported, present
        if batch:
            answer = send(client, function, workspace, batch)
            imported, present = imported + answer["imported"], present + answer["present"]
            batch.clear()
        progress.write(lines.count, lines.sha256.hexdigest())
        rate = (imported + present) / max(time.monotonic() - started, 0.001)
        print(
            f"line {lines.count} of {total}: {imported} imported, {present} there before, {rate:.0f} keys a second",
            flush=True,
        )

    for line, record in lines.records():
        if line <= known:
            continue
        batch.append((line, digested(line, record)))
        if len(batch) == arguments.batch_size:
            finish()
    finish()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--batch-size", type=int, default=LARGEST_BATCH)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    session = boto3.Session()
    try:
        (stack,) = session.client("cloudformation").describe_stacks(StackName=arguments.stack)["Stacks"]
        output = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        function = output.get("ImportLegacyKeysFunctionName")
        if not function:
            raise Refused("the stack honours no legacy keys: deploy it with LegacySunset and LegacyPattern")
        import_file(session.client("lambda", config=Config(retries={"mode": "standard"})), function, arguments)
    except (BotoCoreError, ClientError, OSError, UnicodeDecodeError) as error:
        print(f"import-legacy-keys: {error}", file=sys.stderr)
        return 1
    except Refused as refusal:
        print(f"import-legacy-keys: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("import-legacy-keys: interrupted; run again, it goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
