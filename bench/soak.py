"""Runs one environment of the authorizer for long (`make soak`).

    soak.py invocations --count 1000000   each response must be right, and the memory must not grow
    soak.py faults --minutes 10           the database fails in all known ways, and no response may be wrong

Needs the environment of a local stack (infra/local/stack.py run), and the authorizer as it is deployed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from string import ascii_lowercase, ascii_uppercase, digits

from lambda_api import Function, Variant
from run import RELEASE, ROOT, access_token, event, processors

FOLDER = ROOT / ".local" / "bench" / "soak"
MICROBURST = ROOT / ".local" / "tools" / "emulator" / "bin" / "microburst"
ALPHABET = digits + ascii_uppercase + ascii_lowercase
BASE_32 = digits + "ABCDEFGHJKMNPQRSTVWXYZ"

# The keys that one environment sees.
KEYS = 200
# The growth of memory that is taken for flat: the allocator keeps what a busy moment needed.
FLAT = 2 * 2**20
SAMPLES = 50

# The ways in which DynamoDB and networks fail, as rules of microburst.
FAULTS = [
    {"error": {"code": "ProvisionedThroughputExceededException"}},
    {"error": {"code": "ThrottlingException"}},
    {"error": {"code": "InternalServerError"}},
    {"error": {"code": "InternalFailure", "status": 500}},
    {"error": {"code": "ServiceUnavailable", "status": 503}},
    {"timeout_ms": 60_000},
    {"latency": 300},
    {"latency": 60_000},
    {"reset": True},
    {"response": {"truncate_frac": 0.5}},
    {"response": {"abort_frac": 0.5}},
]


def checksum(credential: str) -> str:
    """A credential with the checksum that belongs to it (docs/key-format.md)."""
    rest, number = "", zlib.crc32(credential.encode())
    for _ in range(6):
        number, digit = divmod(number, 62)
        rest = ALPHABET[digit] + rest
    return credential + rest


def unknown_key(chance: random.Random) -> str:
    """A well-formed key that does not exist."""
    identifier = "0" + "".join(chance.choices(BASE_32, k=25))
    return checksum(f"kg_key_{identifier}_0{''.join(chance.choices(ALPHABET, k=42))}")


def with_other_secret(key: str, other: str) -> str:
    """A key with the secret of another one."""
    return checksum(key[:-49] + other[-49:-6])


def api(method: str, path: str, body: dict | None = None) -> dict:
    """A request of the stack's administrator."""
    request = urllib.request.Request(
        f"{os.environ['KEYGATE_API_URL']}{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={
            "Authorization": f"Bearer {os.environ['KEYGATE_ADMIN_KEY']}",
            "Content-Type": "application/json",
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"{}")


def create() -> tuple[str, str]:
    """A new key of a new user, because a user has a limited number of keys: its id and its text."""
    unique = f"soak-{secrets.token_hex(8)}"
    created = api("POST", "/api-keys", {"name": unique, "user_id": unique, "scopes": ["orders:read"]})
    return created["id"], created["key"]


def start(log: str, **variables: str) -> Function:
    _, cpu = processors()
    environment = {
        **{name: os.environ[name] for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
        "AWS_ENDPOINT_URL_DYNAMODB": os.environ["KEYGATE_DYNAMODB_URL"],
        "AWS_ENDPOINT_URL_KMS": os.environ["AWS_ENDPOINT_URL"],
        **{f"{name}_TABLE": os.environ[f"KEYGATE_{name}_TABLE"] for name in ("KEYS", "USAGE", "TOKENS", "ACTIVITY")},
        **{name: os.environ[f"KEYGATE_{name}"] for name in ("PEPPER_KEY", "PEPPER_VERSIONS", "CURRENT_PEPPER_VERSION")},
        # Each refusal is a line.
        "LOG_LEVEL": "error",
    }
    variant = Variant("authorize", [str(RELEASE / "authorize")], variables, extensions=True)
    return Function(variant, environment, cpu, FOLDER / log)


def decision(answer: bytes) -> str:
    """`accepted`, `refused`, or `failed`, which decides nothing."""
    document = json.loads(answer)
    if "policyDocument" in document:
        return "accepted"
    return "refused" if document.get("errorMessage") == "Unauthorized" else "failed"


async def respond(function: Function, credential: str) -> str:
    answer = await function.invoke(event(credential))
    await function.settle()
    return decision(answer)


async def invocations(count: int, seed: int) -> None:
    """Invokes one environment with valid and invalid credentials in turn, and samples its memory."""
    chance = random.Random(seed)
    keys = [create()[1] for _ in range(KEYS)]
    tokens = [access_token(key) for key in keys[:20]]
    revoked_id, revoked = create()
    api("DELETE", f"/api-keys/{revoked_id}")
    kinds = {
        "key": lambda: (chance.choice(keys), "accepted"),
        "token": lambda: (chance.choice(tokens), "accepted"),
        "deleted key": lambda: (revoked, "refused"),
        "unknown key": lambda: (unknown_key(chance), "refused"),
        "wrong secret": lambda: (with_other_secret(*chance.sample(keys, 2)), "refused"),
        "malformed": lambda: (chance.choice(keys)[: chance.randrange(80)], "refused"),
    }
    names, weights = list(kinds), [6, 1, 1, 1, 1, 1]
    seen, memory = Counter(), []
    began = time.monotonic()
    # Tokens end within the run otherwise.
    renewed = began
    async with start("invocations.log") as function:
        for number in range(1, count + 1):
            if time.monotonic() - renewed > 600:
                tokens[:] = [access_token(key) for key in keys[:20]]
                renewed = time.monotonic()
            [name] = chance.choices(names, weights)
            credential, expected = kinds[name]()
            found = await respond(function, credential)
            if found != expected:
                raise RuntimeError(f"invocation {number} with a {name} is {found}; the log is {function.log}")
            seen[name] += 1
            if number % max(1, count // SAMPLES) == 0:
                memory.append(function.memory("VmRSS"))
        highest, cpu = function.memory("VmHWM"), function.cpu_seconds()
    early, late = max(memory[len(memory) // 5 : 2 * len(memory) // 5]), max(memory[-len(memory) // 5 :])
    print(
        f"{count:,} invocations of one environment in {time.monotonic() - began:.0f} s, {dict(seen)}: all responses are"
        f" right; memory {early / 2**20:.1f} MiB in the second fifth, {late / 2**20:.1f} MiB in the last, at most"
        f" {highest / 2**20:.1f} MiB; {cpu / count * 1e6:.0f} µs of a processor each",
        flush=True,
    )
    if late > early + FLAT:
        raise RuntimeError(f"the memory grows: {[round(sample / 2**20, 1) for sample in memory]}")


class Microburst:
    """A proxy of the database that makes calls fail."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [str(MICROBURST), "--host", "127.0.0.1", "--port", str(port), "--no-resign"]
        command += ["--upstream", os.environ["KEYGATE_DYNAMODB_URL"]]
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.rules([])
                # The first call makes it load its descriptions of AWS, which takes seconds.
                self.send("/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, b"{}")
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.end()
                    raise
                time.sleep(0.1)

    def rules(self, rules: list[dict]) -> None:
        """Replaces the rules."""
        self.send("/_microburst/rules", {"Content-Type": "application/json"}, json.dumps(rules).encode())

    def send(self, path: str, headers: dict[str, str], body: bytes) -> None:
        request = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


async def faults(minutes: float, seed: int, port: int) -> None:
    """Lets the database fail in rounds. In each a key is used, revoked during the fault, and refused after it."""
    chance = random.Random(seed)
    microburst = Microburst(port)
    try:
        _, unused = create()
        seen, rounds, memory = Counter(), Counter(), []
        ends = time.monotonic() + 60 * minutes
        variables = {"AWS_ENDPOINT_URL_DYNAMODB": microburst.url, "AUTHORIZER_BUDGET_MS": "1000"}
        async with start("faults.log", **variables) as function:
            while time.monotonic() < ends:
                (key_id, key), (_, other) = create(), create()
                made_up = with_other_secret(key, other)
                await expect(function, key, {"accepted"}, seen, "before a fault")
                fault = chance.choice(FAULTS) | {"probability": chance.choice([1.0, 0.5])}
                microburst.rules([fault])
                for _ in range(3):
                    await expect(function, key, {"accepted", "failed"}, seen, f"a key during {fault}")
                    await expect(function, other, {"accepted", "failed"}, seen, f"a new key during {fault}")
                    await expect(function, made_up, {"refused", "failed"}, seen, f"a wrong secret during {fault}")
                api("DELETE", f"/api-keys/{key_id}")
                for _ in range(2):
                    await expect(function, key, {"accepted", "refused", "failed"}, seen, "")
                microburst.rules([])
                await expect(function, key, {"refused"}, seen, f"a revoked key after {fault}")
                await expect(function, other, {"accepted"}, seen, f"a key after {fault}")
                await expect(function, made_up, {"refused"}, seen, f"a wrong secret after {fault}")
                await expect(function, unused, {"accepted"}, seen, f"another key after {fault}")
                rounds[json.dumps(fault)] += 1
                memory.append(function.memory("VmRSS"))
        print(
            f"{minutes:g} minutes of faults, {sum(rounds.values())} rounds of {len(rounds)} faults, {dict(seen)}: no"
            f" response is wrong, and none after a fault fails; memory"
            f" {memory[len(memory) // 5] / 2**20:.1f} MiB after a fifth, {memory[-1] / 2**20:.1f} MiB at the end",
            flush=True,
        )
        if memory[-1] > memory[len(memory) // 5] + FLAT:
            raise RuntimeError(f"the memory grows: {[round(sample / 2**20, 1) for sample in memory]}")
    finally:
        microburst.end()


async def expect(function: Function, credential: str, expected: set[str], seen: Counter[str], what: str) -> None:
    found = await respond(function, credential)
    seen[found] += 1
    if found not in expected:
        raise RuntimeError(f"{what} is {found}; the log is {function.log}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("invocations").add_argument("--count", type=int, required=True)
    faulty = commands.add_parser("faults")
    faulty.add_argument("--minutes", type=float, required=True)
    faulty.add_argument("--port", type=int, default=28600)
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    others, _ = processors()
    os.sched_setaffinity(0, others)
    if arguments.command == "invocations":
        asyncio.run(invocations(arguments.count, arguments.seed))
    else:
        asyncio.run(faults(arguments.minutes, arguments.seed, arguments.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
