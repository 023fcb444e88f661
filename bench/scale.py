"""Measures the functions that read all keys, on many keys in DynamoDB Local (`make scale`).

`announce-lifecycle` gets keys that are all due in one hour, and is killed once. Each key must have one event at last.
`recount-users` and `disable-unused-keys` get users and keys with nothing to correct and nothing to disable, and at last
keys that get a notice. Each function runs alone on a processor, with the timeout of the template, and is invoked again
until it has finished.

Needs the environment of a local stack (infra/local/stack.py run). The tables are copies of the deployed ones, with only
the indexes that the measured function uses, so that the database does not take longer than the function.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import database
from lambda_api import Function, Variant
from run import RELEASE, processors

FOLDER = Path(__file__).resolve().parents[1] / ".local" / "bench" / "scale"
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
HOUR, DAY = 3600, 86_400
# The processor of a function with 1,024 MB: a whole one comes with 1,769 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
PROCESSOR = 1024 / 1769
KEYS_OF_A_USER = 10


@dataclass
class Measured:
    """The runs of a function until it has finished."""

    runs: int
    seconds: float
    cpu: float
    memory: int
    counts: Counter[str]


def key_id(number: int, at: int) -> str:
    """A ULID of that second, whose last byte, and so its shard, follows from the number."""
    value = (at * 1000) << 80 | secrets.randbits(40) << 40 | number
    return "".join(DIGITS[value >> shift & 31] for shift in range(125, -1, -5))


def text(value: str) -> dict:
    return {"S": value}


def number(value: int) -> dict:
    return {"N": str(value)}


def key(identifier: str, user: str, now: int) -> dict:
    """A key that never expires, with what most keys have."""
    return {
        "key_id": text(identifier),
        "workspace_id": text("scale"),
        "user_id": text(user),
        "created_by": text(user),
        "created_at": number(now - 400 * DAY),
        "name": text(f"key {identifier}"),
        "name_folded": text(f"key {identifier.lower()}"),
        "scopes": {"L": [text("orders:read"), text("orders:write")]},
        "metadata": {"M": {"env": text("live"), "team": text("payments")}},
        "hash": {"B": "A" * 43 + "="},
        "pepper_version": number(1),
        "revision": number(1),
        "rotation": number(0),
        "token_generation": number(0),
    }


def due_keys(count: int, hour: int) -> Iterator[dict]:
    """Keys that expire at the end of the same hour."""
    expires_at = hour + HOUR - 60
    name = datetime.fromtimestamp(hour, UTC).strftime("%Y-%m-%dT%H")
    for index in range(count):
        identifier = key_id(index, hour - 90 * DAY)
        times = {"expires_at": expires_at, "ttl": expires_at + 30 * DAY, "due_at": expires_at}
        yield {
            **key(identifier, f"user-{index // KEYS_OF_A_USER}", hour),
            **{attribute: number(at) for attribute, at in times.items()},
            "due_bucket": text(f"{name}#{index % 4}"),
        }


def members(users: int, now: int) -> Iterator[dict]:
    """The entries of users with their keys, and the names of those."""

    def entry(name: str, **attributes: dict) -> dict:
        return {"workspace_id": text("scale"), "entry": text(name), **attributes}

    for user in range(users):
        yield entry(f"USER#user-{user}", key_count=number(KEYS_OF_A_USER))
        for index in range(KEYS_OF_A_USER):
            identifier = key_id(user * KEYS_OF_A_USER + index, now)
            yield entry(f"MEMBER#user-{user}#{identifier}", counted={"BOOL": True})
            yield entry(f"NAME#key {identifier.lower()}", key_id=text(identifier))


def last_uses(count: int, at: int) -> Iterator[dict]:
    for index in range(count):
        yield {
            "key_id": text(key_id_of_use(index)),
            "entry": text("LAST"),
            "workspace_id": text("scale"),
            "last_used_at": number(at),
        }


def key_id_of_use(index: int) -> str:
    value = 1_700_000_000_000 << 80 | index
    return "".join(DIGITS[value >> shift & 31] for shift in range(125, -1, -5))


class Deployment:
    """The tables of a measurement, and the environment of functions that use them."""

    def __init__(self, tables: dict[str, str]) -> None:
        _, self.cpu = processors()
        self.environment = {
            **{name: os.environ[name] for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
            "AWS_ENDPOINT_URL": os.environ["KEYGATE_DYNAMODB_URL"],
            **{f"{name}_TABLE": table for name, table in tables.items()},
        }

    def start(self, name: str, timeout: int, **variables: str) -> Function:
        log = FOLDER / f"{name}.log"
        return Function(
            Variant(name, [str(RELEASE / name)], variables, timeout=timeout), self.environment, self.cpu, log
        )


def last_line(function: Function, message: str) -> dict:
    """The last line of the function's log with a message."""
    lines = function.log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line for line in map(as_json, lines) if line.get("message") == message]
    if not found:
        raise RuntimeError(f"no line `{message}` in {function.log}")
    return found[-1]


def as_json(line: str) -> dict:
    with contextlib.suppress(ValueError):
        document = json.loads(line)
        if isinstance(document, dict):
            return document
    return {}


async def run_until(function: Function, message: str, finished: str) -> Measured:
    """Invokes a function until its log says that it has finished."""
    measured = Measured(0, 0.0, 0.0, 0, Counter())
    async with function:
        while True:
            began, cpu = time.monotonic(), function.cpu_seconds()
            answer = await function.invoke(b"{}")
            measured.runs += 1
            measured.seconds += time.monotonic() - began
            measured.cpu += function.cpu_seconds() - cpu
            measured.memory = function.memory("VmHWM")
            if answer != b"null":
                raise RuntimeError(f"{function.variant.name} failed: {answer.decode()}")
            line = last_line(function, message)
            measured.counts.update({name: value for name, value in line.items() if isinstance(value, int)})
            print(f"  run {measured.runs}: {line}", flush=True)
            if line[finished]:
                return measured


def report(what: str, items: int, measured: Measured) -> None:
    each = measured.cpu / items
    print(
        f"{what}: {items:,} in {measured.runs} runs and {measured.seconds:.0f} s, at most"
        f" {measured.memory / 2**20:.1f} MiB of memory; {each * 1e6:.0f} µs of a processor each, which is"
        f" {PROCESSOR / each:,.0f} per second with 1,024 MB",
        flush=True,
    )


async def announce(keys: int, kill_after: float, timeout: int) -> None:
    """Announces the expiry of keys that are due in the same hour."""
    unique = secrets.token_hex(4)
    hour = (int(time.time()) // HOUR - 3) * HOUR
    with contextlib.ExitStack() as tables:

        def table(name: str, *indexes: str) -> str:
            original = os.environ[f"KEYGATE_{name}_TABLE"]
            return tables.enter_context(database.table_like(original, f"scale-{name.lower()}-{unique}", [*indexes]))

        names = {"KEYS": table("KEYS", "by_due"), "WORKSPACES": table("WORKSPACES"), "ACTIVITY": table("ACTIVITY")}
        began = time.monotonic()
        database.write(names["KEYS"], due_keys(keys, hour))
        progress = {"workspace_id": text("#keygate"), "entry": text("ANNOUNCED"), "note": number(hour)}
        database.write(names["WORKSPACES"], [progress])
        print(f"{keys:,} keys that are due in one hour, written in {time.monotonic() - began:.0f} s", flush=True)
        deployment = Deployment(names | {"USAGE": os.environ["KEYGATE_USAGE_TABLE"]})

        async with deployment.start("announce-lifecycle", timeout) as killed:
            run = asyncio.create_task(killed.invoke(b"{}"))
            await asyncio.sleep(kill_after)
            if run.done():
                raise RuntimeError("the function was done before it could be killed: more keys, or an earlier kill")
            memory = killed.memory("VmHWM")
            killed.process.kill()
            run.cancel()
        # The database may be at work on the function's last calls.
        await asyncio.sleep(5)
        # A scan of a large table takes DynamoDB Local minutes. All of these events are in one partition.
        events = partial(database.query, names["ACTIVITY"], "actor", "scale#keygate:clock", ["key_id", "action"])
        written = sum(1 for _ in events())
        print(f"  killed after {kill_after:.0f} s and {written:,} events", flush=True)

        function = deployment.start("announce-lifecycle", timeout)
        measured = await run_until(function, "lifecycle events written", "caught_up")
        measured.memory = max(measured.memory, memory)
        report("announce-lifecycle, keys", measured.counts["events"], measured)

        found = Counter((event["key_id"]["S"], event["action"]["S"]) for event in events())
        if len(found) != keys or set(found.values()) != {1} or {action for _, action in found} != {"key.expired"}:
            raise RuntimeError(f"{len(found):,} keys have events, {sum(found.values()):,} of them")
        if written + measured.counts["events"] != keys:
            raise RuntimeError("the runs after the kill announced keys again")
        print(f"  each of {keys:,} keys has one event", flush=True)


async def recount(users: int) -> None:
    """Recounts the keys of users whose counts are right."""
    now = int(time.time())
    original, name = os.environ["KEYGATE_WORKSPACES_TABLE"], f"scale-workspaces-{secrets.token_hex(4)}"
    with database.table_like(original, name, []) as workspaces:
        database.write(workspaces, members(users, now))
        others = {name: os.environ[f"KEYGATE_{name}_TABLE"] for name in ("KEYS", "USAGE", "ACTIVITY")}
        function = Deployment({"WORKSPACES": workspaces, **others}).start("recount-users", 900)
        measured = await run_until(function, "users recounted", "finished")
        report(f"recount-users, users with {KEYS_OF_A_USER} keys", users, measured)


async def unused(keys: int, days: int, what: str) -> None:
    """Looks for unused keys among keys that were last used that many days ago."""
    now, unique = int(time.time()), secrets.token_hex(4)
    with contextlib.ExitStack() as tables:

        def table(name: str, *indexes: str) -> str:
            original = os.environ[f"KEYGATE_{name}_TABLE"]
            return tables.enter_context(database.table_like(original, f"scale-{name.lower()}-{unique}", [*indexes]))

        names = {
            "KEYS": table("KEYS"),
            "USAGE": table("USAGE", "by_last_used_at"),
            "WORKSPACES": table("WORKSPACES"),
            "ACTIVITY": table("ACTIVITY"),
        }
        database.write(names["USAGE"], last_uses(keys, now - days * DAY))
        database.write(names["KEYS"], (key(key_id_of_use(index), "alice", now) for index in range(keys)))
        function = Deployment(names).start("disable-unused-keys", 900, DISABLE_UNUSED_DAYS="90")
        measured = await run_until(function, "unused keys checked", "finished")
        report(f"disable-unused-keys, {what}", keys, measured)


async def measure(arguments: argparse.Namespace) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for log in FOLDER.glob("*.log"):
        log.unlink()
    others, _ = processors()
    os.sched_setaffinity(0, others)
    if "announce" in arguments.only:
        await announce(arguments.keys, arguments.kill_after, arguments.timeout)
    if "recount" in arguments.only:
        await recount(arguments.users)
    if "unused" in arguments.only:
        await unused(arguments.keys, 1, "keys in use")
        await unused(arguments.keys // 10, 200, "keys that get a notice")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=350_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--kill-after", type=float, default=20, help="seconds of the run that is killed")
    parts = ["announce", "recount", "unused"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="what is measured")
    parser.add_argument("--timeout", type=int, default=110, help="of announce-lifecycle, in seconds")
    asyncio.run(measure(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
