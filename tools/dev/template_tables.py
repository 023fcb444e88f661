"""Writes the tables of parameters and outputs in docs/deploying.md, and of alarms in docs/operations.md, between marks.

template_tables.py [--check]

The tables come from infra/template: a parameter's name, default, description and bounds, by the groups of the
template's Metadata; an output's name and description; an alarm's name, meaning and time, with a link to its runbook.
With --check nothing is written, and the exit status is 1 if a page is not current.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import yaml

import check_docs

ROOT = Path(__file__).resolve().parents[2]
DEPLOYING = ROOT / "docs" / "deploying.md"
OPERATIONS = ROOT / "docs" / "operations.md"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
FRAGMENTS = ROOT / "infra" / "template"


# A month of an alarm costs this for each of its metrics. https://aws.amazon.com/cloudwatch/pricing/
DOLLARS_FOR_A_METRIC = 0.10


class TemplateLoader(yaml.SafeLoader):
    """Reads a template with the texts and lists below short tags, such as !Sub and !If, as they are."""


def untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


TemplateLoader.add_multi_constructor("!", untagged)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    arguments = parser.parse_args()
    template = read_template(FRAGMENTS)
    status = 0
    for page, tables in (
        (DEPLOYING, {"parameters": parameters(template), "outputs": outputs(template)}),
        (OPERATIONS, {"alarms": alarms(template)}),
    ):
        old = new = page.read_text(encoding="utf-8")
        for name, lines in tables.items():
            new = between_marks(new, name, "\n".join(lines))
        if new == old:
            continue
        if arguments.check:
            page = page.relative_to(ROOT)
            print(f"{page} is not current: run `make tables` and commit {page}", file=sys.stderr)
            status = 1
        else:
            page.write_text(new, encoding="utf-8")
    return status


def read_template(fragments: Path) -> dict[str, dict]:
    """The sections Metadata, Parameters, Resources and Outputs of all fragments."""
    template: dict[str, dict] = {"Metadata": {}, "Parameters": {}, "Resources": {}, "Outputs": {}}
    for path in sorted(fragments.rglob("*.yaml"), key=lambda path: path.relative_to(fragments).as_posix()):
        fragment = yaml.load(path.read_text(encoding="utf-8"), Loader=TemplateLoader)
        for section, entries in template.items():
            entries |= fragment.get(section, {})
    return template


def parameters(template: dict[str, dict]) -> Iterator[str]:
    """A table for each group of parameters. Raises KeyError if a group names an unknown parameter."""
    declared = dict(template["Parameters"])
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        yield from [f"### {group['Label']['default']}", "", "| parameter | default | |", "| --- | --- | --- |"]
        for name in group["Parameters"]:
            parameter = declared.pop(name)
            yield f"| `{name}` | {default(parameter)} | {description(parameter)}{bounds(parameter)} |"
        yield ""
    if declared:
        raise ValueError(f"parameters without a group: {', '.join(declared)}")


def outputs(template: dict[str, dict]) -> Iterator[str]:
    yield from ["| output | |", "| --- | --- |"]
    for name, output in sorted(template["Outputs"].items()):
        yield f"| `{name}` | {description(output)} |"
    yield ""


def alarms(template: dict[str, dict]) -> Iterator[str]:
    """A table of the alarms in the order of their runbooks, and what they cost.

    Raises ValueError if a description names no runbook, and KeyError if its runbook does not exist.
    """
    headings = re.findall(r"^##+ (.+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    runbooks = {check_docs.github_anchor(heading): (order, heading) for order, heading in enumerate(headings)}
    rows, metrics = [], Counter()
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        alarm = resource["Properties"]
        text = " ".join(alarm["AlarmDescription"].split()).removeprefix("${AWS::StackName}: ")
        meaning, found, section = text.partition(" Runbook: docs/runbooks.md#")
        if not found:
            raise ValueError(f"{name} names no section of docs/runbooks.md")
        always = resource["Condition"] == "RaisesAlarms"
        metrics["alarms"] += 1
        metrics["alarms of every stack"] += always
        # Entries below a condition are lists: !If.
        entries = [
            entry for entry in alarm.get("Metrics", [alarm]) if isinstance(entry, list) or "Expression" not in entry
        ]
        metrics["metrics"] += len(entries)
        metrics["metrics of every stack"] += always * sum(isinstance(entry, dict) for entry in entries)
        mark = "" if always else " *"
        order, heading = runbooks[section]
        rows.append((order, f"| `{name}`{mark} | {meaning} | {time(alarm)} | [{heading}](runbooks.md#{section}) |"))
    yield from ["| alarm | meaning | bad periods | runbook |", "| --- | --- | --- | --- |"]
    yield from (row for _, row in sorted(rows, key=lambda row: row[0]))
    yield ""
    always, every = metrics["metrics of every stack"], metrics["metrics"]
    yield (
        "Alarms with a * exist where their parameter is set. "
        f"CloudWatch charges ${DOLLARS_FOR_A_METRIC:.2f} a month for each metric of an alarm: "
        f"{metrics['alarms of every stack']} alarms on {always}\nmetrics cost ${always * DOLLARS_FOR_A_METRIC:.2f}, "
        f"and with every parameter {metrics['alarms']} alarms on {every} metrics ${every * DOLLARS_FOR_A_METRIC:.2f}."
    )


def time(alarm: dict) -> str:
    """How many periods must be bad, and how long one is."""
    stat = next((entry["MetricStat"] for entry in alarm.get("Metrics", []) if "MetricStat" in entry), alarm)
    period = timedelta(seconds=stat["Period"])
    length = (
        f"{period // timedelta(hours=1)} h" if period >= timedelta(hours=1) else f"{period // timedelta(minutes=1)} min"
    )
    return f"{alarm['DatapointsToAlarm']} of {alarm['EvaluationPeriods']}, {length} each"


def default(parameter: dict) -> str:
    """A parameter's default; an empty one means that nothing is set."""
    value = str(parameter["Default"])
    return f"`{value}`" if value else "none"


def description(entry: dict) -> str:
    """A description in Markdown: in one line, with names of pages of docs/ as links."""
    text = " ".join(entry["Description"].split()).replace("|", r"\|").replace("<", r"\<")
    text = re.sub(r"\bdocs/([\w-]+)\.md\b", r"[\1.md](\1.md)", text)
    return text if text.endswith(".") else f"{text}."


def bounds(parameter: dict) -> str:
    """A sentence with the allowed values of a parameter, if they are a list or a range."""
    if "AllowedValues" in parameter:
        values = [f"`{value}`" for value in parameter["AllowedValues"]]
        return f" One of {', '.join(values)}."
    if "MinValue" in parameter:
        return f" {parameter['MinValue']:,} to {parameter['MaxValue']:,}."
    return ""


def between_marks(page: str, name: str, text: str) -> str:
    """The page with the text between the two marks of that name."""
    begin, end = f"<!-- {name}: written by `make tables` -->", f"<!-- end of {name} -->"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page lacks the marks `{begin}` and `{end}`")
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
