"""Checks the code of the documentation that is no command: JSON, YAML, Python, JavaScript, regular expressions."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import yaml
from botocore import xform_name

import shown_output
from check_docs import prose
from code_blocks import Block, commands, syntax_errors

# A name that a CloudFormation template refers to.
REFERENCE = re.compile(r"!Ref \"?([\w:]+)|!GetAtt \"?(\w+)|\$\{([\w:]+)")
# Such a name stands for something of the reader's.
READERS = "My"
CFN_LINT = Path(sys.executable).with_name("cfn-lint")
PARAMETERS = re.compile(r"PARAMETERS=\"([^\"]*)\"|PARAMETERS=(\S+)")
ASSIGNMENT = re.compile(r"(?:^|\s)([A-Za-z]\w*)=")
AWS_COMMAND = re.compile(r"aws ([a-z][a-z0-9-]*) ([a-z][a-z0-9-]*)")
AWS_OPTION = re.compile(r"(?<!\S)--(?:no-)?([a-z][a-z-]*)")
# Commands and options of the AWS CLI itself, which are no operations of a service and no members of their input.
AWS_OWN = {"configure"}
AWS_OWN_OPERATIONS = {
    ("s3", "mb"),
    ("s3", "rb"),
    ("cloudformation", "deploy"),
    ("cloudformation", "package"),
    ("cloudformation", "wait"),
    ("dynamodb", "wait"),
}
AWS_OWN_OPTIONS = {"endpoint-url", "output", "profile", "query", "region"}


class TemplateLoader(yaml.SafeLoader):
    """Reads YAML of CloudFormation. The values of its short tags (`!Ref` and others) are checked elsewhere."""


TemplateLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def faults(root: Path, blocks: list[Block]) -> Iterator[str]:
    """A line for each fault in the blocks that are parsed."""
    resources: list[Block] = []
    for block in blocks:
        place = f"{block.page}:{block.line}"
        try:
            if block.language == "json":
                parse_json(block.text)
            elif block.language == "python":
                ast.parse(block.text)
            elif block.language == "javascript":
                check_javascript(block.text)
            elif block.language == "regex":
                for line in block.lines:
                    re.compile(line)
            elif block.language == "yaml":
                snippet = yaml.load(block.text, TemplateLoader)
                if all(isinstance(value, dict) and "Type" in value for value in snippet.values()):
                    resources.append(block)
                yield from unknown_names(root, block, set(snippet))
        except (ValueError, SyntaxError, yaml.YAMLError, re.error, shown_output.NotComparable) as error:
            yield f"{place}: the {block.language} is wrong: {error}"
    yield from lint(resources)


def parse_json(text: str) -> None:
    """Parses one value, or one value in each line."""
    try:
        shown_output.parse_shown(text)
    except shown_output.NotComparable:
        lines = text.splitlines()
        if not lines or not all(line.startswith("{") for line in lines):
            raise
        for line in lines:
            shown_output.parse_shown(line)


def check_javascript(text: str) -> None:
    done = subprocess.run(
        ["node", "--check", "--input-type=module", "-"], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())


def references(text: str) -> set[str]:
    """The names that a snippet refers to, without those of AWS."""
    names = {name for match in REFERENCE.findall(text) for name in match if name}
    return {name for name in names if not name.startswith("AWS::")}


def unknown_names(root: Path, block: Block, own: set[str]) -> Iterator[str]:
    """The names of resources and parameters that neither the snippet nor the example stack has."""
    text = (root / "infra" / "examples" / "template.yaml").read_text(encoding="utf-8")
    template = yaml.load(text, TemplateLoader)
    known = own | template["Parameters"].keys() | template["Resources"].keys()
    for name in sorted(references(block.text) - known):
        if not name.startswith(READERS):
            yield (
                f"{block.page}:{block.line}: {name} is neither in the snippet nor in infra/examples/template.yaml; "
                f"the name of something of the reader's begins with {READERS}"
            )


def lint(snippets: list[Block]) -> Iterator[str]:
    """What cfn-lint says of the resources in the snippets."""
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, tuple[Block, int]] = {}
        for index, block in enumerate(snippets):
            parameters = sorted(references(block.text) - yaml.load(block.text, TemplateLoader).keys())
            lines = ['AWSTemplateFormatVersion: "2010-09-09"']
            if parameters:
                lines += ["Parameters:", *(f"  {name}: {{ Type: String }}" for name in parameters)]
            lines.append("Resources:")
            path = Path(folder, f"{index}.yaml")
            content = [*lines, *(f"  {line}" if line else "" for line in block.lines)]
            path.write_text("\n".join(content) + "\n", encoding="utf-8")
            files[str(path)] = (block, len(lines))
        if not files:
            return
        command = [str(CFN_LINT), "--format", "json", "--regions", "us-east-1", "--", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 and not done.stdout.strip():
            raise RuntimeError(f"cfn-lint failed: {done.stderr}")
        for found in json.loads(done.stdout or "[]"):
            block, before = files[found["Filename"]]
            line = block.line + found["Location"]["Start"]["LineNumber"] - before - 1
            yield f"{block.page}:{line}: {found['Rule']['Id']} {found['Message']}"


def faults_of_commands_not_run(root: Path, block: Block) -> Iterator[str]:
    """What shows to be wrong with commands without running them: syntax, names, variables of make, parameters."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    parameters = yaml.load(
        (root / "infra" / "template" / "parameters.yaml").read_text(encoding="utf-8"), TemplateLoader
    )["Parameters"]
    for command in commands(block):
        place = f"{block.page}:{command.line}"
        if errors := syntax_errors(command.text):
            yield f"{place}: {errors}"
        if command.text.startswith("aws "):
            yield from (f"{place}: {fault}" for fault in faults_of_aws_command(command.text))
        if not command.text.startswith("make "):
            continue
        for quoted, plain in PARAMETERS.findall(command.text):
            for name in ASSIGNMENT.findall(quoted or plain):
                if name not in parameters:
                    yield f"{place}: the stack has no parameter {name}"
        for name in ASSIGNMENT.findall(re.sub(r'"[^"]*"', "", command.text)):
            if f"$({name})" not in makefile and f"$(or $({name})" not in makefile:
                yield f"{place}: the Makefile has no variable {name}"


def faults_of_aws_commands_in_prose(page: str, text: str) -> Iterator[str]:
    """The faults of the commands `aws ...` in the prose of a page."""
    lines = dict(prose(text))
    joined = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))
    for span in re.finditer(r"`(aws [^`]+)`", joined):
        line = joined.count("\n", 0, span.start()) + 1
        yield from (f"{page}:{line}: {fault}" for fault in faults_of_aws_command(span[1]))


def faults_of_aws_command(command: str) -> Iterator[str]:
    """What is wrong with a command of the AWS CLI that is not run: a service, operation or option that AWS lacks."""
    match = AWS_COMMAND.match(command)
    if match is None or match[1] in AWS_OWN or match.groups() in AWS_OWN_OPERATIONS:
        return
    service, operation = match.groups()
    session = botocore.session.get_session()
    if service not in session.get_available_services():
        yield f"AWS has no service {service}"
        return
    model = session.get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in operations:
        yield f"{service} has no operation {operation}"
        return
    shape = model.operation_model(operations[operation]).input_shape
    members = {xform_name(member, "-") for member in (shape.members if shape else ())}
    for option in AWS_OPTION.findall(command):
        if option not in members | AWS_OWN_OPTIONS:
            yield f"{service} {operation} has no option --{option}"
