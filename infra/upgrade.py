"""Compares the template with the baseline: the template of the deployed stacks that have to be updated.

    upgrade.py                          fails with a sentence for each change that an update would not survive
    upgrade.py --write --reason "..."   makes the present template the baseline

Both templates are compared as CloudFormation gets them: merged (infra/merge.py) and translated by AWS SAM. The baseline
is an extract in infra/baseline/template.json, with what the comparison reads:

- resources that hold data, by cfn-lint's list: tables, KMS keys, queues, log groups, and all other types on that list;
- resources that others address: APIs, their stages and domain names, and everything that an output names;
- parameters, rules, conditions and outputs.

A reason in infra/baseline/accepted.json allows a difference that CloudFormation can carry out as intended. No reason
allows one that loses data that Keygate cannot work without, or that AWS refuses.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

import merge

BASELINE = merge.INFRA / "baseline"
TEMPLATE, ACCEPTED, REASONS = "template.json", "accepted.json", "README.md"

# The schemas of the types hardly differ between Regions. SAM needs one too, to translate.
REGION = "us-east-1"

TABLE, KMS_KEY, QUEUE, LOG_GROUP = (
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::SQS::Queue",
    "AWS::Logs::LogGroup",
)

# Their ids or names are in URLs that clients use.
ADDRESSES = (
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Stage",
    "AWS::ApiGatewayV2::DomainName",
)

# Properties of a KMS key that no update can change, with their defaults: such an update fails. The documentation of
# AWS::KMS::Key says so, and the type's schema does not.
KMS_IMMUTABLE = {
    "KeySpec": "SYMMETRIC_DEFAULT",
    "KeyUsage": "ENCRYPT_DECRYPT",
    "MultiRegion": False,
    "Origin": "AWS_KMS",
}

# How long a resource keeps what it holds.
RETENTION = {QUEUE: "MessageRetentionPeriod", LOG_GROUP: "RetentionInDays"}

# What CloudFormation does with a resource that it removes or replaces, from the weakest. Without a policy it deletes.
POLICIES = {None: 0, "Delete": 0, "Snapshot": 1, "RetainExceptOnCreate": 2, "Retain": 2}

ONE_INDEX = (
    "CloudFormation adds or removes one index of a table in an update, and changes none: make each of these changes in "
    "a release of its own, and a changed index under a new name before the old one is removed"
)


class UpgradeError(Exception):
    """A template, or a file of the baseline, that cannot be read; the message says which, and why."""


@dataclass(frozen=True, order=True)
class Finding:
    """A change that an update of a deployed stack would not survive, or not as intended."""

    # What accepted.json calls it.
    id: str
    sentence: str
    # Whether a reason in accepted.json allows it.
    acceptable: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="make the present template the baseline")
    parser.add_argument("--reason", default="", help="why, which is kept beside it")
    arguments = parser.parse_args()
    try:
        present = extract(translate(merge.merged_template(merge.FRAGMENTS)))
        if arguments.write:
            write(BASELINE, present, arguments.reason, datetime.now(UTC))
            return 0
        failures = check(BASELINE, present)
    except (UpgradeError, merge.MergeError) as error:
        print(f"upgrade: {error}", file=sys.stderr)
        return 1
    for failure in failures:
        print(f"upgrade: {failure}", file=sys.stderr)
    if failures:
        print("CONTRIBUTING.md says what to do, under “When the upgrade test fails”.", file=sys.stderr)
    return 1 if failures else 0


def check(folder: Path, present: dict) -> list[str]:
    """Compares the template with the baseline in a folder; returns a sentence for each failure."""
    accepted = read(folder / ACCEPTED)
    findings = compare(read(folder / TEMPLATE), present)
    failures = []
    for finding in findings:
        reason = accepted.get(finding.id)
        if reason and finding.acceptable:
            continue
        hint = f" If that is meant, give `{finding.id}` a reason in {ACCEPTED}." if finding.acceptable else ""
        failures.append(f"{finding.sentence}.{hint}")
    found = {finding.id for finding in findings if finding.acceptable}
    for name, reason in accepted.items():
        if name not in found:
            failures.append(f"{ACCEPTED} accepts `{name}`, which is not a difference that can be accepted: remove it.")
        elif not (isinstance(reason, str) and reason.strip()):
            failures.append(f"{ACCEPTED} accepts `{name}` without a reason.")
    return failures


def write(folder: Path, present: dict, reason: str, now: datetime) -> None:
    """Makes a template the baseline in a folder, and keeps the reason."""
    if not reason.strip():
        raise UpgradeError('say why the baseline is replaced: --reason "..."')
    (folder / TEMPLATE).write_text(dump(present), encoding="utf-8")
    (folder / ACCEPTED).write_text("{}\n", encoding="utf-8")
    with open(folder / REASONS, "a", encoding="utf-8") as file:
        file.write(f"- {now:%Y-%m-%d}: {' '.join(reason.split())}\n")


def read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpgradeError(f"{path.name} of the baseline cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UpgradeError(f"{path.name} of the baseline is not an object")
    return content


def dump(content: dict) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def translate(text: str) -> dict:
    """Translates a template as AWS SAM does when it is deployed, without its parameters' values."""
    template = yaml_parse(text)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # Where `sam deploy` uploads the code.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    before = os.environ.get("AWS_DEFAULT_REGION")
    os.environ["AWS_DEFAULT_REGION"] = REGION
    try:
        translated = transform(template, {}, None)
    finally:
        if before is None:
            del os.environ["AWS_DEFAULT_REGION"]
        else:
            os.environ["AWS_DEFAULT_REGION"] = before
    # Plain dictionaries and lists, as they are read from the baseline.
    return json.loads(json.dumps(translated))


def extract(template: dict) -> dict:
    """What the comparison reads of a translated template."""
    addressed = named_by(template.get("Outputs", {}))
    kept = {}
    for name, resource in template["Resources"].items():
        kind = resource["Type"]
        if not (holds_data(kind) or kind in ADDRESSES or name in addressed):
            continue
        fields = {field: resource[field] for field in ("Type", "Condition") if field in resource}
        properties = resource.get("Properties", {})
        if holds_data(kind):
            fields |= {
                field: resource[field] for field in ("DeletionPolicy", "UpdateReplacePolicy") if field in resource
            }
            fields["Properties"] = properties
        else:
            tops = {pointer.split("/")[2] for pointer in create_only(kind)}
            fields["Properties"] = {top: properties[top] for top in sorted(tops) if top in properties}
        kept[name] = fields
    return {
        "Parameters": {
            name: {field: value for field, value in parameter.items() if field != "Description"}
            for name, parameter in template.get("Parameters", {}).items()
        },
        "Rules": template.get("Rules", {}),
        "Conditions": template.get("Conditions", {}),
        "Resources": kept,
        "Outputs": {
            name: {field: value for field, value in output.items() if field != "Description"}
            for name, output in template.get("Outputs", {}).items()
        },
    }


def compare(baseline: dict, present: dict) -> list[Finding]:
    """Every change from the baseline that an update of a stack would not survive, or not as intended."""
    addressed = named_by(baseline["Outputs"])
    findings = [
        *parameters(baseline["Parameters"], present["Parameters"]),
        *rules(baseline["Rules"], present["Rules"]),
        *outputs(baseline, present),
    ]
    for name, before in baseline["Resources"].items():
        after = present["Resources"].get(name)
        if holds_data(before["Type"]):
            findings += data(name, before, after, (baseline["Conditions"], present["Conditions"]))
        elif before["Type"] in ADDRESSES or name in addressed:
            findings += address(name, before, after)
    return sorted(findings)


def parameters(baseline: dict, present: dict) -> Iterator[Finding]:
    """Changes that refuse what a stack's owner has set, or give another value to one who has set nothing."""

    def found(name: str, change: str, sentence: str) -> Finding:
        return Finding(f"parameter {name} {change}", f"The parameter {name} {sentence}", acceptable=True)

    for name, after in present.items():
        if name not in baseline and "Default" not in after:
            yield found(name, "has no default", "is new and has no default: every update without it fails")
    for name, before in baseline.items():
        after = present.get(name)
        if after is None:
            yield found(name, "removed", "is removed or renamed: an update that sets it fails, and its value is lost")
            continue
        if before["Type"] != after["Type"]:
            yield found(name, "type changed", f"is of another type: {before['Type']} has become {after['Type']}")
        if before.get("Default") != after.get("Default"):
            change = f"{shown(before.get('Default'))} has become {shown(after.get('Default'))}"
            yield found(name, "default changed", f"has another default: {change}, for every new stack")
        allowed, now_allowed = before.get("AllowedValues"), after.get("AllowedValues")
        gone = set(map(str, allowed or [])) - set(map(str, now_allowed or []))
        if now_allowed is not None and (allowed is None or gone):
            which = f": no longer {', '.join(sorted(gone))}" if allowed else ""
            yield found(name, "values narrowed", f"allows fewer values{which}")
        for field, sign in (("MinValue", 1), ("MinLength", 1), ("MaxValue", -1), ("MaxLength", -1)):
            old, new = before.get(field), after.get(field)
            if new is not None and (old is None or sign * float(new) > sign * float(old)):
                yield found(name, f"{field} narrowed", f"allows fewer values: {field} was {shown(old)} and is {new}")
        pattern = after.get("AllowedPattern")
        if pattern is not None and pattern != before.get("AllowedPattern"):
            yield found(name, "pattern changed", "has another AllowedPattern, which may refuse values that are set")


def rules(baseline: dict, present: dict) -> Iterator[Finding]:
    """Rules that may refuse parameters that are set."""
    for name, rule in present.items():
        if rule != baseline.get(name):
            sentence = f"The rule {name} is new or changed: it may refuse parameters that are set"
            yield Finding(f"rule {name} changed", sentence, acceptable=True)


def outputs(baseline: dict, present: dict) -> Iterator[Finding]:
    """Outputs that others read and that are no longer there, or say something else."""
    for name, before in baseline["Outputs"].items():
        after = present["Outputs"].get(name)

        def found(change: str, sentence: str, name: str = name) -> Finding:
            return Finding(f"output {name} {change}", f"The output {name} {sentence}", acceptable=True)

        if after is None:
            yield found("removed", "is removed or renamed: others may read it")
            continue
        if before["Value"] != after["Value"]:
            yield found(
                "value changed", f"has another value: {shown(before['Value'])} has become {shown(after['Value'])}"
            )
        if before.get("Export") not in (None, after.get("Export")):
            yield found("export changed", "is no longer exported under its name: stacks that import it stop the update")
        if condition(after, present["Conditions"]) not in (None, condition(before, baseline["Conditions"])):
            yield found("condition changed", "has another condition: where that is false, it is not there")


def address(name: str, before: dict, after: dict | None) -> Iterator[Finding]:
    """Changes that give another id, name or URL to a resource that others address."""
    kind = before["Type"]
    lost = "its id, name or URL changes, and everything that uses it stops"

    def found(change: str, sentence: str) -> Finding:
        return Finding(f"{name} {change}", f"{name} ({kind}) {sentence}: {lost}", acceptable=True)

    if after is None:
        yield found("removed", "is removed, or has another logical id")
    elif after["Type"] != kind:
        yield found("type changed", f"has become an {after['Type']}")
    else:
        for place in changed(create_only(kind), before, after):
            yield found(f"{place} changed", f"has another {place}, so CloudFormation replaces it")


def data(name: str, before: dict, after: dict | None, conditions: tuple[dict, dict]) -> Iterator[Finding]:
    """Changes that would destroy or replace a resource that holds data, or that AWS refuses."""
    kind = before["Type"]
    # Logs of the past, and events that failed: Keygate works without them.
    dispensable = kind in RETENTION

    def found(change: str, sentence: str, acceptable: bool = dispensable) -> Finding:
        return Finding(f"{name} {change}", f"{name} ({kind}) {sentence}", acceptable)

    if after is None:
        yield found("removed", "is removed, or has another logical id: the stack would lose what it holds")
        return
    if after["Type"] != kind:
        yield found("type changed", f"has become an {after['Type']}: the stack would lose what it holds")
        return
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        old, new = before.get(policy), after.get(policy)
        if POLICIES.get(new, -1) < POLICIES[old]:
            yield found(f"{policy} weakened", f"has a weaker {policy}: {shown(old)} has become {shown(new)}")
    if condition(after, conditions[1]) not in (None, condition(before, conditions[0])):
        yield found("condition changed", "has another condition: where that is false, the resource is removed")
    for place in changed(create_only(kind), before, after):
        yield found(f"{place} changed", f"has another {place}: CloudFormation would replace it by an empty one")
    old, new = before.get("Properties", {}), after.get("Properties", {})
    if kind in RETENTION and old.get(RETENTION[kind]) != new.get(RETENTION[kind]):
        yield found(f"{RETENTION[kind]} changed", f"has another {RETENTION[kind]}: it may lose what is older")
    if kind == TABLE:
        yield from table(old, new, found)
    if kind == KMS_KEY:
        yield from kms_key(old, new, found)


def table(old: dict, new: dict, found: Callable[..., Finding]) -> Iterator[Finding]:
    """Changes of a table that DynamoDB refuses, or that weaken its protection."""
    old_types, new_types = (
        {entry["AttributeName"]: entry["AttributeType"] for entry in properties.get("AttributeDefinitions", [])}
        for properties in (old, new)
    )
    for attribute in sorted(old_types.keys() & new_types.keys()):
        if old_types[attribute] != new_types[attribute]:
            change = f"{old_types[attribute]} has become {new_types[attribute]}"
            yield found(f"{attribute} type changed", f"has another type of the key attribute {attribute}: {change}")

    old_indexes, new_indexes = indexes(old), indexes(new)
    added = sorted(new_indexes.keys() - old_indexes.keys())
    removed = sorted(old_indexes.keys() - new_indexes.keys())
    altered = sorted(name for name in old_indexes.keys() & new_indexes.keys() if old_indexes[name] != new_indexes[name])
    for name in removed:
        yield found(
            f"index {name} removed",
            f"has lost the index {name}, which functions of the baseline read until they are updated",
            acceptable=True,
        )
    if altered or len(added) + len(removed) > 1:
        parts = (("added", added), ("removed", removed), ("changed", altered))
        what = ", ".join(f"{word} {' and '.join(names)}" for word, names in parts if names)
        yield found(
            "indexes changed", f"has more than one change of its indexes, or a changed one ({what}). {ONE_INDEX}"
        )
    if old.get("LocalSecondaryIndexes") != new.get("LocalSecondaryIndexes"):
        yield found("local indexes changed", "has other local indexes, which exist from a table's creation or never")

    stream = old.get("StreamSpecification")
    if stream not in (None, new.get("StreamSpecification")):
        yield found("stream changed", "has another stream, or none: changes that no function has handled yet are lost")
    old_ttl, new_ttl = (properties.get("TimeToLiveSpecification", {}) for properties in (old, new))
    if old_ttl.get("Enabled") and not new_ttl.get("Enabled"):
        yield found("TTL disabled", "has no TTL any more: items past theirs stay", acceptable=True)
    elif old_ttl.get("Enabled") and old_ttl.get("AttributeName") != new_ttl.get("AttributeName"):
        yield found(
            "TTL changed", "has another TTL attribute, which DynamoDB takes only after TTL was disabled for an hour"
        )
    for name, protection in (
        ("DeletionProtectionEnabled", lambda it: it.get("DeletionProtectionEnabled", False)),
        (
            "PointInTimeRecoveryEnabled",
            lambda it: it.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled", False),
        ),
    ):
        if protection(old) is not False and protection(old) != protection(new):
            yield found(
                f"{name} changed", f"has a weaker protection: {name} is {shown(protection(new))}", acceptable=True
            )


def kms_key(old: dict, new: dict, found: Callable[..., Finding]) -> Iterator[Finding]:
    """Changes of a KMS key that AWS refuses, or that make it easier to lose."""
    for name, default in KMS_IMMUTABLE.items():
        if old.get(name, default) != new.get(name, default):
            yield found(f"{name} changed", f"has another {name}, which no update of a KMS key can change")
    if new.get("Enabled", True) is not True:
        yield found("disabled", "is not enabled: nothing that is derived from it works")
    denials = [statement for statement in statements(old) if unconditional(statement)["Effect"] == "Deny"]
    for statement in denials:
        if statement not in statements(new):
            sid = unconditional(statement).get("Sid", "without a Sid")
            yield found(f"denial {sid} removed", f"no longer denies what {sid} denied", acceptable=True)


def statements(properties: dict) -> list[dict]:
    """The statements of a KMS key's policy."""
    statement = properties.get("KeyPolicy", {}).get("Statement", [])
    return statement if isinstance(statement, list) else [statement]


def unconditional(statement: dict) -> dict:
    """A statement without the condition of the stack under which it exists."""
    return statement["Fn::If"][1] if "Fn::If" in statement else statement


def indexes(properties: dict) -> dict[str, object]:
    """The global indexes of a table by name: their keys and projections."""
    definitions = {}
    for index in properties.get("GlobalSecondaryIndexes", []):
        if not isinstance(index.get("IndexName"), str):
            raise UpgradeError(f"an index has no plain name, so it cannot be compared: {shown(index)}")
        projection = index["Projection"]
        attributes = sorted(projection.get("NonKeyAttributes", []))
        definitions[index["IndexName"]] = (index["KeySchema"], projection["ProjectionType"], attributes)
    return definitions


def condition(entry: dict, conditions: dict) -> object:
    """The definition of an entry's condition, with those that it refers to in their places."""

    def expanded(value: object) -> object:
        if isinstance(value, dict):
            if value.keys() == {"Condition"} and value["Condition"] in conditions:
                return expanded(conditions[value["Condition"]])
            return {name: expanded(held) for name, held in value.items()}
        return [expanded(held) for held in value] if isinstance(value, list) else value

    return expanded({"Condition": entry["Condition"]}) if "Condition" in entry else None


def changed(pointers: list[str], before: dict, after: dict) -> Iterator[str]:
    """The properties among these that differ, by their path."""
    for pointer in pointers:
        path = pointer.split("/")[2:]
        if at(before.get("Properties", {}), path) != at(after.get("Properties", {}), path):
            yield "/".join(path)


def at(value: object, path: list[str]) -> object:
    """The value at a path, with `*` for every entry of a list."""
    for position, step in enumerate(path):
        if step == "*":
            rest = path[position + 1 :]
            return [at(entry, rest) for entry in value] if isinstance(value, list) else value
        value = value.get(step) if isinstance(value, dict) else None
    return value


@functools.cache
def create_only(kind: str) -> list[str]:
    """The properties of a type whose change makes CloudFormation replace the resource, or may make it."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    return sorted({*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])})


@functools.cache
def stateful_types() -> frozenset[str]:
    """The types that hold data, as cfn-lint lists them for its rule I3011."""
    text = resources.files("cfnlint").joinpath("data/AdditionalSpecs/StatefulResources.json").read_text("utf-8")
    return frozenset(json.loads(text)["ResourceTypes"])


def holds_data(kind: str) -> bool:
    return kind in stateful_types()


def named_by(value: object) -> frozenset[str]:
    """The names that references in a value name: of resources, parameters and pseudo parameters."""
    if isinstance(value, list):
        return frozenset().union(*map(named_by, value))
    if not isinstance(value, dict):
        return frozenset()
    names = set().union(*map(named_by, value.values()))
    match value:
        case {"Ref": str(name)}:
            names.add(name)
        case {"Fn::GetAtt": [str(name), *_]}:
            names.add(name)
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), *_]}:
            names.update(name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
    return frozenset(names)


def shown(value: object) -> str:
    """A value as a sentence has it."""
    return "none" if value is None else json.dumps(value, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
