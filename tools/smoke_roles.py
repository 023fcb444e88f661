"""The doubts about the conditions in the functions' roles.

A role trusts Lambda alone, so the smoke test cannot use it. Three things are evidence instead: the functions did
their work with these roles; IAM's policy simulator decides as the conditions say, given the values of the context keys;
and, with a role that is made for the run, DynamoDB itself fills these keys as the conditions expect.
"""

from __future__ import annotations

import contextlib
import copy
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from smoke_run import UNCONFIRMED, CallFailed, Key, Run, eventually

SINGLE_VALUED = {"dynamodb:Select", "dynamodb:ReturnValues"}
CONTEXT_KEYS = {"dynamodb:Attributes", "dynamodb:Select", "dynamodb:ReturnValues"}
IGNORES_CONTEXT = "does not give the simulator the values of context keys"
ENFORCES_NOTHING = "does not enforce policies"
# An attribute that no item has.
FOREIGN = "smoke_test"
SESSION_SECONDS = 900
# How long a new role or policy may take to be known everywhere.
PROPAGATION_SECONDS = 60
# Reading an item takes this if the tables are encrypted with a customer managed key.
DECRYPT = {
    "Effect": "Allow",
    "Action": "kms:Decrypt",
    "Resource": "*",
    "Condition": {"StringLike": {"kms:ViaService": "dynamodb.*"}},
}


@dataclass(frozen=True)
class Statement:
    """A statement of a function's role, and the role."""

    role: str
    role_name: str
    body: dict

    @property
    def name(self) -> str:
        return f"{self.role}/{self.body.get('Sid', '?')}"

    @property
    def actions(self) -> list[str]:
        return as_list(self.body["Action"])

    @property
    def resources(self) -> list[str]:
        return as_list(self.body["Resource"])

    def condition(self, key: str) -> list[str]:
        """The values that the conditions allow for a context key; empty if there is no condition on it."""
        return [
            value
            for operator in self.body.get("Condition", {}).values()
            for name, values in operator.items()
            if name == key
            for value in as_list(values)
        ]


# Makes a client of DynamoDB that a statement limits.
Session = Callable[[Statement], Any]


def as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def statements(run: Run) -> list[Statement]:
    """Every statement of the roles of the stack's functions."""
    iam, found = run.stack.client("iam"), []
    for role, name in run.stack.resources("AWS::IAM::Role").items():
        for policy in iam.get_paginator("list_role_policies").paginate(RoleName=name).search("PolicyNames"):
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            found += [Statement(role, name, body) for body in as_list(document["Statement"])]
    return found


def check_conditions(run: Run) -> None:
    """Has IAM's simulator decide on requests that each condition allows, and on others that it refuses."""
    doubt = "IAM evaluates the conditions on Attributes, Select and ReturnValues"
    iam, wrong, decisions = run.stack.client("iam"), [], 0
    every = statements(run)
    conditional = [entry for entry in every if any(entry.condition(key) for key in CONTEXT_KEYS)]
    for statement in conditional:
        arn = iam.get_role(RoleName=statement.role_name)["Role"]["Arn"]
        # Where another statement of the role allows the same, this one refuses nothing.
        alone = [action for action in statement.actions if not allowed_elsewhere(statement, action, every)]
        cases = [("allowed", statement.actions, context_of(statement))]
        if alone and statement.condition("dynamodb:Attributes"):
            cases.append(("denied", alone, context_of(statement, attribute=FOREIGN)))
        if alone and statement.condition("dynamodb:ReturnValues"):
            cases.append(("denied", alone, context_of(statement, returned="ALL_OLD")))
        for expected, actions, context in cases:
            simulated = iam.simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=actions, ResourceArns=statement.resources, ContextEntries=context
            )
            for result in simulated["EvaluationResults"]:
                decisions += 1
                if (result["EvalDecision"] == "allowed") != (expected == "allowed"):
                    wrong.append(f"{statement.name} {result['EvalActionName']}: {result['EvalDecision']}")
    evidence = f"simulate-principal-policy: {decisions} decisions on {len(conditional)} statements"
    evidence += f", {len(wrong)} not as the conditions say: {', '.join(wrong[:5])}" if wrong else ", all as they say"
    run.decide(doubt, not wrong and decisions > 0, evidence, IGNORES_CONTEXT)


def allowed_elsewhere(statement: Statement, action: str, every: list[Statement]) -> bool:
    return any(
        other is not statement
        and other.role == statement.role
        and action in other.actions
        and set(other.resources) & set(statement.resources)
        for other in every
    )


def context_of(statement: Statement, attribute: str = "", returned: str = "") -> list[dict]:
    """The context of a request that a statement allows, but for another attribute or another returned value."""
    attributes = statement.condition("dynamodb:Attributes")
    keys = {
        "dynamodb:Attributes": [*attributes, attribute] if attribute else attributes,
        "dynamodb:Select": statement.condition("dynamodb:Select"),
        "dynamodb:ReturnValues": [returned] if returned else statement.condition("dynamodb:ReturnValues")[:1],
        "dynamodb:EnclosingOperation": statement.condition("dynamodb:EnclosingOperation"),
        "dynamodb:LeadingKeys": statement.condition("dynamodb:LeadingKeys"),
    }
    return [
        {
            "ContextKeyName": name,
            "ContextKeyValues": values,
            "ContextKeyType": "string" if name in SINGLE_VALUED else "stringList",
        }
        for name, values in keys.items()
        if values
    ]


def probe_conditions(run: Run, key: Key) -> None:
    """Calls DynamoDB under single statements of the functions' roles, by a role of the run's own.

    A session policy limits the role to one statement as it stands in the function's role, so DynamoDB's answers are
    those that the function would get.
    """
    table = run.stack.outputs["KeysTableName"]
    item = {"TableName": table, "Key": {"key_id": {"S": key.id}}}
    without_hash = [
        entry
        for entry in statements(run)
        if any(arn.endswith(f":table/{table}") for arn in entry.resources)
        and "revision" in entry.condition("dynamodb:Attributes")
        and "hash" not in entry.condition("dynamodb:Attributes")
    ]
    with probe_role(run, table) as session:
        for action, probe in (("dynamodb:GetItem", probe_reads), ("dynamodb:UpdateItem", probe_writes)):
            statement = next((entry for entry in without_hash if action in entry.actions), None)
            if statement is None:
                run.find(f"DynamoDB fills the context keys of {action}", UNCONFIRMED, "no role has such a statement")
            else:
                probe(run, session, statement, item)


def probe_reads(run: Run, session: Session, statement: Statement, item: dict) -> None:
    """Reads the attributes that a statement lists, the hash beside them, and the whole item."""
    dynamodb = session(statement)
    names = {f"#{number}": name for number, name in enumerate(statement.condition("dynamodb:Attributes"))}

    def reads(names: dict[str, str]) -> bool:
        projection = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
        return permitted(lambda: dynamodb.get_item(**item, **projection))

    listed = eventually(PROPAGATION_SECONDS, lambda: reads(names), pause=3)
    with_hash, whole = reads(names | {"#hash": "hash"}), reads({})
    evidence = f"GetItem under {statement.name}: of the listed attributes {said(listed)}, "
    evidence += f"with the hash {said(with_hash)}, of the whole item {said(whole)}"
    holds = listed and not with_hash and not whole
    run.decide("DynamoDB fills dynamodb:Attributes and dynamodb:Select", holds, evidence, ENFORCES_NOTHING)


def probe_writes(run: Run, session: Session, statement: Statement, item: dict) -> None:
    """Tries a change whose condition is never met: in a transaction, outside of one, and asking for the item."""
    change = item | {
        "UpdateExpression": "SET revision = revision",
        "ConditionExpression": "revision = :never",
        "ExpressionAttributeValues": {":never": {"N": "-1"}},
    }

    def changes(dynamodb, **fields: str) -> bool:
        update = {"Update": change | fields}
        return permitted(lambda: dynamodb.transact_write_items(TransactItems=[update]))

    dynamodb = session(statement)
    inside = eventually(PROPAGATION_SECONDS, lambda: changes(dynamodb), pause=3)
    outside = permitted(lambda: dynamodb.update_item(**change))
    evidence = f"UpdateItem under {statement.name}: in a transaction {said(inside)}, outside of one {said(outside)}"
    run.decide("DynamoDB fills dynamodb:EnclosingOperation", inside and not outside, evidence, ENFORCES_NOTHING)

    # With a condition on ReturnValues, which the role need not have: the question is whether it would help.
    limited = copy.deepcopy(statement.body)
    limited["Condition"].setdefault("StringEqualsIfExists", {})["dynamodb:ReturnValues"] = "NONE"
    dynamodb = session(Statement(statement.role, statement.role_name, limited))
    without_item = eventually(PROPAGATION_SECONDS, lambda: changes(dynamodb), pause=3)
    with_item = changes(dynamodb, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    evidence = "a failed condition in a transaction, under a condition on ReturnValues: "
    evidence += f"without the item {said(without_item)}, with the item {said(with_item)}"
    doubt = "no condition covers ReturnValuesOnConditionCheckFailure"
    run.decide(doubt, without_item and with_item, evidence, ENFORCES_NOTHING)


def said(may: bool) -> str:
    return "permitted" if may else "denied"


def permitted(call: Callable[[], object]) -> bool:
    """Whether IAM permits a call. The condition of a change is never met, so a permitted one changes nothing."""
    try:
        call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("AccessDeniedException", "AccessDenied"):
            return False
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException"):
            return True
        raise
    return True


@contextlib.contextmanager
def probe_role(run: Run, table: str) -> Iterator[Session]:
    """Makes a role that only this caller can assume, and gives clients of DynamoDB that it and one statement limit."""
    iam, sts = run.stack.client("iam"), run.stack.client("sts")
    caller = sts.get_caller_identity()["Arn"]
    name = f"{leftover_prefix(run)}{secrets.token_hex(4)}"
    trust = {"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "sts:AssumeRole"}
    partition = caller.split(":")[1]
    allow = {"Effect": "Allow", "Action": "dynamodb:*Item", "Resource": f"arn:{partition}:dynamodb:*:*:table/{table}"}

    def document(*statements: dict) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))

    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]
    try:
        iam.put_role_policy(RoleName=name, PolicyName="probe", PolicyDocument=document(allow, DECRYPT))

        def session(statement: Statement):
            credentials = assume(sts, role["Arn"], document(statement.body, DECRYPT))
            return run.stack.session.client(
                "dynamodb",
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials["SessionToken"],
            )

        yield session
    finally:
        delete_role(iam, name)


def assume(sts, role: str, policy: str) -> dict:
    """The credentials of a session that a policy limits. A new role cannot be assumed for some seconds."""
    found: dict = {}

    def is_assumed() -> bool:
        try:
            session = sts.assume_role(
                RoleArn=role, RoleSessionName="keygate-smoke", Policy=policy, DurationSeconds=SESSION_SECONDS
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        found.update(session["Credentials"])
        return True

    if not eventually(PROPAGATION_SECONDS, is_assumed, pause=3):
        raise CallFailed(f"{role} cannot be assumed")
    return found


def leftover_prefix(run: Run) -> str:
    return f"{run.stack.name[:40]}-smoke-"


def delete_role(iam, name: str) -> None:
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)


def delete_leftover_roles(run: Run) -> None:
    """Deletes the roles of runs that were killed."""
    iam = run.stack.client("iam")
    for role in iam.get_paginator("list_roles").paginate().search("Roles"):
        if role["RoleName"].startswith(leftover_prefix(run)):
            delete_role(iam, role["RoleName"])
