"""Measures the authorizer and the programs that it is compared with, and writes docs/benchmarks.md (`make bench`).

Everything that is compared is measured in turns in the same run, each function alone on a processor that nothing else
of this uses, and by the processor time that the kernel counted for it, because the time on a clock is that of everybody
who shares the machine. Needs the environment of a local stack (infra/local/stack.py run).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import sys
import urllib.request
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from lambda_api import Function, Variant
from report import Measured, tables, write
from tls import Terminator, certificates

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "bench"
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
EVENT_ARN = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/v1/GET/orders"

# Calls before the first measured one, because V8 compiles functions that are called often.
WARM_UP = 400

# Counts the instructions of a program and of the libraries that it calls, without those of the kernel.
VALGRIND = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
# The calls between two counts, after the calls before the first.
COUNTED, BEFORE_COUNTED = 200, 50


def variants() -> list[Variant]:
    """The compared programs. Unless a comment says otherwise, the authorizer is configured as in the template."""

    def rust(name: str, binary: str, extensions: bool = False, token: bool = False, **variables: str) -> Variant:
        return Variant(name, [str(RELEASE / binary)], variables, extensions, token)

    node, python = FOLDER / "node/authorizer.cjs", FOLDER / "python/bin/python"
    return [
        rust("no-op", "no-op"),
        rust("floor", "floor"),
        rust("get-item", "get-item"),
        rust("authorize", "authorize"),
        rust("authorize-cached", "authorize", CACHE_SECONDS="300"),
        rust("authorize-extension", "authorize", extensions=True),
        rust("authorize-token", "authorize", token=True),
        rust("authorize-each", "authorize", CALL_ACTIVITY="each"),
        Variant("node", ["node", str(node)], {}),
        Variant("python", [str(python), "-m", "awslambdaric", "authorizer.handler"], {}),
    ]


async def measure(rounds: int, calls: int, colds: int, only: list[str]) -> dict[str, Measured]:
    chosen = [variant for variant in variants() if not only or variant.name in only]
    measured = {variant.name: Measured() for variant in chosen}
    servers, cpu = processors()
    os.sched_setaffinity(0, servers)
    context, trusted = certificates(FOLDER)
    dynamodb = Terminator(address(os.environ["KEYGATE_DYNAMODB_URL"]), context)
    kms = Terminator(address(os.environ["AWS_ENDPOINT_URL"]), context)
    key = os.environ["KEYGATE_ADMIN_KEY"]
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL_DYNAMODB": await dynamodb.start(),
        "AWS_ENDPOINT_URL_KMS": await kms.start(),
        **{name: str(trusted) for name in ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")},
        **{name: os.environ[name] for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
        # As in the managed runtimes.
        "AWS_DEFAULT_REGION": os.environ["AWS_REGION"],
        "PYTHONPATH": str(ROOT / "bench/python"),
        "KEYS_TABLE": os.environ["KEYGATE_KEYS_TABLE"],
        "USAGE_TABLE": os.environ["KEYGATE_USAGE_TABLE"],
        "TOKENS_TABLE": os.environ["KEYGATE_TOKENS_TABLE"],
        "ACTIVITY_TABLE": os.environ["KEYGATE_ACTIVITY_TABLE"],
        "PEPPER_KEY": os.environ["KEYGATE_PEPPER_KEY"],
        "PEPPER_VERSIONS": os.environ["KEYGATE_PEPPER_VERSIONS"],
        "CURRENT_PEPPER_VERSION": os.environ["KEYGATE_CURRENT_PEPPER_VERSION"],
        "BENCH_KEY_ID": key.split("_")[2],
    }
    of_key, of_token = event(key), event(access_token(key))

    def event_for(variant: Variant) -> bytes:
        return of_token if variant.token else of_key

    def function(variant: Variant) -> Function:
        return Function(variant, environment, cpu, FOLDER / f"{variant.name}.log")

    print(f"{colds} cold starts of each", flush=True)
    for _ in range(colds):
        for variant in random.sample(chosen, len(chosen)):
            async with function(variant) as started:
                checked(variant, await started.invoke(event_for(variant)))
                measured[variant.name].cold_cpu.append(started.cpu_at_answer)
                measured[variant.name].cold_wall.append(started.answered_at - started.started_at)
                await started.settle()

    print(f"{rounds} rounds of {calls} calls of each", flush=True)
    running = [function(variant) for variant in chosen]
    for one in running:
        await one.start()
    try:
        for one in running:
            for _ in range(WARM_UP):
                checked(one.variant, await one.invoke(event_for(one.variant)))
                await one.settle()
        operations: dict[str, Counter[str]] = defaultdict(Counter)
        logged = {one.variant.name: one.log.stat().st_size for one in running}
        for _ in range(rounds):
            for one in random.sample(running, len(running)):
                before, called_before = one.cpu_seconds(), dynamodb.calls.copy()
                took = 0.0
                clock = asyncio.get_running_loop().time
                for _ in range(calls):
                    asked = clock()
                    await one.invoke(event_for(one.variant))
                    took += one.answered_at - asked
                    await one.settle()
                measured[one.variant.name].warm_cpu.append((one.cpu_seconds() - before) / calls)
                measured[one.variant.name].warm_wall.append(took / calls)
                operations[one.variant.name].update(dynamodb.calls - called_before)
        for name, counted in operations.items():
            measured[name].calls = {operation: count / (rounds * calls) for operation, count in counted.items()}
        for one in running:
            logged_since = one.log.stat().st_size - logged[one.variant.name]
            measured[one.variant.name].log_bytes = logged_since / (rounds * calls)
    finally:
        for one in running:
            await one.end()

    async def instructions(variant: Variant, calls: int) -> int:
        """The instructions of a process from its start to the end of so many calls."""
        log = FOLDER / f"{variant.name}-instructions.log"
        log.unlink(missing_ok=True)
        counted = Function(replace(variant, command=[*VALGRIND, *variant.command]), environment, cpu, log)
        await counted.start()
        for _ in range(calls):
            checked(variant, await counted.invoke(event_for(variant)))
            await counted.settle()
        await counted.end(by_request=True)
        found = re.search(r"I +refs: +([0-9,]+)", log.read_text(encoding="utf-8", errors="replace"))
        if found is None:
            raise RuntimeError(f"valgrind counted nothing; its log is {log}")
        return int(found[1].replace(",", ""))

    print("instructions of each program in Rust", flush=True)
    for variant in chosen:
        if variant.command[0].startswith(str(RELEASE)):
            first, early, late = [
                await instructions(variant, calls) for calls in (1, BEFORE_COUNTED, BEFORE_COUNTED + COUNTED)
            ]
            measured[variant.name].cold_instructions = first
            measured[variant.name].warm_instructions = (late - early) / COUNTED
    await dynamodb.end()
    await kms.end()
    return measured


def event(credential: str) -> bytes:
    """The event that a REST API sends to a TOKEN authorizer."""
    return json.dumps({"type": "TOKEN", "authorizationToken": f"Bearer {credential}", "methodArn": EVENT_ARN}).encode()


def access_token(key: str) -> str:
    """Exchanges the key for an access token with all scopes of the key."""
    client = base64.b64encode(f"{key.split('_')[2]}:{key}".encode()).decode()
    request = urllib.request.Request(
        f"{os.environ['KEYGATE_OAUTH_URL']}/oauth/token",
        data=b"grant_type=client_credentials",
        headers={"Authorization": f"Basic {client}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["access_token"]


def checked(variant: Variant, answer: bytes) -> None:
    """Raises if the authorizer refused or failed: only accepted calls are measured."""
    document = json.loads(answer)
    if "policyDocument" not in document:
        raise RuntimeError(f"{variant.name} returned {answer.decode()}; its log is in {FOLDER}")


def processors() -> tuple[set[int], int]:
    """The processors for everything else, and the processor for the measured function."""
    *others, last = sorted(os.sched_getaffinity(0) | {os.cpu_count() - 1})
    if not others:
        raise RuntimeError("the measurement needs two processors: one for the function, one for everything else")
    return set(others), last


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--colds", type=int, default=21)
    parser.add_argument("--only", nargs="*", default=[], help="only these variants, without writing the page")
    arguments = parser.parse_args()
    rounds, calls, colds = arguments.rounds, arguments.calls, arguments.colds
    measured = asyncio.run(measure(rounds, calls, colds, arguments.only))
    if arguments.only:
        print(tables(measured))
    else:
        how = f"{rounds} rounds of {calls} calls of each function, {colds} cold starts of each"
        print(write(measured, ROOT / "docs", how))
    return 0


if __name__ == "__main__":
    sys.exit(main())
