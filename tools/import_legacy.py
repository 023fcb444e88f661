"""Imports legacy keys from a file into Keygate, in batches, and names the lines that were not imported.

    import_legacy.py --stack keygate --workspace acme keys.jsonl

The file has one key a line as a JSON object, or, if its name ends in .csv, a heading and one key a row; scopes are then
separated by spaces:

    {"key": "old-5f7c…", "user_id": "bob@example.com", "name": "nightly export", "scopes": ["orders:read"]}
    {"sha256": "2cf24dba…", "user_id": "carol@example.com", "name": "dashboard"}

A key in plain text is hashed here, so that only its SHA-256 leaves the machine. The function does not see the text, so
this command checks whether the deployed authorizer would ever look such a key up.

Each line that cannot be imported with its values is named with the reason, and the others are imported. The exit
status is 0 only if every line is imported. Output and errors contain no text of the file, because it may be a key.

FILE.progress, beside the file, has the number of imported lines, counted from the first. The next run continues after
them, unless one of them has changed. Without that file it compares the existing keys and does not change them. The
command requires `lambda:InvokeFunction` on the function and `cloudformation:DescribeStacks`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import random
import re
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import ClientError

from deployed_stack import CommandError, DeployedStack, run

# The maximum that import-legacy-keys accepts.
LARGEST_BATCH = 1000
ATTEMPTS = 10
LONGEST_PAUSE = 20.0
# Transient: another request changes the same items, or a service is unavailable.
PASSING_CODES = {"conflict", "unavailable"}
PASSING_ERRORS = {"TooManyRequestsException", "ServiceException", "ResourceConflictException", "EC2ThrottledException"}
FIELDS = ("key", "sha256", "user_id", "name", "scopes")
# Separators of files that people take for CSV.
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
LONGEST_HEADING = 40


class Unfit(Exception):
    """The reason why one line cannot be imported."""


@dataclass
class Record:
    """A key of the file, or the reason why it cannot be read."""

    # The number of its last line.
    line: int
    value: object
    fault: str = ""


class Lines:
    """The lines of a file: how many were read, and their digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        # Only bytes that are not UTF-8 become surrogates, so the error can name their line.
        with open(self.path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for line in file:
                self.count += 1
                self.check_encoding(line)
                self.sha256.update(line.encode())
                yield line

    def check_encoding(self, line: str) -> None:
        advice = "save the file as UTF-8"
        if self.count == 1 and line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise CommandError(f"the file is UTF-16 instead of UTF-8, by its first two bytes: {advice}")
        if "\0" in line:
            raise CommandError(f"line {self.count}: has NUL characters, so the file may be UTF-16: {advice}")
        for column, character in enumerate(line, 1):
            if "\udc80" <= character <= "\udcff":
                raise CommandError(f"line {self.count}: not UTF-8 at character {column}: {advice}")

    def records(self) -> Iterator[Record]:
        """Each record of the file, in order."""
        return self.rows() if self.path.suffix.lower() == ".csv" else self.objects()

    def rows(self) -> Iterator[Record]:
        # Spaces after a comma are not part of the value, and a quotation mark after them begins a quoted value.
        reader = csv.reader(self, skipinitialspace=True, strict=True)
        headings = None
        try:
            for row in reader:
                if not any(row):
                    continue
                if headings is None:
                    headings = read_headings(self.count, row)
                elif len(row) > len(headings):
                    yield Record(self.count, None, f"has {len(row)} fields, and the heading has {len(headings)}")
                else:
                    value: dict = {name: text for name, text in zip(headings, row, strict=False) if text}
                    if "scopes" in value:
                        value["scopes"] = value["scopes"].split()
                    yield Record(self.count, value)
        except csv.Error as error:
            # After a missing quotation mark, all following fields would be wrong.
            raise CommandError(f"line {self.count}: not CSV: {error}") from None

    def objects(self) -> Iterator[Record]:
        for line in self:
            if line.strip():
                try:
                    yield Record(self.count, json.loads(line, object_pairs_hook=distinct))
                except json.JSONDecodeError as error:
                    yield Record(self.count, None, f"must be a JSON object, but is not JSON at column {error.colno}")
                except Unfit as unfit:
                    yield Record(self.count, None, str(unfit))


def distinct(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object without repeated members, which would be ambiguous."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Unfit("has a repeated field")
    return members


def read_headings(line: int, row: list[str]) -> list[str]:
    """The headings of a CSV file, in any case. An error names unknown ones only if the row clearly is a heading."""
    headings = [heading.strip().lower() for heading in row]
    known = [heading for heading in headings if heading in FIELDS]
    if len(known) == len(headings) == len(set(headings)):
        return headings
    expected = f"the headings are {', '.join(FIELDS)}, separated by commas"
    for separator, name in OTHER_SEPARATORS.items():
        parts = [part.strip().lower() for heading in row for part in heading.split(separator)]
        if len(parts) > len(row) and any(part in FIELDS for part in parts):
            raise CommandError(f"line {line}: the headings are separated by {name}: {expected}")
    if not {"key", "sha256", "user_id"} & set(known):
        # The row may be one of keys.
        raise CommandError(f"line {line}: is not a heading: {expected}")
    unknown = [shown(heading) for heading in row if heading.strip().lower() not in FIELDS]
    if unknown:
        raise CommandError(f"line {line}: unknown headings {', '.join(unknown)}: {expected}")
    raise CommandError(f"line {line}: a heading is repeated: {expected}")


def shown(heading: str) -> str:
    """A heading for output, without control characters and shortened."""
    printable = "".join(character if character.isprintable() else "?" for character in heading.strip())
    return f'"{printable}"' if len(printable) <= LONGEST_HEADING else f'"{printable[:LONGEST_HEADING]}…"'


class Progress:
    """The progress of importing one file into one workspace of one stack, in a file beside it without keys."""

    def __init__(self, file: Path, stack: str, workspace: str) -> None:
        self.path = file.with_name(f"{file.name}.progress")
        self.of = {"stack": stack, "workspace": workspace}

    def lines(self, file: Path) -> int:
        """The number of imported lines, counted from the first; 0 if one of them has changed."""
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
        """Writes the progress atomically, because the process can end at any time."""
        temporary = self.path.with_name(f"{self.path.name}.new")
        temporary.write_text(json.dumps(self.of | {"lines": lines, "sha256": sha256}), encoding="utf-8")
        os.replace(temporary, self.path)


class Authorizer:
    """The deployed authorizer's rules for texts that can be legacy keys.

    The function applies the same rules to a key in plain text (`LegacyRules::check`).
    """

    def __init__(self, parameters: dict[str, str]) -> None:
        self.brand = parameters.get("Brand", "kg")
        self.pattern = None
        # The function's regular expressions are for ASCII. Python warns about syntax that it interprets differently.
        with contextlib.suppress(KeyError, re.error, FutureWarning), warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            self.pattern = re.compile(parameters["LegacyPattern"], re.ASCII)

    def check(self, key: str) -> None:
        if key.strip() != key:
            raise Unfit("key can never work: it begins or ends with white space, which no header can transport")
        if any(unicodedata.category(character) == "Cc" for character in key):
            raise Unfit("key can never work: it has a control character, which no header can transport")
        if key.startswith(f"{self.brand}_"):
            raise Unfit("key can never work: it begins with this deployment's brand, as its own credentials do")
        if self.pattern and not self.pattern.fullmatch(key):
            raise Unfit("key can never work: it does not match LegacyPattern")


def digested(record: Record, authorizer: Authorizer) -> dict:
    """The record with the SHA-256 of its key in place of the key, so that no key in plain text is ever sent.

    So a record that may contain one in another field is refused here. The function checks everything else.
    """
    if record.fault:
        raise Unfit(record.fault)
    value = record.value
    if not isinstance(value, dict):
        raise Unfit("must be a JSON object")
    if unknown := len(value.keys() - set(FIELDS)):
        raise Unfit(f"has {unknown} unknown fields: the fields are {', '.join(FIELDS)}")
    if "key" not in value:
        return value
    if "sha256" in value or not isinstance(value["key"], str) or not value["key"]:
        raise Unfit("key must be a non-empty text, without sha256 beside it")
    authorizer.check(value["key"])
    try:
        digest = hashlib.sha256(value["key"].encode()).hexdigest()
    except UnicodeEncodeError:
        raise Unfit("key must be a text without lone surrogates") from None
    return {name: member for name, member in value.items() if name != "key"} | {"sha256": digest}


def send(client, function: str, workspace: str, batch: list[tuple[int, dict]]) -> dict:
    """Imports a batch, repeats the call after transient errors, and returns the function's response."""
    event = {"import": {"workspace_id": workspace, "keys": [key for _, key in batch]}}
    lines = f"lines {batch[0][0]} to {batch[-1][0]}"
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
        # A function that timed out has imported a part. The repeated call imports the rest.
        if "FunctionError" not in response and answer.get("code") not in PASSING_CODES:
            if answer.get("code") == "no_such_workspace":
                raise CommandError(f"the workspace {workspace} does not exist, so nothing was imported: check its name")
            faults = [f"{fault['pointer']} {fault['detail']}" for fault in answer.get("errors", [])]
            raise CommandError(f"{lines}: {'; '.join(faults) or answer.get('detail') or json.dumps(answer)}")
        reason = answer.get("detail") or answer.get("errorMessage") or "no response"
    raise CommandError(f"{lines}: given up after {ATTEMPTS} attempts: {reason}")


def reason(result: dict, lines: list[int]) -> str:
    """The reason why a key was not imported with its values; empty if it was. `lines` are the numbers of its batch."""
    same = f"in line {lines[result['same_as']]}" if "same_as" in result else "already imported"
    match result["result"]:
        case "imported" | "present":
            return ""
        case "other_values":
            return f"the key is {same} with other values: {', '.join(result['fields'])}"
        case "other_workspace":
            return "the key is already imported into another workspace"
        case "user_removed":
            return "user_id must not be a user who was removed from the workspace"
        case "duplicate":
            return f"the key is {same}, which was not imported"
        case "invalid":
            faults = (
                f"{fault['pointer'].split('/', 3)[3] if fault['pointer'].count('/') > 2 else ''} {fault['detail']}"
                for fault in result["errors"]
            )
            return "; ".join(fault.strip() for fault in faults)
        case other:
            return f"the function returned {other}"


@dataclass
class Import:
    """One run, with the results so far."""

    client: object
    function: str
    arguments: argparse.Namespace
    authorizer: Authorizer
    imported: int = 0
    present: int = 0
    refused: int = 0
    started: float = field(default_factory=time.monotonic)

    def run(self) -> bool:
        """Imports the remaining lines, prints the progress, and returns whether every line is imported."""
        file, workspace = self.arguments.file, self.arguments.workspace
        progress = Progress(file, self.arguments.stack, workspace)
        known = progress.lines(file)
        if known:
            print(f"{known} lines are imported already: continuing after them", flush=True)
        total = sum(1 for _ in Lines(file))
        if total and not self.authorizer.pattern:
            print("keys are not compared with LegacyPattern, because Python interprets it differently", flush=True)
        lines = Lines(file)
        batch: list[tuple[int, dict]] = []

        def finish() -> None:
            if batch:
                self.send(batch)
                batch.clear()
            # The progress ends before the first line that was not imported.
            if not self.refused:
                progress.write(lines.count, lines.sha256.hexdigest())
            rate = (self.imported + self.present) / max(time.monotonic() - self.started, 0.001)
            print(
                f"line {lines.count} of {total}: {self.imported} imported, {self.present} imported before, "
                f"{self.refused} not imported, {rate:.0f} keys a second",
                flush=True,
            )

        for record in lines.records():
            if record.line <= known:
                continue
            try:
                batch.append((record.line, digested(record, self.authorizer)))
            except Unfit as unfit:
                self.refuse(record.line, str(unfit))
            if len(batch) == self.arguments.batch_size:
                finish()
        finish()
        if not (known or self.imported or self.present or self.refused):
            raise CommandError("the file has no keys")
        return not self.refused

    def send(self, batch: list[tuple[int, dict]]) -> None:
        answer = send(self.client, self.function, self.arguments.workspace, batch)
        lines = [line for line, _ in batch]
        self.imported, self.present = self.imported + answer["imported"], self.present + answer["present"]
        for line, result in zip(lines, answer["keys"], strict=True):
            if why := reason(result, lines):
                self.refuse(line, why)

    def refuse(self, line: int, why: str) -> None:
        self.refused += 1
        print(f"import-legacy-keys: line {line}: {why}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--batch-size", type=int, default=LARGEST_BATCH)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    stack = DeployedStack(arguments.stack)
    function = stack.outputs.get("ImportLegacyKeysFunctionName")
    if not function:
        raise CommandError("the stack accepts no legacy keys: deploy it with LegacySunset and LegacyPattern")
    process = Import(stack.client("lambda"), function, arguments, Authorizer(stack.parameters))
    try:
        complete = process.run()
    except KeyboardInterrupt:
        print("import-legacy-keys: interrupted; run it again to continue", file=sys.stderr)
        return 130
    if not complete:
        raise CommandError(
            f"{process.refused} keys of the file are not imported. Correct their lines and run the command again: "
            "imported keys do not change."
        )
    return 0


if __name__ == "__main__":
    sys.exit(run("import-legacy-keys", main))
