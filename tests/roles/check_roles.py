"""Evaluates the policies of the deployed functions' roles without AWS, by iam-simulate.

1. Each distinct call that the run recorded is allowed by the role of the function that made it, and so is each call
   that Lambda makes with the role (legitimate_calls.yaml). AWS does not say for every condition key whether it exists
   where a request leaves its parameter out, so a call must be allowed with the defaults and without them.
2. Each call of hostile_calls.yaml is denied, and would be allowed by a role that allows everything.
3. Each condition denies one of these: without the condition, the statement would allow a hostile call.
4. Each statement allows a call of 1, and each attribute that it lists is named by such a call. The exception is the
   keys of a table and its indexes: AWS demands that a statement lists them.

The policies, and the resources that the lists name, are those of the stack whose addresses are in the environment. It
must have served a whole run of the end-to-end tests, so that every call of the functions has been recorded.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import boto3
import yaml

HERE = Path(__file__).resolve().parent
SIMULATOR = HERE.parents[1] / ".local" / "tools" / "iam-simulate"

REGION, ACCOUNT = "us-east-1", "000000000000"
# What precedes the name of a resource in its ARN, by its type in the template.
BY_TYPE = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:",
}
# What precedes a resource that the recorder writes down, by the service of the action. Of a KMS key that is the ARN.
BY_SERVICE = {
    "apigateway": f"arn:aws:apigateway:{REGION}::",
    "dynamodb": BY_TYPE["AWS::DynamoDB::Table"],
    "events": f"arn:aws:events:{REGION}:{ACCOUNT}:",
    "kms": "",
    "lambda": BY_TYPE["AWS::Lambda::Function"],
    "sqs": BY_TYPE["AWS::SQS::Queue"],
}
# The condition keys that calls have and AWS does not list for the action, so that iam-simulate leaves them out. Other
# keys that it leaves out are mistakes in the lists or in the recorder.
UNLISTED = {("dynamodb:ConditionCheckItem", "dynamodb:EnclosingOperation")}


class CheckError(Exception):
    """Something that prevents the check; the message says what."""


@dataclass(frozen=True)
class Call:
    """A call with a function's role, and why it is legitimate or hostile."""

    function: str
    action: str
    resource: str
    why: str
    context: Mapping = field(default_factory=dict)

    def __str__(self) -> str:
        context = "".join(f", {name} {value}" for name, value in sorted(self.context.items()))
        return f"{self.function}: {self.action} on {self.resource}{context} ({self.why})"

    def is_like(self, other: Call) -> bool:
        """Whether the calls differ in nothing but their contexts."""
        return (self.function, self.action, self.resource) == (other.function, other.action, other.resource)


@dataclass(frozen=True)
class Statement:
    """A statement of a function's role."""

    function: str
    content: Mapping

    def __str__(self) -> str:
        return f"{self.function}, statement {self.content['Sid']}"

    def has(self, action: str) -> bool:
        """Whether the statement is about an action."""
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in as_list(self.content["Action"]))

    def of(self, calls: Iterable[Call]) -> list[Call]:
        """The calls of the same function that the statement may allow."""
        return [call for call in calls if call.function == self.function and self.has(call.action)]

    @property
    def attributes(self) -> list[str]:
        listed = self.content.get("Condition", {}).get("ForAllValues:StringEquals", {})
        return as_list(listed.get("dynamodb:Attributes", []))

    def without_conditions(self) -> Iterator[tuple[str, Statement]]:
        """For each of the conditions its name, and the statement without it."""
        conditions = self.content.get("Condition", {})
        for operator, keys in conditions.items():
            for key in keys:
                others = {name: value for name, value in keys.items() if name != key}
                left = {name: value for name, value in {**conditions, operator: others}.items() if value}
                content = {name: value for name, value in self.content.items() if name != "Condition"}
                yield f"{operator} {key}", Statement(self.function, content | ({"Condition": left} if left else {}))


EVERYTHING = Statement("everything", {"Sid": "Everything", "Effect": "Allow", "Action": "*", "Resource": "*"})


class Stack:
    """The roles of the deployed functions, and the resources that the lists of calls name."""

    def __init__(self) -> None:
        client = boto3.client("cloudformation")
        deployed = client.describe_stack_resources(StackName=os.environ["KEYGATE_STACK"])["StackResources"]
        self.types = {resource["LogicalResourceId"]: resource["ResourceType"] for resource in deployed}
        self.names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in deployed}
        self.roles = dict(self.read_roles())

    def read_roles(self) -> Iterator[tuple[str, list[Statement]]]:
        """The statements of each function's role. A role has one policy, which has the function's name."""
        functions, roles = boto3.client("lambda"), boto3.client("iam")
        for logical_id in self.of_type("AWS::Lambda::Function"):
            configuration = functions.get_function_configuration(FunctionName=self.names[logical_id])
            role = configuration["Role"].rpartition("/")[2]
            (function,) = roles.list_role_policies(RoleName=role)["PolicyNames"]
            if logical_id.lower() != f"{function.replace('-', '')}function":
                raise CheckError(f"{logical_id} has the role of {function}")
            policy = roles.get_role_policy(RoleName=role, PolicyName=function)["PolicyDocument"]
            yield function, [Statement(function, statement) for statement in policy["Statement"]]

    @property
    def statements(self) -> list[Statement]:
        return list(itertools.chain.from_iterable(self.roles.values()))

    def of_type(self, resource_type: str) -> list[str]:
        found = [name for name, of_type in self.types.items() if of_type == resource_type]
        if not found:
            raise CheckError(f"the stack has no {resource_type}")
        return found

    def arns(self, resource: str | Mapping, function: str) -> list[str]:
        """The ARNs that the resource of a listed call stands for."""
        if isinstance(resource, str):
            return [self.arn(resource)]
        own = f"{function.replace('-', '')}loggroup"
        names = self.of_type(resource["each"])
        match resource:
            case {"only": "own"}:
                names = [name for name in names if name.lower() == own]
            case {"but": "own"}:
                names = [name for name in names if name.lower() != own]
            case {"but": others}:
                names = [name for name in names if name not in others]
        return [self.arn(name) + resource.get("rest", "") for name in names]

    def arn(self, resource: str) -> str:
        """The ARN of a resource of the template, with the text that follows it."""
        if resource == "*" or resource.startswith("arn:"):
            return resource
        logical_id, rest = re.fullmatch(r"(\w+)(.*)", resource).groups()
        if logical_id not in self.names:
            raise CheckError(f"the stack has no {logical_id}")
        # The name of a queue is the end of its URL.
        name = self.names[logical_id].rpartition("000000000000/")[2]
        return BY_TYPE[self.types[logical_id]] + name + rest

    def table_keys(self) -> dict[str, set[str]]:
        """The attributes that are keys of each table and index, by the ARN."""
        client = boto3.client("dynamodb")
        keys = {}
        for name in self.of_type("AWS::DynamoDB::Table"):
            table, arn = client.describe_table(TableName=self.names[name])["Table"], self.arn(name)
            indexes = table.get("GlobalSecondaryIndexes", [])
            schemas = {arn: [], **{f"{arn}/index/{index['IndexName']}": index["KeySchema"] for index in indexes}}
            for part, schema in schemas.items():
                keys[part] = {key["AttributeName"] for key in [*schema, *table["KeySchema"]]}
        return keys

    def listed(self, groups: list[Mapping]) -> Iterator[Call]:
        """The calls of a list, for each role that they are for."""
        for group in groups:
            functions, excepted = group.get("roles", list(self.roles)), group.get("except", [])
            if unknown := {*functions, *excepted} - self.roles.keys():
                raise CheckError(f"a list of calls names functions that do not exist: {', '.join(sorted(unknown))}")
            for function, call in itertools.product(functions, group["calls"]):
                if function not in excepted:
                    yield from self.combinations(function, call, group["why"])

    def combinations(self, function: str, call: Mapping, why: str) -> Iterator[Call]:
        parts = as_list(call["action"]), as_list(call["resource"]), call.get("contexts", [{}])
        for action, resource, context in itertools.product(*parts):
            for arn in self.arns(resource, function):
                yield Call(function, action, arn, why, context)


def as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def recorded() -> Iterator[Call]:
    """Each distinct call of the run, with the defaults of parameters that it leaves out and without them."""
    for line in Path(os.environ["KEYGATE_DISTINCT_CALLS"]).read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        resource = BY_SERVICE[call["action"].partition(":")[0]] + call["resource"]
        contexts = [call["context"], call["context"] | call["defaults"]] if call["defaults"] else [call["context"]]
        for context in contexts:
            yield Call(call["function"], call["action"], resource, "the function makes this call", context)


class Evaluation:
    """Questions whether statements allow calls, which are answered together."""

    def __init__(self) -> None:
        self.policies: list[list[Mapping]] = []
        self.questions: list[tuple[int, Call, Callable[[Call, str], None]]] = []

    def ask(self, statements: list[Statement], calls: Iterable[Call], answer: Callable[[Call, str], None]) -> None:
        """Passes each call and its outcome to `answer`: `allowed`, `denied`, or `error` if AWS has no such call."""
        self.policies.append([statement.content for statement in statements])
        self.questions += [(len(self.policies) - 1, call, answer) for call in calls]

    def run(self) -> list[str]:
        """Answers the questions, and returns faults in the calls themselves."""
        calls = [
            {"policy": policy, "action": call.action, "resource": call.resource, "context": call.context}
            for policy, call, _ in self.questions
        ]
        done = subprocess.run(
            ["node", str(HERE / "evaluate.mjs"), str(SIMULATOR)],
            input=json.dumps({"policies": self.policies, "calls": calls}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CheckError(f"the evaluation failed:\n{done.stderr}")
        faults = []
        for (_, call, answer), result in zip(self.questions, json.loads(done.stdout), strict=True):
            unlisted = [key for key in result["ignored"] if (call.action, key) not in UNLISTED]
            if unlisted:
                faults.append(f"AWS does not list {', '.join(unlisted)} for the action of {call}")
            answer(call, result["outcome"])
        return list(dict.fromkeys(faults))


class Check:
    """The check of a stack: the calls, and the faults that were found."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        lists: dict[str, list] = {}
        for file in ("hostile_calls.yaml", "legitimate_calls.yaml"):
            lists |= yaml.safe_load((HERE / file).read_text(encoding="utf-8"))
        self.hostile, self.tolerated = list(stack.listed(lists["hostile"])), list(stack.listed(lists["tolerated"]))
        self.denied_here = list(stack.listed(lists["denied_here"]))
        self.unknown_here = list(stack.listed(lists["unknown_here"]))
        exceptions = [*self.denied_here, *self.unknown_here]
        legitimate = [*recorded(), *stack.listed([*lists["lambda"], *lists["unrecorded"]])]
        self.legitimate = [call for call in legitimate if not any(map(call.is_like, exceptions))]
        if strangers := {str(call.function) for call in self.legitimate} - stack.roles.keys():
            raise CheckError(f"calls of functions that are not deployed: {', '.join(sorted(strangers))}")
        self.faults: list[str] = []
        # The calls that each statement allows, and those that each would allow without one of its conditions.
        self.allowed_by: list[tuple[Statement, list[Call]]] = []
        self.denied_by: list[tuple[Statement, str, list[Call]]] = []

    def run(self) -> None:
        evaluation = Evaluation()
        for statements in self.stack.roles.values():
            self.expect(evaluation, statements, self.legitimate, "allowed", "a legitimate call")
            self.expect(evaluation, statements, self.hostile, "denied", "a hostile call")
            self.expect(evaluation, statements, self.tolerated, "allowed", "listed as tolerated")
            self.expect(evaluation, statements, self.denied_here, "denied", "listed as denied here")
            self.expect(evaluation, statements, self.unknown_here, "error", "listed as unknown here")
        # Otherwise a misspelt call would be denied whatever the roles allow.
        distinct = {(call.action, call.resource, json.dumps(call.context)): call for call in self.hostile}
        answer = partial(self.compare, "allowed", "a hostile call with a role that allows everything")
        evaluation.ask([EVERYTHING], distinct.values(), answer)
        for statement in self.stack.statements:
            self.allowed_by.append((statement, allowed := []))
            evaluation.ask([statement], statement.of(self.legitimate), partial(collect, allowed))
            for condition, without in statement.without_conditions():
                self.denied_by.append((statement, condition, denied := []))
                evaluation.ask([without], statement.of(self.hostile), partial(collect, denied))
        self.faults += evaluation.run()
        self.find_excess()

    def expect(
        self, evaluation: Evaluation, statements: list[Statement], calls: list[Call], outcome: str, what: str
    ) -> None:
        """Expects the same outcome of each of the calls that are of the function with these statements."""
        answer = partial(self.compare, outcome, what)
        for call in calls:
            if call.function == statements[0].function:
                # A role without a statement for the action denies the call. Most hostile calls are denied like that.
                if any(statement.has(call.action) for statement in statements):
                    evaluation.ask(statements, [call], answer)
                else:
                    answer(call, "denied")

    def compare(self, expected: str, what: str, call: Call, outcome: str) -> None:
        if outcome != expected:
            missing = self.missing_attributes(call) if outcome == "denied" else ""
            self.faults.append(f"{outcome}{missing}, and {what} must be {expected}: {call}")

    def missing_attributes(self, call: Call) -> str:
        """The attributes of a call that no statement about its action and resource lists, if one has a list."""
        statements = [statement for statement in self.stack.roles[call.function] if statement.of([call])]
        listing = [s for s in statements if call.resource in as_list(s.content["Resource"]) and s.attributes]
        listed = {name for statement in listing for name in statement.attributes}
        missing = [name for name in call.context.get("dynamodb:Attributes", []) if name not in listed]
        return f" because of {', '.join(missing)}" if listing and missing else ""

    def find_excess(self) -> None:
        """Finds statements, attributes and conditions that no call needs."""
        keys = self.stack.table_keys()
        for statement, calls in self.allowed_by:
            if not calls:
                self.faults.append(f"no call needs {statement}")
                continue
            named = {name for call in calls for name in call.context.get("dynamodb:Attributes", [])}
            for arn in as_list(statement.content["Resource"]):
                named |= keys.get(arn, set())
            if unused := [name for name in statement.attributes if name not in named]:
                self.faults.append(f"no call names {', '.join(unused)}: {statement}")
        for statement, condition, calls in self.denied_by:
            if not calls:
                self.faults.append(f"{condition} denies no hostile call: {statement}")


def collect(allowed: list[Call], call: Call, outcome: str) -> None:
    if outcome == "allowed":
        allowed.append(call)


def main() -> int:
    try:
        check = Check(Stack())
        check.run()
    except CheckError as error:
        sys.exit(str(error))
    for fault in check.faults:
        print(fault)
    calls = f"{len(check.legitimate)} legitimate calls, {len(check.hostile)} hostile calls"
    roles = f"{len(check.stack.roles)} roles, {len(check.denied_by)} conditions"
    print(f"{roles}, {calls}: {len(check.faults)} faults")
    return 1 if check.faults else 0


if __name__ == "__main__":
    sys.exit(main())
