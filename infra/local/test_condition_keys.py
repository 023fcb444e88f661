"""Tests of the condition keys of calls."""

import unittest

from condition_keys import UnknownParameter, attributes, attributes_of, example_class, leading_keys, of_item_action


class ConditionKeysTest(unittest.TestCase):
    def test_an_expression_names_attributes_and_neither_values_nor_functions(self) -> None:
        names = {"#ttl": "ttl", "#ends": "ends", "#m": "minute"}
        for expression, expected in [
            ("SET #ttl = :ttl, revision = revision + :one REMOVE a, b ADD c :d", {"ttl", "revision", "a", "b", "c"}),
            ("attribute_not_exists(entry) OR key_id = :key AND NOT size (x) > :n", {"entry", "key_id", "x"}),
            ("SET #ends.#m = if_not_exists(#ends.#m, :zero), list[0].inner = :x", {"ends", "list"}),
            ("workspace_id = :w AND begins_with(entry, :p)", {"workspace_id", "entry"}),
            ("at BETWEEN :from AND :to and hash IN (:a, :b)", {"at", "hash"}),
            ("", set()),
        ]:
            self.assertEqual(attributes_of(expression, names), expected, expression)

    def test_a_call_names_attributes_in_keys_items_and_every_expression(self) -> None:
        call = {
            "Key": {"key_id": {"S": "k"}},
            "Item": {"item": {"S": "i"}},
            "Keys": [{"first": {"S": "f"}}, {"second": {"S": "s"}}],
            "ExclusiveStartKey": {"start": {"S": "s"}},
            "ProjectionExpression": "projected",
            "ConditionExpression": "condition = :c",
            "FilterExpression": "filtered = :f",
            "KeyConditionExpression": "#partition = :p",
            "UpdateExpression": "SET updated = :u",
            "ExpressionAttributeNames": {"#partition": "workspace_id"},
        }
        expected = {"key_id", "item", "first", "second", "start", "projected", "condition", "filtered", "updated"}
        self.assertEqual(attributes(call), expected | {"workspace_id"})

    def test_leading_keys_are_values_of_the_partition_key_and_no_hash_is_among_them(self) -> None:
        key = {"key_id": {"S": "one"}, "entry": {"S": "LIVE"}}
        self.assertEqual(leading_keys({"Key": key}, "key_id"), ["one"])
        self.assertEqual(leading_keys({"Keys": [key, key, {"key_id": {"S": "two"}}]}, "key_id"), ["one", "two"])
        self.assertEqual(leading_keys({"Item": {"hash": {"B": "c2VjcmV0"}}}, "hash"), ["(binary)"])
        query = {
            "KeyConditionExpression": "#p = :p AND event = :e",
            "ExpressionAttributeNames": {"#p": "actor"},
            "ExpressionAttributeValues": {":p": {"S": "acme#bob"}, ":e": {"S": "now"}},
        }
        self.assertEqual(leading_keys(query, "actor"), ["acme#bob"])
        self.assertEqual(leading_keys({"TableName": "t"}, "actor"), [])

    def test_what_a_request_leaves_out_is_a_default(self) -> None:
        def conditions(action: str, call: dict) -> tuple[object, object, object]:
            found = of_item_action(action, call, None, None, call)
            name = "dynamodb:Select" if action in ("GetItem", "Query") else "dynamodb:ReturnValues"
            return found.context.get(name), found.defaults.get(name), found.defaults["dynamodb:ReturnConsumedCapacity"]

        for action, call, expected in [
            ("GetItem", {}, (None, "ALL_ATTRIBUTES")),
            ("GetItem", {"ProjectionExpression": "a"}, (None, "SPECIFIC_ATTRIBUTES")),
            ("Query", {"IndexName": "i"}, (None, "ALL_PROJECTED_ATTRIBUTES")),
            ("Query", {"Select": "COUNT"}, ("COUNT", None)),
            ("DeleteItem", {}, (None, "NONE")),
            ("DeleteItem", {"ReturnValues": "NONE"}, (None, "NONE")),
            ("DeleteItem", {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}, ("ALL_OLD", None)),
            ("UpdateItem", {"ReturnValues": "UPDATED_NEW"}, ("UPDATED_NEW", None)),
        ]:
            self.assertEqual(conditions(action, call), (*expected, "NONE"), f"{action} {call}")

    def test_a_transaction_is_named_and_a_parameter_of_earlier_versions_is_refused(self) -> None:
        found = of_item_action("PutItem", {"Item": {"a": {"S": "x"}}}, "a", "TransactWriteItems", {})
        expected = {"dynamodb:Attributes": ["a"], "dynamodb:LeadingKeys": ["x"]}
        self.assertEqual(found.context, expected | {"dynamodb:EnclosingOperation": "TransactWriteItems"})
        with self.assertRaisesRegex(UnknownParameter, "AttributesToGet"):
            of_item_action("GetItem", {"AttributesToGet": ["hash"]}, None, None, {})

    def test_leading_keys_of_workspaces_are_alike_and_those_of_keygate_are_not(self) -> None:
        self.assertEqual(example_class(["acme", "beta"]), [""])
        self.assertEqual(example_class(["#idempotency#acme"]), ["#idempotency"])
        self.assertEqual(example_class(["acme#bob", "#keygate"]), ["", "#keygate"])


if __name__ == "__main__":
    unittest.main()
