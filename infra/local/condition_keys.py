"""The values of IAM's condition keys for a call: a role's policy is evaluated with them, the action and the resource.

They follow the condition keys of the services (https://docs.aws.amazon.com/service-authorization/latest/reference/) and
the developer guide of DynamoDB ("Using IAM policy conditions for fine-grained access control"). AWS does not say for
every key whether it exists where a request leaves its parameter out. So the parameters of a request and the defaults of
those that it leaves out are separate here: a role must allow the function's calls with the defaults and without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Context = dict[str, str | list[str]]

# A document path: the name of an attribute or its placeholder, the path within it, and the parenthesis of a function.
PATH = re.compile(r"([:#]\w+|[A-Za-z_]\w*)((?:\.#?\w+|\[\d+\])*)(\s*\()?")
KEYWORDS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN"}

EXPRESSIONS = (
    "ProjectionExpression",
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
    "UpdateExpression",
)
# Parameters of earlier versions of the API, which name attributes in other ways. No function uses them.
LEGACY_PARAMETERS = {
    "AttributesToGet",
    "AttributeUpdates",
    "ConditionalOperator",
    "Expected",
    "KeyConditions",
    "QueryFilter",
    "ScanFilter",
}

READS = {"GetItem", "BatchGetItem", "Query", "Scan"}


class UnknownParameter(Exception):
    """A parameter whose attributes are not read here, so that the call would seem to need less than it does."""


@dataclass(frozen=True)
class Conditions:
    """The condition keys of one action."""

    # The parameters of the request.
    context: Context = field(default_factory=dict)
    # The defaults of those that it leaves out.
    defaults: Context = field(default_factory=dict)


def of_item_action(
    action: str, call: Mapping, partition_key: str | None, enclosing: str | None, shared: Mapping
) -> Conditions:
    """The condition keys of an action on items of one table.

    `call` is the request, or in it an operation of a transaction or the part of a batch for the table. `shared` is the
    whole request. The partition key is that of the table or index. `enclosing` is the name of the transaction.
    """
    if unknown := LEGACY_PARAMETERS & call.keys():
        raise UnknownParameter(f"{action} with {', '.join(sorted(unknown))}")
    context: Context = {"dynamodb:Attributes": sorted(attributes(call))}
    if leading := leading_keys(call, partition_key):
        context["dynamodb:LeadingKeys"] = leading
    if enclosing:
        context["dynamodb:EnclosingOperation"] = enclosing
    if "ReturnConsumedCapacity" in shared:
        context["dynamodb:ReturnConsumedCapacity"] = shared["ReturnConsumedCapacity"]
    defaults: Context = {"dynamodb:ReturnConsumedCapacity": "NONE"}
    if action in READS:
        if "Select" in call:
            context["dynamodb:Select"] = call["Select"]
        elif "ProjectionExpression" in call:
            defaults["dynamodb:Select"] = "SPECIFIC_ATTRIBUTES"
        else:
            defaults["dynamodb:Select"] = "ALL_PROJECTED_ATTRIBUTES" if "IndexName" in call else "ALL_ATTRIBUTES"
    else:
        parameters = ("ReturnValues", "ReturnValuesOnConditionCheckFailure")
        requested = [call[name] for name in parameters if call.get(name, "NONE") != "NONE"]
        if requested:
            context["dynamodb:ReturnValues"] = requested[0]
        defaults["dynamodb:ReturnValues"] = "NONE"
    return Conditions(context, {name: value for name, value in defaults.items() if name not in context})


def attributes(call: Mapping) -> set[str]:
    """The top-level attributes that a call names: in its keys, its item and its expressions."""
    names = call.get("ExpressionAttributeNames", {})
    named = {*call.get("Key", {}), *call.get("Item", {}), *call.get("ExclusiveStartKey", {})}
    for key in call.get("Keys", ()):
        named |= set(key)
    for parameter in EXPRESSIONS:
        named |= attributes_of(call.get(parameter, ""), names)
    return named


def attributes_of(expression: str, names: Mapping[str, str]) -> set[str]:
    """The top-level attributes that an expression names."""
    found = set()
    for word, _, parenthesis in PATH.findall(expression):
        if word.startswith(":") or parenthesis or word.upper() in KEYWORDS:
            continue
        found.add(names[word] if word.startswith("#") else word)
    return found


def leading_keys(call: Mapping, partition_key: str | None) -> list[str]:
    """The values of the partition key that a call names."""
    if partition_key is None:
        return []
    items = [call.get("Key", {}), call.get("Item", {}), *call.get("Keys", ())]
    values = [item[partition_key] for item in items if partition_key in item]
    names = call.get("ExpressionAttributeNames", {})
    for name, placeholder in re.findall(r"([#\w]+)\s*=\s*(:\w+)", call.get("KeyConditionExpression", "")):
        if names.get(name, name) == partition_key:
            values.append(call["ExpressionAttributeValues"][placeholder])
    return list(dict.fromkeys(map(text_of, values)))


def text_of(value: Mapping[str, str]) -> str:
    """The text of a partition key. A binary one is the hash of a legacy key, which must not be written down."""
    return value.get("S", "(binary)")


def example_class(leading: Iterable[str]) -> list[str]:
    """The differences between leading keys that a role may know: the kinds of Keygate's own partitions."""
    return sorted({re.sub(r"^(#\w+)(#.*)?$", r"\1", key) if key.startswith("#") else "" for key in leading})
