"""Tests of the evaluation of roles, with statements that need no stack."""

from __future__ import annotations

import unittest
from collections.abc import Mapping

from check_roles import EVERYTHING, Call, Evaluation, Statement

TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/keys"
DELETE = Statement(
    "delete-key",
    {
        "Sid": "DeleteKey",
        "Effect": "Allow",
        "Action": "dynamodb:DeleteItem",
        "Resource": TABLE,
        "Condition": {
            "ForAllValues:StringEquals": {"dynamodb:Attributes": ["key_id", "revision"]},
            "ForAllValues:StringNotLike": {"dynamodb:LeadingKeys": "#*"},
            "StringEqualsIfExists": {"dynamodb:ReturnValues": "NONE"},
            "ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": "TransactWriteItems"},
        },
    },
)
DELETION = {
    "dynamodb:Attributes": ["key_id", "revision"],
    "dynamodb:LeadingKeys": ["one"],
    "dynamodb:EnclosingOperation": "TransactWriteItems",
}


def evaluate(statement: Statement, *calls: Call) -> tuple[list[str], list[str]]:
    """The outcomes of the calls, and the faults in them."""
    outcomes: list[str] = []
    evaluation = Evaluation()
    evaluation.ask([statement], calls, lambda _, outcome: outcomes.append(outcome))
    return outcomes, evaluation.run()


def deletion(context: Mapping, action: str = "dynamodb:DeleteItem", resource: str = TABLE) -> Call:
    return Call("delete-key", action, resource, "a test", context)


class CheckRolesTest(unittest.TestCase):
    def test_each_condition_alone_denies_a_call(self) -> None:
        hostile = [
            DELETION | {"dynamodb:Attributes": ["key_id", "hash"]},
            DELETION | {"dynamodb:LeadingKeys": ["one", "#keygate"]},
            DELETION | {"dynamodb:ReturnValues": "ALL_OLD"},
            {name: value for name, value in DELETION.items() if name != "dynamodb:EnclosingOperation"},
        ]
        calls = [deletion(context) for context in (DELETION, DELETION | {"dynamodb:ReturnValues": "NONE"}, *hostile)]
        self.assertEqual(evaluate(DELETE, *calls), (["allowed"] * 2 + ["denied"] * 4, []))
        without = list(DELETE.without_conditions())
        self.assertEqual(len(without), 4)
        for index, (name, statement) in enumerate(without):
            outcomes, _ = evaluate(statement, *calls[2:])
            self.assertEqual([i for i, outcome in enumerate(outcomes) if outcome == "allowed"], [index], name)

    def test_a_call_that_does_not_exist_is_neither_allowed_nor_denied(self) -> None:
        calls = [
            deletion({}, action="dynamodb:EraseItem"),
            deletion({}, resource="arn:aws:sqs:us-east-1:000000000000:queue"),
        ]
        self.assertEqual(evaluate(EVERYTHING, *calls), (["error"] * 2, []))

    def test_a_condition_key_that_aws_does_not_list_is_a_fault_and_fills_no_condition(self) -> None:
        outcomes, (fault,) = evaluate(DELETE, deletion(DELETION | {"dynamodb:Select": "COUNT"}))
        self.assertEqual(outcomes, ["allowed"])
        self.assertIn("dynamodb:Select", fault)
        check = Statement("delete-key", {**DELETE.content, "Action": "dynamodb:ConditionCheckItem"})
        outcomes, _ = evaluate(check, deletion(DELETION, action="dynamodb:ConditionCheckItem"))
        self.assertEqual(outcomes, ["denied"], "EnclosingOperation is no key of ConditionCheckItem")


if __name__ == "__main__":
    unittest.main()
