"""Checks translated templates with rules.guard; prints each broken rule with the places that break it.

check_rules.py TEMPLATE.json...

It runs in the environment of the scanners, which has CloudFormation Guard as a Python package.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import cfn_guard_rs

RULES = Path(__file__).resolve().parent / "rules.guard"


def main() -> int:
    status = 0
    for path in sys.argv[1:]:
        template = json.loads(Path(path).read_text(encoding="utf-8"))
        for rule, places in broken_rules(template).items():
            print(f"{path}: {rule}: {', '.join(places) or 'somewhere'}")
            status = 1
    return status


def rules() -> dict[str, str]:
    """The text of each rule by its name, with the variables of the file before it."""
    text = RULES.read_text(encoding="utf-8")
    variables = text[: text.index("\nrule ")]
    return {name: f"{variables}\n{rule}" for rule, name in re.findall(r"^(rule (\w+).*?^\}$)", text, re.S | re.M)}


def broken_rules(template: dict) -> dict[str, list[str]]:
    """The rules that a template breaks, each with the paths that Guard reports."""
    broken = {}
    for name, text in rules().items():
        try:
            report = cfn_guard_rs.run_checks(template, text)
            if report.status != "FAIL":
                continue
            found = repr(report)
        except json.JSONDecodeError as error:
            # Long reports of a failure are cut off at the beginning. A template that passes has a short one.
            found = error.doc
        broken[name] = sorted(set(re.findall(r"/Resources/\w+(?:/\w+)*", found)))
    return broken


if __name__ == "__main__":
    sys.exit(main())
