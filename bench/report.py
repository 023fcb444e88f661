"""Writes the results into docs/benchmarks.md, between its two marks, with a chart and the targets."""

from __future__ import annotations

import math
import platform
import re
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cost import (
    ITEMS_OF_A_TOKEN,
    MEMORY_MB,
    MEMORY_MB_OF_A_PROCESSOR,
    PER_LOG_BYTE,
    PER_READ,
    PER_WRITE,
    billed_ms,
    lambda_call,
)

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

# The numbers that are kept of each run, to be compared with those of the next one.
RUNS = {
    "warm × floor": TARGETS[0],
    "cached × no-op": TARGETS[2],
    "cold × floor": TARGETS[3],
    "Node.js × warm": TARGETS[6],
    "Node.js × cold": TARGETS[4],
}
RUNS_BEGIN, RUNS_END = "<!-- runs: written by `make bench` -->", "<!-- end of the runs -->"
KEPT_RUNS, WORSE = 8, 1.1


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
        cpu, round_trips = statistics.median(one.warm_cpu), reads + writes
        compute = 1e6 * lambda_call(cpu, round_trips)
        database = 1e6 * (round(reads + batches * (ITEMS_OF_A_TOKEN - 1), 2) * PER_READ + round(writes, 2) * PER_WRITE)
        log = 1e6 * one.log_bytes * PER_LOG_BYTE
        parts = " | ".join(f"${part:.2f}" for part in (compute, database, log, compute + database + log))
        rows.append(f"| {TITLES[name]} | {billed_ms(cpu, round_trips)} ms | {parts} |")
    return "\n".join(rows)


def memory(measured: dict[str, Measured]) -> str:
    """What an authorization takes and costs with each amount of memory, by Lambda's part of a processor."""
    warm = statistics.median(measured["authorize-extension"].warm_cpu)
    cold = statistics.median(measured["authorize-extension"].cold_cpu)
    rows = ["| memory | warm call | billed | a million, Lambda | cold start |", "| ---: | ---: | ---: | ---: | ---: |"]
    for memory_mb in (128, 256, 512, 768, 1024, MEMORY_MB_OF_A_PROCESSOR):
        slower = MEMORY_MB_OF_A_PROCESSOR / memory_mb
        billed, dollars = billed_ms(warm, 1, memory_mb), 1e6 * lambda_call(warm, 1, memory_mb)
        call = f"{warm * slower * 1e3:.1f} ms | {billed} ms | ${dollars:.2f}"
        size = f"**{memory_mb} MB**" if memory_mb == MEMORY_MB else f"{memory_mb} MB"
        rows.append(f"| {size} | {call} | {cold * slower * 1e3:.0f} ms |")
    return "\n".join(rows)


def runs(measured: dict[str, Measured], page: str) -> tuple[str, list[str]]:
    """The table of the last runs with this one, and what got worse since the run before by more than a tenth."""
    numbers = {title: ratio(measured, target.numbers, target.of, target.to)[0] for title, target in RUNS.items()}
    earlier = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.partition(RUNS_BEGIN)[2].partition(RUNS_END)[0].splitlines()
        if re.match(r"\| \d{4}-", line)
    ]
    worse = []
    for title, before in zip(RUNS, earlier[-1][2:] if earlier else [], strict=False):
        if before == "–":
            continue
        now, then = numbers[title], float(before)
        if (then > now * WORSE) if RUNS[title].at_least else (now > then * WORSE):
            worse.append(f"{title}: {then:.2f} before, {now:.2f} now")
    row = [f"{datetime.now(UTC):%Y-%m-%d}", processor(), *(f"{number:.2f}" for number in numbers.values())]
    head = ["run", "processor", *RUNS]
    lines = [head, ["---", "---", *("---:" for _ in RUNS)], *earlier[1 - KEPT_RUNS :], row]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines), worse


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


def processor() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return model[1] if model else platform.processor()


def machine() -> str:
    return f"{processor()}, Linux {'.'.join(platform.release().split('.')[:2])}"


def write(measured: dict[str, Measured], docs: Path, how: str) -> str:
    """Puts the tables into docs/benchmarks.md and the chart beside it. Returns the targets, and what got worse."""
    page = docs / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    met = targets(measured)
    kept, worse = runs(measured, text)
    parts = [
        BEGIN,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}; {how}. Medians, and in parentheses the quartiles.",
        "![Processor time of authorizers, warm and cold](benchmarks.svg)",
        tables(measured),
        "**Targets**: those of warm calls are of **authorize**, those of cold starts of the row "
        f'"writing after its response",\nwhich is how it runs on AWS.\n\n{met}',
        f"**Cost of a million authorizations**, in US dollars, by the model below:\n\n{costs(measured)}",
        f"**Memory** of the authorizer, by the same model, writing after its response:\n\n{memory(measured)}",
        f"**The last runs**, as ratios of medians:\n\n{RUNS_BEGIN}\n\n{kept}\n\n{RUNS_END}",
        END,
    ]
    page.write_text(before + "\n\n".join(parts) + after, encoding="utf-8")
    (docs / "benchmarks.svg").write_text(chart(measured), encoding="utf-8")
    changes = ["Worse than in the run before:", *worse] if worse else ["Nothing got worse since the run before."]
    return "\n".join([met, "", *changes])
