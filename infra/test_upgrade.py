"""Tests of upgrade.py: small changes of the real template, each with the finding that it must give, or none.

python -m unittest discover -s infra
"""

from __future__ import annotations

import copy
import json
import tempfile
import unittest
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import merge
import upgrade

Change = Callable[[dict], object]


def rename(entries: dict, old: str, new: str) -> None:
    entries[new] = entries.pop(old)


def index(template: dict, name: str, table: str = "KeysTable") -> dict:
    """A global index of a table."""
    (found,) = (entry for entry in indexes(template, table) if entry["IndexName"] == name)
    return found


def indexes(template: dict, table: str = "KeysTable") -> list[dict]:
    return properties(template, table)["GlobalSecondaryIndexes"]


def properties(template: dict, name: str) -> dict:
    return template["Resources"][name]["Properties"]


def add_index(template: dict, name: str, table: str = "KeysTable") -> None:
    indexes(template, table).append(copy.deepcopy(indexes(template, table)[0]) | {"IndexName": name})


def remove_index(template: dict, name: str, table: str = "KeysTable") -> None:
    indexes(template, table).remove(index(template, name, table))


def rename_index(template: dict, name: str) -> None:
    index(template, name)["IndexName"] = f"{name}_2"


def remove(template: dict, name: str) -> None:
    del template["Resources"][name]


def set_property(name: str, **values: object) -> Change:
    return lambda template: properties(template, name).update(values)


def set_parameter(name: str, **values: object) -> Change:
    return lambda template: template["Parameters"][name].update(values)


def set_resource(name: str, **values: object) -> Change:
    return lambda template: template["Resources"][name].update(values)


def drop(template: dict, *path: str) -> None:
    for step in path[:-1]:
        template = template[step]
    del template[path[-1]]


def two_new_indexes(template: dict) -> None:
    add_index(template, "by_size")
    add_index(template, "by_colour")


def another_function_for_the_authorizer(template: dict) -> None:
    """With its alias, which SAM names after it."""
    for name in ("AuthorizeFunction", "AuthorizeFunctionAliaslive"):
        rename(template["Resources"], name, name.replace("Authorize", "Authorizer"))
    template["Outputs"] = json.loads(
        json.dumps(template["Outputs"]).replace('"AuthorizeFunction', '"AuthorizerFunction')
    )


def new_parameter(**fields: object) -> Change:
    return lambda template: template["Parameters"].update(Colour={"Type": "String", **fields})


NO_ACCESS_LOG = {"LogGroupName": "/elsewhere"}
KEYS_TTL = {"AttributeName": "expires_at", "Enabled": True}

# A change, and the ids of all findings that it gives. Those that a reason can allow begin with `(`.
FAILURES: tuple[tuple[str, Change, list[str]], ...] = (
    # Data that Keygate cannot work without.
    ("a table is removed", lambda it: remove(it, "ActivityTable"), ["ActivityTable removed"]),
    ("a table is renamed", lambda it: rename(it["Resources"], "KeysTable", "KeyTable"), ["KeysTable removed"]),
    ("a KMS key is removed", lambda it: remove(it, "PepperKey"), ["PepperKey removed"]),
    (
        "a table becomes a global table",
        set_resource("TokensTable", Type="AWS::DynamoDB::GlobalTable"),
        ["TokensTable type changed"],
    ),
    (
        "a table is deleted with the stack",
        set_resource("KeysTable", DeletionPolicy="Delete"),
        ["KeysTable DeletionPolicy weakened"],
    ),
    (
        "a key has no policy any more",
        lambda it: drop(it, "Resources", "PepperKey", "UpdateReplacePolicy"),
        ["PepperKey UpdateReplacePolicy weakened"],
    ),
    (
        "a table gets a condition",
        set_resource("KeysTable", Condition="HasDashboard"),
        ["KeysTable condition changed"],
    ),
    (
        "the condition of a table says something else",
        lambda it: it["Conditions"].update(HonoursLegacyKeys={"Fn::Equals": [{"Ref": "Brand"}, "kg"]}),
        [
            "LegacyKeysTable condition changed",
            "(ImportLegacyKeysLogGroup condition changed",
            "(output LegacyKeysTableName condition changed",
            "(output ImportLegacyKeysFunctionName condition changed",
        ],
    ),
    ("a table gets a name", set_property("KeysTable", TableName="keys"), ["KeysTable TableName changed"]),
    (
        "a table has another key",
        lambda it: properties(it, "ActivityTable")["KeySchema"].pop(),
        ["ActivityTable KeySchema changed"],
    ),
    (
        "a key attribute has another type",
        lambda it: properties(it, "LegacyKeysTable")["AttributeDefinitions"][0].update(AttributeType="S"),
        ["LegacyKeysTable hash type changed"],
    ),
    *(
        (f"a KMS key has another {name}", set_property("PepperKey", **{name: value}), [f"PepperKey {name} changed"])
        for name, value in (
            ("KeySpec", "HMAC_512"),
            ("KeyUsage", "ENCRYPT_DECRYPT"),
            ("MultiRegion", "another"),
            ("Origin", "EXTERNAL"),
        )
    ),
    ("a KMS key is disabled", set_property("PepperKey", Enabled=False), ["PepperKey disabled"]),
    (
        "a KMS key may be deleted",
        lambda it: properties(it, "PepperKey")["KeyPolicy"]["Statement"].pop(1),
        ["(PepperKey denial NeverScheduleDeletion removed"],
    ),
    # Indexes.
    ("two indexes are added", two_new_indexes, ["KeysTable indexes changed"]),
    (
        "an index is removed",
        lambda it: remove_index(it, "by_due"),
        ["(KeysTable index by_due removed"],
    ),
    (
        "an index is renamed",
        lambda it: rename_index(it, "by_due"),
        ["(KeysTable index by_due removed", "KeysTable indexes changed"],
    ),
    (
        "an index projects more",
        lambda it: index(it, "by_name")["Projection"]["NonKeyAttributes"].append("colour"),
        ["KeysTable indexes changed"],
    ),
    (
        "an index has another key",
        lambda it: index(it, "by_name")["KeySchema"].reverse(),
        ["KeysTable indexes changed"],
    ),
    (
        "a local index is added",
        set_property("WorkspacesTable", LocalSecondaryIndexes=[{"IndexName": "by_colour"}]),
        ["WorkspacesTable local indexes changed"],
    ),
    # What else DynamoDB refuses, or what weakens a table.
    (
        "a stream has other images",
        set_property("KeysTable", StreamSpecification={"StreamViewType": "NEW_IMAGE"}),
        ["KeysTable stream changed"],
    ),
    (
        "a stream is removed",
        lambda it: drop(it, "Resources", "ActivityTable", "Properties", "StreamSpecification"),
        ["ActivityTable stream changed"],
    ),
    (
        "TTL reads another attribute",
        set_property("KeysTable", TimeToLiveSpecification=KEYS_TTL),
        ["KeysTable TTL changed"],
    ),
    (
        "TTL is disabled",
        set_property("TokensTable", TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False}),
        ["(TokensTable TTL disabled"],
    ),
    (
        "a table may be deleted",
        set_property("KeysTable", DeletionProtectionEnabled=False),
        ["(KeysTable DeletionProtectionEnabled changed"],
    ),
    (
        "a table cannot be restored",
        lambda it: drop(it, "Resources", "KeysTable", "Properties", "PointInTimeRecoverySpecification"),
        ["(KeysTable PointInTimeRecoveryEnabled changed"],
    ),
    # Logs and failed events.
    ("a queue is removed", lambda it: remove(it, "PublishEventsFailures"), ["(PublishEventsFailures removed"]),
    (
        "a log group has another name",
        set_property("AccessLogGroup", **NO_ACCESS_LOG),
        ["(AccessLogGroup LogGroupName changed"],
    ),
    (
        "a queue keeps events for a shorter time",
        set_property("PublishEventsFailures", MessageRetentionPeriod=60),
        ["(PublishEventsFailures MessageRetentionPeriod changed"],
    ),
    # Parameters.
    (
        "a parameter is renamed",
        lambda it: rename(it["Parameters"], "KeysPerUser", "MaxKeys"),
        ["(parameter KeysPerUser removed"],
    ),
    (
        "a parameter has another type",
        set_parameter("KeysPerUser", Type="String"),
        ["(parameter KeysPerUser type changed"],
    ),
    ("a parameter has another default", set_parameter("Brand", Default="key"), ["(parameter Brand default changed"]),
    (
        "a parameter has no default any more",
        lambda it: drop(it, "Parameters", "Brand", "Default"),
        ["(parameter Brand default changed"],
    ),
    (
        "a parameter allows fewer values",
        set_parameter("CallActivity", AllowedValues=["minute", "each"]),
        ["(parameter CallActivity values narrowed"],
    ),
    (
        "a parameter allows some values only",
        set_parameter("Brand", AllowedValues=["kg"]),
        ["(parameter Brand values narrowed"],
    ),
    (
        "a parameter has a lower maximum",
        set_parameter("KeysPerUser", MaxValue=500),
        ["(parameter KeysPerUser MaxValue narrowed"],
    ),
    (
        "a parameter has a higher minimum",
        set_parameter("KeysPerUser", MinValue=2),
        ["(parameter KeysPerUser MinValue narrowed"],
    ),
    ("a parameter has a length", set_parameter("Brand", MaxLength=5), ["(parameter Brand MaxLength narrowed"]),
    (
        "a parameter has another pattern",
        set_parameter("Brand", AllowedPattern="[a-z]+"),
        ["(parameter Brand pattern changed"],
    ),
    ("a new parameter must be given", new_parameter(), ["(parameter Colour has no default"]),
    (
        "a rule refuses more",
        lambda it: it.setdefault("Rules", {}).update(New={"Assertions": []}),
        ["(rule New changed"],
    ),
    # Outputs and addresses.
    (
        "an output is renamed",
        lambda it: rename(it["Outputs"], "ApiUrl", "Url"),
        ["(output ApiUrl removed"],
    ),
    (
        "an output has another value",
        lambda it: it["Outputs"]["ApiId"].update(Value="another"),
        ["(output ApiId value changed"],
    ),
    (
        "an output gets a condition",
        lambda it: it["Outputs"]["ApiId"].update(Condition="HasDashboard"),
        ["(output ApiId condition changed"],
    ),
    ("an API is renamed", lambda it: rename(it["Resources"], "OAuthApi", "TokenApi"), ["(OAuthApi removed"]),
    (
        "an API has another protocol",
        set_property("OAuthApi", ProtocolType="WEBSOCKET"),
        ["(OAuthApi ProtocolType changed"],
    ),
    (
        "an API has another stage",
        set_property("ManagementApiStage", StageName="v2"),
        ["(ManagementApiStage StageName changed"],
    ),
    (
        "the authorizer has another logical id",
        another_function_for_the_authorizer,
        [
            "(AuthorizeFunction removed",
            "(AuthorizeFunctionAliaslive removed",
            "(output AuthorizerFunctionArn value changed",
            "(output AuthorizerFunctionName value changed",
        ],
    ),
    (
        "the alias that others address has another name",
        set_property("AuthorizeFunctionAliaslive", Name="current"),
        ["(AuthorizeFunctionAliaslive Name changed"],
    ),
    (
        "a function that others address gets a name",
        set_property("AuthorizeFunction", FunctionName="authorize"),
        ["(AuthorizeFunction FunctionName changed"],
    ),
)

HARMLESS: tuple[tuple[str, Change], ...] = (
    ("nothing changes", lambda it: None),
    ("a table is added", lambda it: it["Resources"].update(New=copy.deepcopy(it["Resources"]["KeysTable"]))),
    ("an index is added", lambda it: add_index(it, "by_colour")),
    ("an index is added to each of two tables", lambda it: (add_index(it, "a"), add_index(it, "a", "ActivityTable"))),
    ("the indexes are in another order", lambda it: indexes(it).reverse()),
    (
        "projected attributes are in another order",
        lambda it: index(it, "by_name")["Projection"]["NonKeyAttributes"].reverse(),
    ),
    ("a table pays for capacity", set_property("KeysTable", BillingMode="PROVISIONED")),
    ("a table gets a tag", set_property("KeysTable", Tags=[{"Key": "team", "Value": "a"}])),
    ("a key says something else about itself", set_property("PepperKey", Description="peppers")),
    ("a key has the default spelt out", set_property("PepperKey", Origin="AWS_KMS")),
    ("a table is kept with the stack", set_resource("LegacyKeysTable", DeletionPolicy="Retain")),
    ("a table loses its condition", lambda it: drop(it, "Resources", "LegacyKeysTable", "Condition")),
    ("a condition is renamed", lambda it: rename_condition(it, "HonoursLegacyKeys", "HasLegacyKeys")),
    ("a stream is added", set_property("TokensTable", StreamSpecification={"StreamViewType": "OLD_IMAGE"})),
    ("a parameter is added", new_parameter(Default="red")),
    ("a parameter is described otherwise", set_parameter("Brand", Description="A word")),
    ("a parameter allows more", set_parameter("KeysPerUser", MaxValue=2000, MinValue=0)),
    (
        "a parameter allows another value",
        set_parameter("CallActivity", AllowedValues=["off", "each", "minute", "hour"]),
    ),
    ("a parameter allows every text", lambda it: drop(it, "Parameters", "Brand", "AllowedPattern")),
    ("an output is added", lambda it: it["Outputs"].update(New={"Value": "new"})),
    ("an output is described otherwise", lambda it: it["Outputs"]["ApiId"].update(Description="An id")),
    ("a function that is not addressed is replaced", lambda it: rename(it["Resources"], "PurgeKeysFunction", "Purger")),
    ("a function runs longer", set_property("AuthorizeFunction", Timeout=9)),
)


def rename_condition(template: dict, old: str, new: str) -> None:
    text = json.dumps(template).replace(f'"{old}"', f'"{new}"')
    template.clear()
    template.update(json.loads(text))


class Comparison(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.template = upgrade.translate(merge.merged_template(merge.FRAGMENTS))
        cls.baseline = upgrade.extract(cls.template)

    def findings(self, change: Change) -> list[upgrade.Finding]:
        template = copy.deepcopy(self.template)
        change(template)
        return upgrade.compare(self.baseline, upgrade.extract(template))

    def test_a_change_that_an_update_would_not_survive_gives_its_finding_and_no_other(self) -> None:
        for title, change, expected in FAILURES:
            with self.subTest(title):
                found = [("(" if finding.acceptable else "") + finding.id for finding in self.findings(change)]
                self.assertEqual(sorted(found), sorted(expected))

    def test_a_harmless_change_gives_none(self) -> None:
        for title, change in HARMLESS:
            with self.subTest(title):
                self.assertEqual(self.findings(change), [])

    def test_every_harmless_change_is_one(self) -> None:
        for title, change in HARMLESS[1:]:
            with self.subTest(title):
                template = copy.deepcopy(self.template)
                change(template)
                self.assertNotEqual(template, self.template)

    def test_a_sentence_names_the_resource_and_says_how_several_steps_are_deployed(self) -> None:
        (finding,) = self.findings(two_new_indexes)
        self.assertEqual(
            finding.sentence,
            "KeysTable (AWS::DynamoDB::Table) has more than one change of its indexes, or a changed one "
            f"(added by_colour and by_size). {upgrade.ONE_INDEX}",
        )

    def test_the_extract_has_every_table_key_queue_log_group_api_parameter_and_output(self) -> None:
        kept = self.baseline["Resources"]
        for name, resource in self.template["Resources"].items():
            wanted = (upgrade.TABLE, upgrade.KMS_KEY, upgrade.QUEUE, upgrade.LOG_GROUP, *upgrade.ADDRESSES)
            if resource["Type"] in wanted:
                self.assertIn(name, kept)
        for name in ("AuthorizeFunction", "AuthorizeFunctionAliaslive"):
            self.assertIn(name, kept, "an output names it")
        self.assertNotIn("PurgeKeysFunction", kept)
        for section in ("Parameters", "Outputs"):
            self.assertEqual(self.baseline[section].keys(), self.template[section].keys())

    def test_two_runs_extract_the_same_bytes(self) -> None:
        again = upgrade.extract(upgrade.translate(merge.merged_template(merge.FRAGMENTS)))
        self.assertEqual(upgrade.dump(again), upgrade.dump(self.baseline))

    def test_the_schemas_still_say_what_replaces_a_table(self) -> None:
        self.assertLessEqual(
            {"/properties/TableName", "/properties/KeySchema"}, set(upgrade.create_only(upgrade.TABLE))
        )

    def test_an_index_without_a_plain_name_cannot_be_compared(self) -> None:
        with self.assertRaises(upgrade.UpgradeError):
            self.findings(lambda it: index(it, "by_name").update(IndexName={"Ref": "Brand"}))


class Paths(unittest.TestCase):
    def test_a_path_reaches_into_maps_and_every_entry_of_a_list(self) -> None:
        value = {"Rules": [{"Days": 1}, {"Days": 2}], "Name": "a"}
        for path, expected in ((["Name"], "a"), (["Rules", "*", "Days"], [1, 2]), (["Name", "x"], None), (["y"], None)):
            self.assertEqual(upgrade.at(value, path), expected)

    def test_references_are_found_in_every_form(self) -> None:
        value = [
            {"Ref": "A"},
            {"Fn::GetAtt": ["B", "Arn"]},
            {"Fn::Sub": "x${C}/${D.Arn}${!E}"},
            {"Fn::Sub": ["${F}", {}]},
        ]
        self.assertEqual(upgrade.named_by({"Value": value}), {"A", "B", "C", "D", "F"})


class Baseline(unittest.TestCase):
    """The folder of the baseline: accepted differences, and how it is replaced."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.before = {
            "Parameters": {"Brand": {"Type": "String", "Default": "kg"}},
            "Rules": {},
            "Conditions": {},
            "Resources": {"Key": {"Type": upgrade.KMS_KEY, "DeletionPolicy": "Retain", "Properties": {}}},
            "Outputs": {},
        }
        self.write(upgrade.TEMPLATE, self.before)
        self.write(upgrade.ACCEPTED, {})

    def write(self, name: str, content: object) -> None:
        (self.folder / name).write_text(json.dumps(content), encoding="utf-8")

    def check(self, accepted: dict, **sections: dict) -> list[str]:
        self.write(upgrade.ACCEPTED, accepted)
        return upgrade.check(self.folder, self.before | sections)

    def test_a_difference_fails_without_a_reason_and_passes_with_one(self) -> None:
        other = {"Brand": {"Type": "String", "Default": "key"}}
        name = "parameter Brand default changed"
        (failure,) = self.check({}, Parameters=other)
        self.assertIn('has another default: "kg" has become "key"', failure)
        self.assertIn(f"`{name}`", failure)
        self.assertEqual(self.check({name: "nothing is stored under it yet"}, Parameters=other), [])
        for empty in ("", " ", None):
            self.assertTrue(self.check({name: empty}, Parameters=other))

    def test_no_reason_allows_the_loss_of_data(self) -> None:
        failures = self.check({"Key removed": "it is in the way"}, Resources={})
        self.assertEqual(len(failures), 2)
        self.assertIn("the stack would lose what it holds", failures[0])
        self.assertIn("accepts `Key removed`, which is not a difference that can be accepted", failures[1])

    def test_a_reason_for_a_difference_that_is_not_there_fails(self) -> None:
        (failure,) = self.check({"parameter Brand removed": "gone"})
        self.assertIn("remove it", failure)

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        for content in ("", "[]", "{"):
            (self.folder / upgrade.ACCEPTED).write_text(content, encoding="utf-8")
            with self.assertRaises(upgrade.UpgradeError) as raised:
                upgrade.check(self.folder, self.before)
            self.assertIn(upgrade.ACCEPTED, str(raised.exception))

    def test_the_baseline_is_replaced_for_a_reason_which_is_kept_and_accepts_nothing(self) -> None:
        self.write(upgrade.ACCEPTED, {"parameter Brand removed": "gone"})
        (self.folder / upgrade.REASONS).write_text("- before\n", encoding="utf-8")
        now = datetime(2026, 1, 2, tzinfo=UTC)
        with self.assertRaises(upgrade.UpgradeError):
            upgrade.write(self.folder, self.before | {"Outputs": {"New": {"Value": "x"}}}, " ", now)
        self.assertEqual(upgrade.read(self.folder / upgrade.TEMPLATE), self.before, "nothing is written without one")
        after = self.before | {"Outputs": {"New": {"Value": "x"}}}
        upgrade.write(self.folder, after, "nothing is\nreleased", now)
        self.assertEqual(upgrade.read(self.folder / upgrade.TEMPLATE), after)
        self.assertEqual(upgrade.read(self.folder / upgrade.ACCEPTED), {})
        text = (self.folder / upgrade.REASONS).read_text(encoding="utf-8")
        self.assertEqual(text, "- before\n- 2026-01-02: nothing is released\n")


if __name__ == "__main__":
    unittest.main()
