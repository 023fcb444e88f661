"""Tests that each rule of rules.guard refuses a template that breaks it. `make templates` writes the template before.

python -m unittest discover -s infra/scanners
"""

from __future__ import annotations

import copy
import json
import unittest
from pathlib import Path

import check_rules

TEMPLATE = Path(__file__).resolve().parents[2] / "target" / "infra" / "translated" / "keygate.json"


REMOVED = object()


def changed(resource: dict, path: str, value: object) -> dict:
    """A copy of a resource with another value of one field, or without that field."""
    resource = copy.deepcopy(resource)
    *parents, last = [int(name) if name.isdecimal() else name for name in path.split(".")]
    target = resource
    for name in parents:
        target = target[name]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return resource


STATEMENT = "Properties.Policies.0.PolicyDocument.Statement.0"
ADDED = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": {"Fn::GetAtt": ["PepperKey", "Arn"]}}


def optional(**fields: object) -> dict:
    return {"Fn::If": ["SendsTraces", ADDED | fields, {"Ref": "AWS::NoValue"}]}


# For each rule the changes that it has to refuse: a resource, the path of a field in it, and the new value.
BREAKS: dict[str, list[tuple[str, str, object]]] = {
    "tables_are_encrypted": [
        ("KeysTable", "Properties.SSESpecification.SSEEnabled", False),
        ("LegacyKeysTable", "Properties.SSESpecification", REMOVED),
    ],
    "tables_can_be_restored_to_a_point_in_time": [
        ("UsageTable", "Properties.PointInTimeRecoverySpecification", REMOVED),
        ("TokensTable", "Properties.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled", False),
    ],
    "tables_expire_items_by_their_ttl": [
        ("ActivityTable", "Properties.TimeToLiveSpecification", REMOVED),
        ("TokensTable", "Properties.TimeToLiveSpecification.AttributeName", "expires_at"),
    ],
    "tables_are_retained": [
        ("WorkspacesTable", "DeletionPolicy", "Delete"),
        ("KeysTable", "UpdateReplacePolicy", REMOVED),
        ("KeysTable", "Properties.DeletionProtectionEnabled", REMOVED),
    ],
    "kms_keys_are_retained": [("PepperKey", "DeletionPolicy", "Delete")],
    "queues_are_encrypted": [("FailuresQueue", "Properties.SqsManagedSseEnabled", REMOVED)],
    "log_groups_do_not_keep_lines_forever": [("WhoamiLogGroup", "Properties.RetentionInDays", REMOVED)],
    "roles_name_their_actions_and_resources": [
        ("WhoamiRole", f"{STATEMENT}.Action", ["logs:PutLogEvents", "logs:*"]),
        ("WhoamiRole", f"{STATEMENT}.Action", "logs:Put*"),
        ("WhoamiRole", f"{STATEMENT}.Resource", "*"),
        ("WhoamiRole", f"{STATEMENT}.Resource", [{"Ref": "KeysTable"}, "*"]),
        ("WhoamiRole", f"{STATEMENT}.NotAction", "logs:CreateLogGroup"),
        ("WhoamiRole", STATEMENT, optional(Action=["kms:*"])),
        ("WhoamiRole", STATEMENT, optional(Resource="*")),
    ],
    "roles_are_assumed_by_a_service": [
        ("WhoamiRole", "Properties.AssumeRolePolicyDocument.Statement.0.Principal", {"AWS": "*"}),
    ],
    "functions_are_invoked_by_a_named_source": [("WhoamiPermission", "Properties.SourceArn", REMOVED)],
    "functions_have_a_role_and_a_log_group_of_their_own": [
        ("WhoamiFunction", "Properties.Role", "arn:aws:iam::123456789012:role/admin"),
        ("WhoamiFunction", "Properties.LoggingConfig.LogGroup", REMOVED),
    ],
    "functions_have_no_public_url": [("WhoamiFunction", "Type", "AWS::Lambda::Url")],
    "stages_write_access_logs": [("ManagementApiStage", "Properties.AccessLogSetting", REMOVED)],
    "http_stages_write_access_logs": [("OAuthStage", "Properties.AccessLogSettings", REMOVED)],
    "stages_log_no_bodies": [
        ("ManagementApiStage", "Properties.MethodSettings.0.DataTraceEnabled", True),
        ("ManagementApiStage", "Properties.MethodSettings.0.LoggingLevel", "INFO"),
    ],
    "stages_are_throttled": [("ManagementApiStage", "Properties.MethodSettings.0.ThrottlingRateLimit", REMOVED)],
}


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.template = json.loads(TEMPLATE.read_text(encoding="utf-8"))

    def test_the_template_breaks_no_rule(self) -> None:
        self.assertEqual(check_rules.broken_rules(self.template), {})

    def test_every_rule_refuses_what_breaks_it(self) -> None:
        self.assertEqual(BREAKS.keys(), check_rules.rules().keys())
        for rule, changes in BREAKS.items():
            for resource, path, value in changes:
                template = {"Resources": {resource: changed(self.template["Resources"][resource], path, value)}}
                with self.subTest(rule, resource=resource, path=path):
                    self.assertIn(rule, check_rules.broken_rules(template))


if __name__ == "__main__":
    unittest.main()
