"""Writes the results into docs/benchmarks.md, between its two marks, with a chart and the targets."""

from __future__ import annotations

import math
import platform
import re
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- measured: written by `make bench` -->", "<!-- end of what was measured -->"

TITLES = {
    "no-op": "no-op in Rust",
    "floor": "**the floor**: one GetItem, signed by hand",
    "get-item": "one bare GetItem in Rust, with the SDK",
    "authorize": "**authorize**",
    "authorize-cached": "**authorize**, `CacheSeconds=300`",
    "authorize-extension": "**authorize**, writing after its response",
    "authorize-token": "**authorize**, an access token",
    "authorize-each": "**authorize**, `CallActivity=each`",
    "node": "Node.js, AWS SDK v3",
    "python": "Python, boto3",
}

# List prices of us-east-1 in US dollars, November 2026, without free tiers; and what the model below assumes.
PER_REQUEST, PER_GB_SECOND = 0.20e-6, 0.0000166667
PER_READ, PER_WRITE = 0.125e-6, 0.625e-6
PER_LOG_BYTE = 0.50e-9
MEMORY_MB, MEMORY_MB_OF_A_PROCESSOR = 512, 1769
READ_SECONDS = 0.003
# A token without a family, and its key.
ITEMS_IN_A_BATCH = 2


@dataclass
class Measured:
    """The measurements of one variant in seconds, one for each round or cold start."""

    warm_cpu: list[float] = field(default_factory=list)
    warm_wall: list[float] = field(default_factory=list)
    cold_cpu: list[float] = field(default_factory=list)
    cold_wall: list[float] = field(default_factory=list)
    # Instructions outside of the kernel: of one call, and from the start to the first response. None if not counted.
    warm_instructions: float | None = None
    cold_instructions: float | None = None
    # For each call: the number of each DynamoDB operation, and the bytes of log.
    calls: dict[str, float] = field(default_factory=dict)
    log_bytes: float = 0.0


@dataclass(frozen=True)
class Target:
    """A target for the ratio of the medians of two variants in the same rounds."""

    text: str
    numbers: str
    of: str
    to: str
    bound: float
    at_least: bool = False


TARGETS = [
    Target("warm, uncached: at most 1.25 × the floor", "warm_cpu", "authorize", "floor", 1.25),
    Target("warm, uncached: at most two thirds of a bare GetItem", "warm_cpu", "authorize", "get-item", 0.67),
    Target("warm, cached: at most 1.15 × a no-op", "warm_cpu", "authorize-cached", "no-op", 1.15),
    Target("cold: at most 1.35 × the floor", "cold_cpu", "authorize-extension", "floor", 1.35),
    Target("cold: at least 40 × less than Node.js", "cold_cpu", "node", "authorize-extension", 40, True),
    Target("cold: at least 40 × less than Python", "cold_cpu", "python", "authorize-extension", 40, True),
    Target("warm, uncached: at least 10 × less than Node.js", "warm_cpu", "node", "authorize", 10, True),
    Target("warm, uncached: at least 10 × less than Python", "warm_cpu", "python", "authorize", 10, True),
]


def ratio(measured: dict[str, Measured], numbers: str, of: str, to: str) -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two variants' numbers in the same rounds."""
    pairs = zip(getattr(measured[of], numbers), getattr(measured[to], numbers), strict=True)
    low, middle, high = statistics.quantiles([one / other for one, other in pairs], n=4, method="inclusive")
    return middle, low, high


def spread(numbers: list[float], scale: float) -> str:
    low, middle, high = (quartile * scale for quartile in statistics.quantiles(numbers, n=4, method="inclusive"))
    digits = 0 if middle >= 100 else 1
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def times(measured: dict[str, Measured], numbers: str, of: str, to: str) -> str:
    middle, low, high = ratio(measured, numbers, of, to)
    digits = 0 if middle >= 20 else 2
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def thousands(instructions: float | None) -> str:
    return "" if instructions is None else f"{instructions / 1000:.0f}"


def tables(measured: dict[str, Measured]) -> str:
    rows = [
        "**Warm**: one call of many, in microseconds of processor time, and in thousands of instructions outside of",
        "the kernel.",
        "",
        "| function | µs a call | × floor | × no-op | instructions | calls of DynamoDB |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, one in measured.items():
        calls = ", ".join(f"{count:.3g} {operation}" for operation, count in sorted(one.calls.items())) or "none"
        ratios = [times(measured, "warm_cpu", name, to) for to in ("floor", "no-op")]
        cells = [TITLES[name], spread(one.warm_cpu, 1e6), *ratios, thousands(one.warm_instructions), calls]
        rows.append(f"| {' | '.join(cells)} |")
    rows += [
        "",
        "**Cold**: from the start of the process to its first response, in milliseconds; both connections, a call of",
        "KMS and the first read are in those of the authorizer and the floor.",
        "",
        "| function | ms of processor time | × floor | × no-op | instructions | ms on the clock |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in measured.items():
        cpu, wall = spread(one.cold_cpu, 1e3), spread(one.cold_wall, 1e3)
        ratios = [times(measured, "cold_cpu", name, to) for to in ("floor", "no-op")]
        rows.append(f"| {' | '.join([TITLES[name], cpu, *ratios, thousands(one.cold_instructions), wall])} |")
    return "\n".join(rows)


def targets(measured: dict[str, Measured]) -> str:
    rows = ["| target | measured | |", "| --- | ---: | --- |"]
    for target in TARGETS:
        middle, low, high = ratio(measured, target.numbers, target.of, target.to)
        met = middle >= target.bound if target.at_least else middle <= target.bound
        rows.append(f"| {target.text} | {middle:.2f} ({low:.2f} to {high:.2f}) | {'met' if met else 'not met'} |")
    return "\n".join(rows)


def costs(measured: dict[str, Measured]) -> str:
    rows = [
        "| function | billed | Lambda | DynamoDB | log | a million |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in measured.items():
        if name in ("no-op", "floor", "get-item"):
            continue
        batches = one.calls.get("BatchGetItem", 0)
        reads = one.calls.get("GetItem", 0) + batches
        writes = one.calls.get("PutItem", 0) + one.calls.get("UpdateItem", 0)
        cpu = statistics.median(one.warm_cpu) * MEMORY_MB_OF_A_PROCESSOR / MEMORY_MB
        billed = math.ceil((cpu + (reads + writes) * READ_SECONDS) * 1000)
        compute = 1e6 * (PER_REQUEST + billed / 1000 * MEMORY_MB / 1024 * PER_GB_SECOND)
        database = 1e6 * (round(reads + batches * (ITEMS_IN_A_BATCH - 1), 2) * PER_READ + round(writes, 2) * PER_WRITE)
        log = 1e6 * one.log_bytes * PER_LOG_BYTE
        parts = " | ".join(f"${part:.2f}" for part in (compute, database, log, compute + database + log))
        rows.append(f"| {TITLES[name]} | {billed} ms | {parts} |")
    return "\n".join(rows)


def chart(measured: dict[str, Measured]) -> str:
    """Two groups of bars on a logarithmic scale, readable on light and on dark pages."""
    left, width, bar, gap = 300, 520, 18, 8
    lines: list[str] = []
    y = 0
    for title, numbers, unit, scale in (
        ("Warm: processor time of one call (µs)", "warm_cpu", "µs", 1e6),
        ("Cold: processor time until the first response (ms)", "cold_cpu", "ms", 1e3),
    ):
        values = {name: statistics.median(getattr(one, numbers)) * scale for name, one in measured.items()}
        floor, top = min(values.values()) / 2, max(values.values())
        y += 34
        lines.append(f'<text x="0" y="{y - 12}" font-weight="bold">{title}</text>')
        for name, value in values.items():
            length = width * math.log(value / floor) / math.log(top / floor)
            title = re.sub(r"[*`]", "", TITLES[name])
            colour = "#2a78d6" if name.startswith("authorize") else "#8a94a3"
            lines += [
                f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{title}</text>',
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" rx="2" fill="{colour}"/>',
                f'<text x="{left + length + 6:.1f}" y="{y + 13}">{value:.{0 if value >= 100 else 1}f} {unit}</text>',
            ]
            y += bar + gap
    y += 14
    lines.append(f'<text x="0" y="{y}" font-size="11">Medians; the scale is logarithmic.</text>')
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {y + 10}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">\n'
        "<title>Processor time of authorizers, warm and cold</title>\n"
        f"<style>text {{ fill: #57606a }}</style>\n{body}\n</svg>\n"
    )


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{model[1] if model else platform.processor()}, Linux {platform.release()}"


def write(measured: dict[str, Measured], docs: Path, how: str) -> str:
    """Puts the tables into docs/benchmarks.md and the chart beside it, and returns the table of targets."""
    page = docs / "benchmarks.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    met = targets(measured)
    parts = [
        BEGIN,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}; {how}. Medians, and in parentheses the quartiles.",
        "![Processor time of authorizers, warm and cold](benchmarks.svg)",
        tables(measured),
        f"**Targets**\n\n{met}",
        f"**Cost of a million authorizations**, in US dollars, by the model below:\n\n{costs(measured)}",
        END,
    ]
    page.write_text(before + "\n\n".join(parts) + after, encoding="utf-8")
    (docs / "benchmarks.svg").write_text(chart(measured), encoding="utf-8")
    return met
