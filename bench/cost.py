"""What authorizations cost in US dollars: the model of docs/benchmarks.md, and a calculator (`make cost`).

The prices are list prices of us-east-1 in November 2026, without free tiers.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Lambda on x86: a request, and a second of a GB. DynamoDB on demand: a strongly consistent read of up to 4 kB, and a
# write of up to 1 kB.
PER_REQUEST, PER_GB_SECOND = 0.20e-6, 0.0000166667
PER_READ, PER_WRITE = 0.125e-6, 0.625e-6
PER_LOG_BYTE = 0.50e-9
# One request of API Gateway, in the first tier. A WebSocket API is charged for messages and connected minutes instead.
PER_API_CALL = {"rest": 3.50e-6, "http": 1.00e-6, "none": 0.0}
PER_KMS_KEY_MONTH = 1.0
# Of the peppers, and of idempotent creates and rotations.
KMS_KEYS = 3

# Lambda's part of a processor grows with the memory: 1,769 MB have a whole one.
MEMORY_MB_OF_A_PROCESSOR = 1769
MEMORY_MB = 512
READ_SECONDS = 0.003

# A token without a family, and its key.
ITEMS_OF_A_TOKEN = 2
# An event with its entry in an index; a last use, whose entry in another index is moved; the count of an hour.
UNITS_OF_AN_EVENT, UNITS_OF_A_LAST_USE, UNITS_OF_A_COUNT = 2, 3, 1

MINUTES_OF_A_MONTH = 30 * 24 * 60


def billed_ms(cpu_seconds: float, round_trips: float, memory_mb: int = MEMORY_MB) -> int:
    """The milliseconds that Lambda bills for a call with this processor time and these waits for DynamoDB."""
    cpu = cpu_seconds * MEMORY_MB_OF_A_PROCESSOR / min(memory_mb, MEMORY_MB_OF_A_PROCESSOR)
    # Rounded first, so that a sum of binary fractions does not become the next millisecond.
    return math.ceil(round((cpu + round_trips * READ_SECONDS) * 1000, 6))


def lambda_call(cpu_seconds: float, round_trips: float, memory_mb: int = MEMORY_MB) -> float:
    """The price of one invocation."""
    return PER_REQUEST + billed_ms(cpu_seconds, round_trips, memory_mb) / 1000 * memory_mb / 1024 * PER_GB_SECOND


@dataclass(frozen=True)
class Traffic:
    """A month of calls. The parts are parts of 1."""

    calls: float
    # Calls that API Gateway's authorizer cache answers, and those of the rest that CacheSeconds answers.
    gateway_cached: float = 0.0
    cached: float = 0.0
    # Calls with an access token, of those that are read.
    tokens: float = 0.0
    # Keys in use in a month, the minutes in which each is used, the routes that it calls in such a minute, and the
    # environments that its calls reach.
    keys: float = 1000.0
    minutes: float = 600.0
    routes: float = 1.0
    environments: float = 1.0
    last_used_interval: int = 900
    memory_mb: int = MEMORY_MB
    api: str = "rest"
    activity: str = "minute"


@dataclass(frozen=True)
class Line:
    """A line of the bill: what it is for, how it is counted, and dollars a month."""

    title: str
    count: str
    dollars: float


def bill(traffic: Traffic, cpu_seconds: float, cached_cpu_seconds: float) -> list[Line]:
    """The lines of a month's bill.

    The processor times are those of a call that reads, and of one that the authorizer's cache answers.
    """
    invoked = traffic.calls * (1 - traffic.gateway_cached)
    read = invoked * (1 - traffic.cached)
    units = read * (1 + traffic.tokens * (ITEMS_OF_A_TOKEN - 1))

    memory = traffic.memory_mb
    reading, cached = lambda_call(cpu_seconds, 1, memory), lambda_call(cached_cpu_seconds, 0, memory)

    events, last_uses, counts = writes(traffic, invoked)
    return [
        Line("API Gateway", f"{traffic.calls:,.0f} requests", traffic.calls * PER_API_CALL[traffic.api]),
        Line("authorizer, Lambda", f"{invoked:,.0f} invocations", read * reading + (invoked - read) * cached),
        Line("authorizer, reads", f"{units:,.0f} read units", units * PER_READ),
        written("audit trail of calls", events * UNITS_OF_AN_EVENT),
        written("last use", last_uses * UNITS_OF_A_LAST_USE),
        written("usage", counts * UNITS_OF_A_COUNT),
        Line("KMS keys", str(KMS_KEYS), KMS_KEYS * PER_KMS_KEY_MONTH),
    ]


def writes(traffic: Traffic, invoked: float) -> tuple[float, float, float]:
    """How many events, last uses and counts are written. None is written more often than there are calls."""
    in_environments = traffic.keys * traffic.environments
    by_minute = in_environments * traffic.minutes * traffic.routes
    events = {"off": 0.0, "minute": min(invoked, by_minute), "each": invoked}[traffic.activity]

    # Without an interval each call writes its last use.
    interval_minutes = traffic.last_used_interval / 60
    intervals = min(traffic.minutes, MINUTES_OF_A_MONTH / interval_minutes) if interval_minutes else math.inf
    last_uses = min(invoked, in_environments * intervals)
    return events, last_uses, 0.0 if traffic.activity == "off" else last_uses


def written(title: str, units: float) -> Line:
    """The line of writes."""
    return Line(title, f"{units:,.0f} write units", units * PER_WRITE)


def table(lines: list[Line], calls: float) -> str:
    """The bill as text, with its sum and the part of it that is Keygate's."""
    total = sum(line.dollars for line in lines)
    own = total - lines[0].dollars
    rows = [f"{line.title:<22} {line.count:>28} {line.dollars:>12,.2f}" for line in lines]
    each = f"{own / calls * 1e6:,.2f} for a million calls"
    rows += [f"{'a month, US dollars':<22} {'':>28} {total:>12,.2f}", f"{'of it Keygate':<22} {each:>28} {own:>12,.2f}"]
    return "\n".join(rows)


def measured(page: str, title: str) -> float:
    """The processor time in seconds of a function's warm call, from the table of docs/benchmarks.md."""
    row = re.search(rf"^\| {re.escape(title)} \| ([\d.]+) ", page.partition("**Warm**")[2], re.MULTILINE)
    if row is None:
        raise SystemExit(f"docs/benchmarks.md has no row {title!r}: run make bench")
    return float(row[1]) / 1e6


def part(text: str) -> float:
    """A part of all calls, from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def amount(text: str) -> float:
    """A positive number, such as 30e6."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def whole(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


def memory(text: str) -> int:
    """An amount of memory that Lambda has."""
    value = whole(text)
    if not 128 <= value <= 10_240:
        raise argparse.ArgumentTypeError(f"{text} is not from 128 to 10240")
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make cost", description="The bill of a month, by the model of docs/benchmarks.md. Parts are from 0 to 1."
    )

    def option(name: str, of: Callable[[str], float], default: float, text: str) -> None:
        parser.add_argument(f"--{name}", type=of, default=default, metavar="N", help=f"{text} (default {default:g})")

    option("calls", amount, 30e6, "calls of your APIs in a month")
    option("gateway-cached", part, 0, "the part of the calls that API Gateway's cache answers")
    option("cached", part, 0, "the part of the rest that CacheSeconds answers")
    option("tokens", part, 0, "the part of the reads that are for access tokens")
    option("keys", amount, Traffic.keys, "keys that are used in the month")
    option("minutes", amount, Traffic.minutes, "minutes of the month in which such a key is used")
    option("routes", amount, Traffic.routes, "routes that a key calls in such a minute")
    option("environments", amount, Traffic.environments, "environments that the calls of a key reach in such a minute")
    option("last-used-interval", whole, Traffic.last_used_interval, "LastUsedInterval in seconds")
    option("memory-mb", memory, MEMORY_MB, "memory of the authorizer in MB")
    parser.add_argument(
        "--api", choices=PER_API_CALL, default=Traffic.api, help="the kind of API; none leaves out its price"
    )
    parser.add_argument("--activity", choices=["off", "minute", "each"], default=Traffic.activity, help="CallActivity")
    return parser.parse_args()


def main() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/benchmarks.md").read_text(encoding="utf-8")
    traffic = Traffic(**vars(arguments()))
    lines = bill(traffic, measured(page, "**authorize**"), measured(page, "**authorize**, `CacheSeconds=300`"))
    print(table(lines, traffic.calls))


if __name__ == "__main__":
    main()
