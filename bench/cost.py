"""What authorizations cost, in US dollars: the model of docs/benchmarks.md, and a calculator for figures of one's own (`make cost`).

The prices are list prices of us-east-1 in November 2026, without free tiers.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

# Lambda on x86: a request, and a second of a GB. DynamoDB on demand: a strongly consistent read of up to 4 kB, a write of up to 1 kB.
PER_REQUEST, PER_GB_SECOND = 0.20e-6, 0.0000166667
PER_READ, PER_WRITE = 0.125e-6, 0.625e-6
PER_LOG_BYTE = 0.50e-9
# One request of API Gateway, in the first tier. A WebSocket API is charged for messages and minutes of connections instead.
PER_API_CALL = {"rest": 3.50e-6, "http": 1.00e-6, "none": 0.0}
PER_KMS_KEY_MONTH = 1.0

# Lambda's part of a processor grows with the memory: 1,769 MB have a whole one.
MEMORY_MB_OF_A_PROCESSOR = 1769
MEMORY_MB = 512
READ_SECONDS = 0.003

# A token without a family, and its key.
ITEMS_OF_A_TOKEN = 2
# An event with its entry in an index; a last use with its entry in another one; the count of an hour.
UNITS_OF_AN_EVENT, UNITS_OF_A_LAST_USE, UNITS_OF_A_COUNT = 2, 4, 1

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
    """A month of calls."""

    calls: float
    # Calls that API Gateway's authorizer cache answers, and those of the rest that CacheSeconds answers: parts of 1.
    gateway_cached: float = 0.0
    cached: float = 0.0
    # Calls with an access token, of those that are read.
    tokens: float = 0.0
    # Keys in use in a month, the minutes in which each is used, the routes that it calls in such a minute, and the environments
    # that answer it.
    keys: float = 1000.0
    minutes: float = 60.0
    routes: float = 1.0
    environments: float = 1.0
    api: str = "rest"
    activity: str = "minute"
    last_used_interval: int = 900
    memory_mb: int = MEMORY_MB


@dataclass(frozen=True)
class Line:
    """A line of the bill: what it is for, how it is counted, and dollars a month."""

    title: str
    count: str
    dollars: float


def bill(traffic: Traffic, cpu_seconds: float, cached_cpu_seconds: float) -> list[Line]:
    """The lines of a month's bill. The processor times are those of a call that reads, and of one that the authorizer's cache answers."""
    invoked = traffic.calls * (1 - traffic.gateway_cached)
    read = invoked * (1 - traffic.cached)
    units = read * (1 + traffic.tokens * (ITEMS_OF_A_TOKEN - 1))

    seen = traffic.keys * traffic.environments
    events = {
        "off": 0.0,
        "minute": min(invoked, seen * traffic.minutes * traffic.routes),
        "each": invoked,
    }[traffic.activity]
    # Without an interval each call writes its last use.
    intervals = (
        min(traffic.minutes, MINUTES_OF_A_MONTH / (traffic.last_used_interval / 60))
        if traffic.last_used_interval
        else math.inf
    )
    last_uses = min(invoked, seen * intervals)
    counts = 0.0 if traffic.activity == "off" else last_uses

    memory = traffic.memory_mb
    compute = read * lambda_call(cpu_seconds, 1, memory) + (invoked - read) * lambda_call(cached_cpu_seconds, 0, memory)
    return [
        Line("API Gateway", f"{traffic.calls:,.0f} requests", traffic.calls * PER_API_CALL[traffic.api]),
        Line("authorizer, Lambda", f"{invoked:,.0f} invocations", compute),
        Line("authorizer, reads", f"{units:,.0f} read units", units * PER_READ),
        Line(
            "audit trail of calls",
            f"{events * UNITS_OF_AN_EVENT:,.0f} write units",
            events * UNITS_OF_AN_EVENT * PER_WRITE,
        ),
        Line(
            "last use",
            f"{last_uses * UNITS_OF_A_LAST_USE:,.0f} write units",
            last_uses * UNITS_OF_A_LAST_USE * PER_WRITE,
        ),
        Line("usage", f"{counts * UNITS_OF_A_COUNT:,.0f} write units", counts * UNITS_OF_A_COUNT * PER_WRITE),
        Line("KMS keys", "2", 2 * PER_KMS_KEY_MONTH),
    ]


def table(lines: list[Line], calls: float) -> str:
    """The bill as text, with its sum and the part of it that is Keygate's."""
    total = sum(line.dollars for line in lines)
    own = total - lines[0].dollars
    rows = [f"{line.title:<22} {line.count:>28} {line.dollars:>12,.2f}" for line in lines]
    rows += [
        f"{'a month, US dollars':<22} {'':>28} {total:>12,.2f}",
        f"{'of it Keygate':<22} {f'{own / calls * 1e6:,.2f} for a million calls':>28} {own:>12,.2f}",
    ]
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make cost", description="The bill of a month, by the model of docs/benchmarks.md."
    )
    parser.add_argument("--calls", type=amount, default=30e6, help="calls of your APIs in a month (default 30e6)")
    parser.add_argument(
        "--api", choices=PER_API_CALL, default="rest", help="the kind of API; none leaves its price out (default rest)"
    )
    parser.add_argument(
        "--gateway-cached", type=part, default=0.0, help="the part of the calls that API Gateway's cache answers (0)"
    )
    parser.add_argument("--cached", type=part, default=0.0, help="the part of the rest that CacheSeconds answers (0)")
    parser.add_argument("--tokens", type=part, default=0.0, help="the part of the reads that are for access tokens (0)")
    parser.add_argument("--keys", type=amount, default=1000.0, help="keys that are used in the month (1000)")
    parser.add_argument(
        "--minutes", type=amount, default=600.0, help="minutes of the month in which such a key is used (600)"
    )
    parser.add_argument("--routes", type=amount, default=1.0, help="routes that a key calls in such a minute (1)")
    parser.add_argument(
        "--environments", type=amount, default=1.0, help="environments that a key's calls of a minute reach (1)"
    )
    parser.add_argument("--activity", choices=["off", "minute", "each"], default="minute", help="CallActivity (minute)")
    parser.add_argument("--last-used-interval", type=int, default=900, help="LastUsedInterval in seconds (900)")
    parser.add_argument(
        "--memory", dest="memory_mb", type=int, default=MEMORY_MB, help="MB of memory of the authorizer (512)"
    )
    return parser.parse_args()


def main() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/benchmarks.md").read_text(encoding="utf-8")
    traffic = Traffic(**vars(arguments()))
    lines = bill(traffic, measured(page, "**authorize**"), measured(page, "**authorize**, `CacheSeconds=300`"))
    print(table(lines, traffic.calls))


if __name__ == "__main__":
    main()
