"""Writes the tables of parameters and outputs in docs/deploying.md, between their marks.

template_tables.py [--check]

The tables come from infra/template: a parameter's name, default, description and bounds, by the groups of the
template's Metadata; an output's name and description. With --check nothing is written, and the exit status is 1 if the
page is not current.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deploying.md"
FRAGMENTS = ROOT / "infra" / "template"


class TemplateLoader(yaml.SafeLoader):
    """Reads a template without resolving short tags, such as !Ref."""


TemplateLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    arguments = parser.parse_args()
    template = read_template(FRAGMENTS)
    old = PAGE.read_text(encoding="utf-8")
    new = between_marks(old, "parameters", "\n".join(parameters(template)))
    new = between_marks(new, "outputs", "\n".join(outputs(template)))
    if arguments.check and new != old:
        page = PAGE.relative_to(ROOT)
        print(f"{page} is not current: run `make tables` and commit {page}", file=sys.stderr)
        return 1
    if new != old:
        PAGE.write_text(new, encoding="utf-8")
    return 0


def read_template(fragments: Path) -> dict[str, dict]:
    """The sections Metadata, Parameters and Outputs of all fragments."""
    template: dict[str, dict] = {"Metadata": {}, "Parameters": {}, "Outputs": {}}
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
