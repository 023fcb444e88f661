"""Tests of the merged template as CloudFormation sees it: with its include, translated by SAM, with long names.

python -m unittest discover -s infra
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
import unittest
from functools import cache
from itertools import pairwise
from re import _constants as regex_constants
from re import _parser as regex_parser
from unittest import mock

import merge
import translate
import upgrade
from test_merge import fields
from translate import EXAMPLES, OAUTH_CLOUDFRONT, load, translation

# ARNs are longest in this partition. The stack's name has 60 characters.
PSEUDO_PARAMETERS = {
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "us-gov-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "keygate-of-the-platform-engineering-team-in-production-stage",
}

# Lists have no maximum length in CloudFormation; beyond this one, invalidate-caches would not fit its environment.
LONGEST_LIST = 2_000

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_LEN = 1_000_000
MAX_TEMPLATE_LEN_WITHOUT_S3 = 51_200
MAX_RESOURCES = 500
MAX_PARAMETERS = 200
MAX_OUTPUTS = 200
# Of all inline policies of a role, without blanks.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_INLINE_POLICIES_LEN = 10_240
MAX_MANAGED_POLICY_LEN = 6_144
# Of all variables of a function. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_ENVIRONMENT_LEN = 4_096
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
RESERVED_VARIABLES = {
    *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT"),
    *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"),
    *("AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"),
    *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_RUNTIME_DIR"),
}
# API Gateway cuts longer log events.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
MAX_LOG_EVENT_LEN = 1_024

# The longest values in access logs, but for those of the API itself.
LONGEST_CONTEXT = {
    "requestId": "0" * 36,
    "requestTime": "26/Nov/2026:18:00:16 +0000",
    "identity.sourceIp": "2001:0db8:0000:0000:0000:0000:0000:0001",
    "httpMethod": "OPTIONS",
    "status": "200",
    "responseLength": "10485760",
    "responseLatency": "30000",
    "integrationLatency": "30000",
    "integration.latency": "30000",
    "integration.status": "200",
    "authorizer.latency": "30000",
    "authorizer.status": "200",
    "authorizer.error": "The client is not authorized to perform this operation.",
    "authorizer.requestId": "0" * 36,
    "error.responseType": "REQUEST_TOO_LARGE_OR_UNSUPPORTED_MEDIA",
    "authorizer.userId": "u" * 128,
    "authorizer.workspaceId": "w" * 64,
    "authorizer.keyId": "0" * 26,
    "authorizer.credential": "access_token",
}


@cache
def merged() -> dict:
    return translate.merged()


@cache
def translated() -> dict:
    return translation(merged())


def of_type(resource_type: str) -> dict[str, dict]:
    """The properties of each resource of a type in the translated template."""
    resources = translated()["Resources"].items()
    return {name: each.get("Properties", {}) for name, each in resources if each["Type"] == resource_type}


def deployments(template: dict, **parameters: str) -> set[str]:
    resources = translation(template, **parameters)["Resources"].items()
    return {name for name, each in resources if each["Type"] == "AWS::ApiGateway::Deployment"}


class Longest:
    """Replaces intrinsic functions by the longest text that they can stand for."""

    def __init__(self, template: dict) -> None:
        self.template = template

    def value(self, value: object) -> object:
        if isinstance(value, list):
            return [each for each in map(self.value, value) if each != {"Ref": "AWS::NoValue"}]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self.reference(argument)
            if name.startswith("Fn::"):
                return getattr(self, name.removeprefix("Fn::").lower())(argument)
        resolved = {name: self.value(each) for name, each in value.items()}
        return {name: each for name, each in resolved.items() if each != {"Ref": "AWS::NoValue"}}

    def reference(self, name: str) -> object:
        if name == "AWS::NoValue":
            return {"Ref": name}
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if parameter := self.template["Parameters"].get(name):
            return longest_parameter(name, parameter)
        return self.physical_id(name)

    def physical_id(self, name: str) -> str:
        """CloudFormation generates names with the stack's name, the resource's and a random text."""
        generated = f"{PSEUDO_PARAMETERS['AWS::StackName']}-{name}-{'X' * 13}"
        resource = self.template["Resources"][name]
        match resource["Type"]:
            case "AWS::DynamoDB::Table":
                return generated[:255]
            case "AWS::SQS::Queue":
                queue = f"{PSEUDO_PARAMETERS['AWS::AccountId']}/{generated[:80]}"
                return f"https://sqs.{PSEUDO_PARAMETERS['AWS::Region']}.amazonaws.com/{queue}"
            case "AWS::KMS::Key":
                return f"mrk-{'0' * 32}"
            case "AWS::Logs::LogGroup":
                return str(self.value(resource["Properties"]["LogGroupName"]))
            case "AWS::ApiGateway::RestApi" | "AWS::ApiGatewayV2::Api":
                return "0" * 10
            case _:
                return generated[:64]

    def getatt(self, argument: list[str]) -> str:
        name, attribute = argument
        physical_id = self.physical_id(name)
        match self.template["Resources"][name]["Type"]:
            case "AWS::DynamoDB::Table":
                stream = "/stream/2026-11-26T18:00:16.000" if attribute == "StreamArn" else ""
                return self.arn("dynamodb", f"table/{physical_id}{stream}")
            case "AWS::SQS::Queue":
                queue = physical_id.rpartition("/")[2]
                return queue if attribute == "QueueName" else self.arn("sqs", queue)
            case "AWS::KMS::Key":
                return self.arn("kms", f"key/{physical_id}")
            case "AWS::Logs::LogGroup":
                return self.arn("logs", f"log-group:{physical_id}:*")
            case "AWS::IAM::Role":
                return self.arn("iam", f"role/{physical_id}")
            case "AWS::Events::Rule":
                return self.arn("events", f"rule/{physical_id}")
            case "AWS::Lambda::Function":
                return self.arn("lambda", f"function:{physical_id}")
            case "AWS::CloudWatch::Alarm":
                return self.arn("cloudwatch", f"alarm:{physical_id}")
        raise AssertionError(f"the length of {name}.{attribute} is not known here")

    def arn(self, service: str, resource: str) -> str:
        region, account = PSEUDO_PARAMETERS["AWS::Region"], PSEUDO_PARAMETERS["AWS::AccountId"]
        return f"arn:{PSEUDO_PARAMETERS['AWS::Partition']}:{service}:{region}:{account}:{resource}"

    def sub(self, argument: str | list) -> str:
        text, names = (argument, {}) if isinstance(argument, str) else argument

        def replaced(match: re.Match) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in names:
                return str(self.value(names[name]))
            return str(self.getatt(name.split(".", 1)) if "." in name else self.reference(name))

        return re.sub(r"\$\{([^}]+)\}", replaced, text)

    def join(self, argument: list) -> str:
        separator, parts = argument
        parts = self.value(parts)
        return separator.join(parts) if isinstance(parts, list) else str(parts)

    def split(self, argument: list) -> list[str]:
        separator, text = argument
        return str(self.value(text)).split(separator)

    def select(self, argument: list) -> object:
        index, values = argument
        return self.value(values)[int(index)]

    def findinmap(self, argument: list) -> object:
        entries = self.template["Mappings"][argument[0]].values()
        return max((entry[argument[2]] for entry in entries), key=len)

    def If(self, argument: list) -> object:  # noqa: N802 - named as the function
        return max((self.value(each) for each in argument[1:]), key=lambda each: len(compact(each)))

    def __getattr__(self, name: str):
        if name == "if":
            return self.If
        raise AttributeError(f"Fn::{name} is not known here")


def longest_parameter(name: str, parameter: dict) -> str | list[str]:
    """The longest value of a parameter; raises AssertionError if it has no end."""
    if "AllowedValues" in parameter:
        return max(map(str, parameter["AllowedValues"]), key=len)
    if parameter["Type"] == "Number":
        return str(parameter["MaxValue"])
    if parameter["Type"] == "CommaDelimitedList":
        return ["x" * LONGEST_LIST]
    length = regex_parser.parse(parameter.get("AllowedPattern", ".*")).getwidth()[1]
    length = min(length, parameter.get("MaxLength", regex_constants.MAXREPEAT))
    if length >= regex_constants.MAXREPEAT:
        raise AssertionError(f"the parameter {name} needs a MaxLength")
    return "x" * int(length)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


# The functions that are invoked by an alias.
AUTHORIZERS = {"AuthorizeFunction", "AuthorizeManagementFunction"}


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.longest = Longest(translated())

    def test_the_template_stays_below_the_limits_of_one_stack(self) -> None:
        for template in (merged(), translated()):
            self.assertLess(len(compact(template)), MAX_TEMPLATE_LEN)
            self.assertLessEqual(len(template["Resources"]), MAX_RESOURCES)
            self.assertLessEqual(len(template["Parameters"]), MAX_PARAMETERS)
            self.assertLessEqual(len(template["Outputs"]), MAX_OUTPUTS)

    def test_the_template_is_uploaded_to_s3_because_a_request_has_no_room_for_it(self) -> None:
        self.assertGreater(len(merge.merged_template(merge.FRAGMENTS)), MAX_TEMPLATE_LEN_WITHOUT_S3)
        config = tomllib.loads((merge.INFRA / "samconfig.toml").read_text(encoding="utf-8"))
        self.assertTrue(config["default"]["deploy"]["parameters"]["resolve_s3"])

    def test_the_policies_of_each_role_fit_even_with_long_names(self) -> None:
        roles = of_type("AWS::IAM::Role")
        self.assertGreater(len(roles), 20)
        for name, role in roles.items():
            policies = [compact(self.longest.value(each["PolicyDocument"])) for each in role.get("Policies", [])]
            self.assertLessEqual(sum(map(len, policies)), MAX_INLINE_POLICIES_LEN, name)
        for name, policy in of_type("AWS::IAM::ManagedPolicy").items():
            self.assertLessEqual(
                len(compact(self.longest.value(policy["PolicyDocument"]))), MAX_MANAGED_POLICY_LEN, name
            )

    def test_the_environment_of_each_function_fits_whatever_the_parameters_are(self) -> None:
        functions = of_type("AWS::Lambda::Function")
        self.assertGreater(len(functions), 20)
        for name, function in functions.items():
            variables = self.longest.value(function["Environment"]["Variables"])
            if "OIDC_JWKS" in variables:
                # Twenty characters are nine versions of the pepper. A rule refuses both workspaces.
                variables["PEPPER_VERSIONS"] = variables["PEPPER_VERSIONS"][:20]
                del variables["OIDC_WORKSPACE"]
            self.assertLessEqual(len(compact(variables)), MAX_ENVIRONMENT_LEN, name)
            self.assertFalse(variables.keys() & RESERVED_VARIABLES, name)

    def test_an_access_log_line_is_not_cut(self) -> None:
        document = merged()["Resources"]["ManagementApi"]["Properties"]["DefinitionBody"]
        routes = [route["RouteKey"] for route in of_type("AWS::ApiGatewayV2::Route").values()]
        context = LONGEST_CONTEXT | {
            "resourcePath": max(document["paths"], key=len),
            "routeKey": max(routes, key=len),
        }
        formats = [format for _, name, format in fields(merged()["Resources"]) if name == "Format"]
        self.assertEqual(len(formats), 2)
        for format in formats:
            line = re.sub(r"\$context\.([A-Za-z.]+)", lambda match: context[match[1]], format)
            self.assertNotIn("$", line)
            json.loads(line)
            self.assertLessEqual(len(line), MAX_LOG_EVENT_LEN, line)


class Resolved:
    """The resources that a stack with these parameters has, and their properties with the conditions decided."""

    def __init__(self, template: dict, **parameters: str) -> None:
        self.conditions = template["Conditions"]
        self.values = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
        unknown = parameters.keys() - self.values.keys()
        assert not unknown, f"no parameters: {unknown}"
        self.values |= parameters
        self.resources = {
            name: self.decided(resource)
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }

    def of_type(self, resource_type: str) -> dict[str, dict]:
        """The properties of each resource of a type."""
        resources = self.resources.items()
        return {name: each.get("Properties", {}) for name, each in resources if each["Type"] == resource_type}

    def holds(self, condition: dict) -> bool:
        ((name, argument),) = condition.items()
        match name:
            case "Condition":
                return self.holds(self.conditions[argument])
            case "Fn::Equals":
                first, second = map(self.text, argument)
                return first == second
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::Or":
                return any(map(self.holds, argument))
            case "Fn::And":
                return all(map(self.holds, argument))
        raise AssertionError(f"{name} is not known in a condition here")

    def text(self, value: object) -> str:
        match value:
            case {"Ref": name}:
                return self.values[name]
            case {"Fn::Join": ["", {"Ref": name}]}:
                return self.values[name].replace(",", "")
        return str(value)

    def decided(self, value: object) -> object:
        """A value with each Fn::If and each parameter replaced by what it stands for."""
        match value:
            case {"Fn::If": [condition, yes, no]}:
                return self.decided(yes if self.holds({"Condition": condition}) else no)
            case {"Ref": name} if name in self.values:
                return self.values[name]
            case dict():
                fields = {name: self.decided(each) for name, each in value.items()}
                return {name: each for name, each in fields.items() if each != {"Ref": "AWS::NoValue"}}
            case list():
                return [each for each in map(self.decided, value) if each != {"Ref": "AWS::NoValue"}]
        return value


class Options(unittest.TestCase):
    """Each option reaches every resource that it is about, and is off by default."""

    TABLE_KEY = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000001"
    LOGS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000002"
    BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
    WEB_ACL = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/keygate/0123"
    CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
    # What else makes resources exist, so that these are checked too.
    EVERYTHING = {  # noqa: RUF012 - read only
        "LegacySunset": "2030-06-30T00:00:00Z",
        "LegacyPattern": "old-[0-9]{8}",
        "DisableUnusedDays": "90",
        "AuthorizerCaches": "restapis/a/stages/b",
        "ApiAccessLogGroup": "group",
        "UserRemovalPattern": "{}",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
        "XRayTracing": "true",
        "ManageApiGatewayAccount": "true",
    }
    OPTIONS = {  # noqa: RUF012 - read only
        "PermissionsBoundaryArn": BOUNDARY,
        "RolePath": "/keygate/",
        "TableKmsKeyArn": TABLE_KEY,
        "LogsKmsKeyArn": LOGS_KEY,
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
        "WebAclArn": WEB_ACL,
        "DomainName": "keys.example.com",
        "CertificateArn": CERTIFICATE,
        "TlsPolicy": "SecurityPolicy_TLS13_1_2_2021_06",
        "AuthorizerReservedConcurrency": "50",
        "AuthorizerProvisionedConcurrency": "5",
        "GradualDeployment": "true",
        "OAuthIssuer": "https://auth.example.com",
        "OAuthThrottleRate": "7",
        "OAuthThrottleBurst": "9",
    }

    @classmethod
    def setUpClass(cls) -> None:
        parameters = cls.EVERYTHING | cls.OPTIONS
        cls.on = Resolved(translation(merged(), **parameters), **parameters)
        cls.off = Resolved(translated(), **cls.EVERYTHING)

    def test_these_parameters_are_allowed_and_leave_nothing_out(self) -> None:
        for name, value in (self.EVERYTHING | self.OPTIONS).items():
            parameter = merged()["Parameters"][name]
            self.assertIsNotNone(re.search(parameter.get("AllowedPattern", ""), value), name)
            self.assertIn(value, [str(each) for each in parameter.get("AllowedValues", [value])], name)
        for kind in ("AWS::IAM::Role", "AWS::Logs::LogGroup", "AWS::DynamoDB::Table", "AWS::Lambda::Function"):
            self.assertEqual(self.on.of_type(kind).keys(), of_type(kind).keys())

    def test_every_role_has_the_permissions_boundary_and_the_path(self) -> None:
        roles = self.on.of_type("AWS::IAM::Role")
        self.assertGreater(len(roles), 25)
        for name, role in roles.items():
            self.assertEqual(role.get("PermissionsBoundary"), self.BOUNDARY, name)
            self.assertEqual(role.get("Path"), "/keygate/", name)
        for name, policy in self.on.of_type("AWS::IAM::ManagedPolicy").items():
            self.assertEqual(policy.get("Path"), "/keygate/", name)
        for name, role in self.off.of_type("AWS::IAM::Role").items():
            self.assertNotIn("PermissionsBoundary", role, name)
            self.assertEqual(role["Path"], "/", name)

    def test_every_table_is_encrypted_with_the_key_and_every_role_that_uses_tables_may_use_it_through_dynamodb(
        self,
    ) -> None:
        tables = self.on.of_type("AWS::DynamoDB::Table")
        self.assertEqual(len(tables), 6)
        for name, table in tables.items():
            expected = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": self.TABLE_KEY}
            self.assertEqual(table["SSESpecification"], expected, name)
        for name, role in self.on.of_type("AWS::IAM::Role").items():
            uses_tables = '"dynamodb:' in compact(role.get("Policies", []))
            self.assertEqual({"Ref": "TableKeyPolicy"} in role.get("ManagedPolicyArns", []), uses_tables, name)
        (statement,) = self.on.of_type("AWS::IAM::ManagedPolicy")["TableKeyPolicy"]["PolicyDocument"]["Statement"]
        self.assertEqual((statement["Action"], statement["Resource"]), ("kms:Decrypt", self.TABLE_KEY))
        self.assertIn("kms:ViaService", statement["Condition"]["StringLike"])
        for name, table in self.off.of_type("AWS::DynamoDB::Table").items():
            self.assertEqual(table["SSESpecification"], {"SSEEnabled": True, "SSEType": "KMS"}, name)
        self.assertNotIn("TableKeyPolicy", self.off.resources)

    def test_every_log_group_is_encrypted_with_the_key(self) -> None:
        groups = self.on.of_type("AWS::Logs::LogGroup")
        self.assertGreater(len(groups), 25)
        for name, group in groups.items():
            self.assertEqual(group.get("KmsKeyId"), self.LOGS_KEY, name)
        for name, group in self.off.of_type("AWS::Logs::LogGroup").items():
            self.assertNotIn("KmsKeyId", group, name)

    def test_every_function_is_in_the_vpc_and_its_role_lets_lambda_connect_it(self) -> None:
        functions = self.on.of_type("AWS::Lambda::Function")
        self.assertGreater(len(functions), 25)
        roles = self.on.of_type("AWS::IAM::Role")
        for name, function in functions.items():
            config = function.get("VpcConfig")
            split = {
                "SubnetIds": {"Fn::Split": [",", "subnet-1,subnet-2"]},
                "SecurityGroupIds": {"Fn::Split": [",", "sg-1"]},
            }
            self.assertEqual(config, split, name)
            role = function["Role"]["Fn::GetAtt"][0]
            self.assertIn({"Ref": "NetworkPolicy"}, roles[role].get("ManagedPolicyArns", []), role)
        for name, function in self.off.of_type("AWS::Lambda::Function").items():
            self.assertNotIn("VpcConfig", function, name)
        self.assertNotIn("NetworkPolicy", self.off.resources)

    def test_the_code_of_a_function_in_a_vpc_may_not_change_network_interfaces(self) -> None:
        statements = self.on.of_type("AWS::IAM::ManagedPolicy")["NetworkPolicy"]["PolicyDocument"]["Statement"]
        (denial,) = [each for each in statements if each["Effect"] == "Deny"]
        self.assertEqual((denial["Action"], denial["Resource"]), ("ec2:*", "*"))
        self.assertIn("lambda:SourceFunctionArn", denial["Condition"]["ArnLike"])

    def test_the_management_api_has_the_domain_alone_with_the_tls_policy_and_the_web_acl(self) -> None:
        policy = {"SecurityPolicy": "SecurityPolicy_TLS13_1_2_2021_06", "EndpointAccessMode": "STRICT"}
        domain, api = self.on.resources["ManagementDomain"], self.on.resources["ManagementApi"]
        for resource in (domain, api):
            self.assertEqual(policy, {name: resource["Properties"].get(name) for name in policy})
        self.assertEqual(domain["Properties"]["DomainName"], "keys.example.com")
        self.assertEqual(domain["Properties"]["RegionalCertificateArn"], self.CERTIFICATE)
        mapping = self.on.resources["ManagementDomainMapping"]["Properties"]
        self.assertEqual(mapping["RestApiId"], {"Ref": "ManagementApi"})
        self.assertIn(mapping["Stage"]["Ref"], self.on.of_type("AWS::ApiGateway::Stage"))
        self.assertEqual(self.disabled(api), True)
        association = self.on.resources["WebAclAssociation"]["Properties"]
        self.assertEqual(association["WebACLArn"], self.WEB_ACL)
        self.assertIn("/restapis/${ManagementApi}/stages/", association["ResourceArn"]["Fn::Sub"])
        # By default there is the API's own host, with API Gateway's own policy.
        self.assertFalse(policy.keys() & self.off.resources["ManagementApi"]["Properties"].keys())
        self.assertEqual(self.disabled(self.off.resources["ManagementApi"]), False)
        for name in ("ManagementDomain", "ManagementDomainMapping", "WebAclAssociation"):
            self.assertNotIn(name, self.off.resources)
        # A domain without that policy refuses TLS 1.0.
        parameters = {"DomainName": "keys.example.com", "CertificateArn": self.CERTIFICATE}
        domain = Resolved(translated(), **parameters).resources["ManagementDomain"]["Properties"]
        self.assertEqual(domain["SecurityPolicy"], "TLS_1_2")
        self.assertNotIn("EndpointAccessMode", domain)

    def disabled(self, api: dict) -> object:
        (server,) = api["Properties"]["Body"]["servers"]
        return server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"]

    def test_only_the_authorizers_reserve_concurrency(self) -> None:
        functions = self.on.of_type("AWS::Lambda::Function")
        reserved = {name: each.get("ReservedConcurrentExecutions") for name, each in functions.items()}
        self.assertEqual({name: each for name, each in reserved.items() if each}, {"AuthorizeFunction": "50"})
        self.assertNotIn("ReservedConcurrentExecutions", self.off.resources["AuthorizeFunction"]["Properties"])

    def test_only_the_alias_of_the_authorizer_provisions_concurrency(self) -> None:
        provisioned = {"ProvisionedConcurrentExecutions": "5"}
        for resources, expected in ((self.on, [None, provisioned]), (self.off, [None, None])):
            aliases = sorted(resources.of_type("AWS::Lambda::Alias").items())
            self.assertEqual([name for name, _ in aliases], [f"{name}Aliaslive" for name in sorted(AUTHORIZERS)])
            self.assertCountEqual([alias.get("ProvisionedConcurrencyConfig") for _, alias in aliases], expected)

    def test_codedeploy_moves_the_alias_only_where_deployments_are_gradual(self) -> None:
        group = self.on.resources["AuthorizeFunctionDeploymentGroup"]["Properties"]
        alarms = {each["Name"]["Ref"] for each in group["AlarmConfiguration"]["Alarms"]}
        self.assertEqual(alarms, {"AuthorizerErrorsAlarm", "AuthorizerCrashesAlarm"})
        for alarm in alarms:
            # Canary10Percent10Minutes: an alarm that takes longer would come after all calls went to the new version.
            properties = self.on.resources[alarm]["Properties"]
            self.assertLess(properties["Period"] * properties["EvaluationPeriods"], 600, alarm)
        self.assertIn("DEPLOYMENT_STOP_ON_ALARM", group["AutoRollbackConfiguration"]["Events"])
        self.assertEqual(group["DeploymentConfigName"]["Fn::Sub"][1], {"ConfigName": "Canary10Percent10Minutes"})
        self.assertEqual(group["ServiceRoleArn"], {"Fn::GetAtt": ["GradualDeploymentRole", "Arn"]})
        # SAM would write a role without a boundary, with a policy of AWS.
        self.assertNotIn("CodeDeployServiceRole", self.on.resources)
        update = self.on.resources["AuthorizeFunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        self.assertEqual(update["DeploymentGroupName"], {"Ref": "AuthorizeFunctionDeploymentGroup"})
        self.assertNotIn("UpdatePolicy", self.off.resources["AuthorizeFunctionAliaslive"])
        self.assertNotIn("GradualDeploymentRole", self.off.resources)
        kinds = {each["Type"].rpartition("::")[0] for each in self.off.resources.values()}
        self.assertNotIn("AWS::CodeDeploy", kinds)
        (assertion,) = merged()["Rules"]["GradualDeploymentsHaveAlarms"]["Assertions"]
        self.assertEqual(assertion["Assert"], {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]})

    def test_the_oauth_api_has_throttles_of_its_own_and_one_host(self) -> None:
        settings = self.on.resources["OAuthStage"]["Properties"]["DefaultRouteSettings"]
        self.assertEqual((settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]), ("7", "9"))
        for resources, disabled in ((self.on.resources, True), (self.off.resources, False)):
            self.assertEqual(resources["OAuthApi"]["Properties"]["DisableExecuteApiEndpoint"], disabled)

    def test_an_issuer_has_no_path_because_its_metadata_would_be_outside_of_the_api(self) -> None:
        pattern = merged()["Parameters"]["OAuthIssuer"]["AllowedPattern"]
        for issuer in ("", "https://auth.example.com", "http://127.0.0.1:28200"):
            self.assertRegex(issuer, pattern)
        for issuer in ("https://auth.example.com/", "https://auth.example.com/keygate", "http://auth.example.com"):
            self.assertNotRegex(issuer, pattern)

    def test_the_keys_page_can_be_switched_off(self) -> None:
        output = merged()["Outputs"]["KeysPageUrl"]["Condition"]
        for value in ("true", "false"):
            stack = Resolved(translated(), ConsoleEnabled=value)
            variables = stack.resources["ConsoleFunction"]["Properties"]["Environment"]["Variables"]
            self.assertEqual(variables["CONSOLE_ENABLED"], value)
            self.assertEqual(stack.holds({"Condition": output}), value == "true")

    def test_the_logging_role_of_the_account_is_left_alone_by_default(self) -> None:
        resources = Resolved(translated()).resources
        self.assertNotIn("ApiGatewayAccount", resources)
        self.assertNotIn("ApiGatewayLogRole", resources)
        self.assertIn("ApiGatewayAccount", self.on.resources)


class Scanners(unittest.TestCase):
    def test_every_skipped_check_has_a_reason(self) -> None:
        skipped = 0
        for template in (merged(), *(load(path.read_text("utf-8")) for path in (EXAMPLES, OAUTH_CLOUDFRONT))):
            for name, resource in template["Resources"].items():
                for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                    self.assertTrue(skip["id"] and skip["comment"].strip(), name)
                    skipped += 1
        self.assertGreater(skipped, 5)
        lines = (merge.INFRA / "scanners" / "checkov.yaml").read_text("utf-8").splitlines()
        for before, line in pairwise(lines):
            if line.startswith("  - "):
                self.assertRegex(line, r"^  - CKV_AWS_[0-9]+$")
                self.assertRegex(before, r"^  # ", f"{line} has no reason")


class OAuthBehindCloudFront(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.resources = load(OAUTH_CLOUDFRONT.read_text(encoding="utf-8"))["Resources"]

    def test_no_log_and_no_sample_has_the_key_of_a_client(self) -> None:
        """Clients send it as the password of HTTP Basic."""
        redacted = self.resources["WebAclLogs"]["Properties"]["RedactedFields"]
        self.assertIn({"SingleHeader": {"Name": "authorization"}}, redacted)
        acl = self.resources["WebAcl"]["Properties"]
        visibilities = [acl["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in acl["Rules"])]
        self.assertEqual([each["SampledRequestsEnabled"] for each in visibilities], [False] * 4)

    def test_a_response_is_not_cached_and_every_header_but_the_host_reaches_the_api(self) -> None:
        """The ids of CachingDisabled and AllViewerExceptHostHeader.

        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-origin-request-policies.html
        """
        behavior = self.resources["Distribution"]["Properties"]["DistributionConfig"]["DefaultCacheBehavior"]
        self.assertEqual(behavior["CachePolicyId"], "4135ea2d-6df8-44a3-9df3-4b5a84be39ad")
        self.assertEqual(behavior["OriginRequestPolicyId"], "b689b0a8-53d0-40ab-baf2-68738e2966ac")
        self.assertEqual(behavior["ViewerProtocolPolicy"], "https-only")

    def test_each_address_has_a_limit_before_all_other_rules(self) -> None:
        acl = self.resources["WebAcl"]["Properties"]
        self.assertEqual(acl["Scope"], "CLOUDFRONT")
        first = min(acl["Rules"], key=lambda rule: rule["Priority"])
        limit = first["Statement"]["RateBasedStatement"]
        self.assertEqual((limit["AggregateKeyType"], limit["Limit"]), ("IP", {"Ref": "RequestsPerMinute"}))
        self.assertEqual(limit["EvaluationWindowSec"], 60)
        refusal = first["Action"]["Block"]["CustomResponse"]
        body = json.loads(acl["CustomResponseBodies"][refusal["CustomResponseBodyKey"]]["Content"])
        self.assertEqual((refusal["ResponseCode"], body["error"]), (429, "temporarily_unavailable"))


class AccessLogs(unittest.TestCase):
    def test_http_and_websocket_apis_deliver_to_groups_that_need_no_room_in_a_resource_policy(self) -> None:
        """Each group with another beginning is added to a policy of CloudWatch Logs that has a maximum length.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        """
        examples = load(EXAMPLES.read_text(encoding="utf-8"))
        for template, stages in ((translated(), 1), (examples, 2)):
            resources = template["Resources"]
            found = [each for each in resources.values() if each["Type"] == "AWS::ApiGatewayV2::Stage"]
            self.assertEqual(len(found), stages)
            for stage in found:
                group, attribute = stage["Properties"]["AccessLogSettings"]["DestinationArn"]["Fn::GetAtt"]
                self.assertEqual(attribute, "Arn")
                name = resources[group]["Properties"]["LogGroupName"]["Fn::Sub"]
                self.assertTrue(name.startswith("/aws/vendedlogs/"), name)
            # A Region has ten of these for all services.
            self.assertNotIn("AWS::Logs::ResourcePolicy", {each["Type"] for each in resources.values()})


class Caches(unittest.TestCase):
    """Limits of keys can be kept only if every call reaches the authorizer."""

    def test_the_management_api_has_no_authorizer_cache(self) -> None:
        document = load((merge.INFRA / "openapi.yaml").read_text(encoding="utf-8"))
        schemes = document["components"]["securitySchemes"].values()
        authorizers = [scheme["x-amazon-apigateway-authorizer"] for scheme in schemes]
        self.assertEqual([each["authorizerResultTtlInSeconds"] for each in authorizers], [0])

    def test_the_examples_refuse_a_cache_where_limits_are_enforced(self) -> None:
        examples = load(EXAMPLES.read_text(encoding="utf-8"))
        times = re.findall(r'"[aA]uthorizerResultTtlInSeconds": *(\{[^}]*\}|[^,}]*)', json.dumps(examples))
        self.assertEqual(times, ['{"Ref": "AuthorizerCacheSeconds"}'] * 2)
        rule = examples["Rules"]["NothingIsCached"]
        self.assertEqual(rule["RuleCondition"], {"Fn::Equals": [{"Ref": "AuthorizerUncached"}, "true"]})
        (assertion,) = rule["Assertions"]
        self.assertEqual(assertion["Assert"], {"Fn::Equals": [{"Ref": "AuthorizerCacheSeconds"}, "0"]})
        self.assertEqual(merged()["Parameters"]["AuthorizerUncached"]["Default"], "false")


class Names(unittest.TestCase):
    # Properties that refer to something which exists, or name a part of another resource.
    REFERENCES = frozenset({"StageName", "MetricName", "EventBusName", "FunctionName", "DomainName"})
    OF_ANOTHER = frozenset(
        {
            ("AWS::Logs::SubscriptionFilter", "LogGroupName"),
            ("AWS::Lambda::Alias", "Name"),
            ("AWS::Logs::MetricFilter", "LogGroupName"),
            ("AWS::ApiGatewayV2::Authorizer", "Name"),
        }
    )
    # An account has one name space of these for all Regions, or AWS has one for all accounts.
    GLOBAL = ("AWS::IAM::", "AWS::CloudWatch::Dashboard", "AWS::S3::Bucket", "AWS::CloudFront::", "AWS::Route53::")

    def test_no_name_collides_with_a_second_stack_or_a_second_region(self) -> None:
        templates = [translated(), *(load(path.read_text("utf-8")) for path in (EXAMPLES, OAUTH_CLOUDFRONT))]
        resources = {name: each for template in templates for name, each in template["Resources"].items()}
        self.assertEqual(len(resources), sum(len(template["Resources"]) for template in templates))
        names = []
        for name, resource in resources.items():
            for field, value in resource.get("Properties", {}).items():
                if not field.endswith("Name") or field in self.REFERENCES:
                    continue
                if (resource["Type"], field) in self.OF_ANOTHER:
                    continue
                names.append(name)
                text = compact(value)
                self.assertIn("AWS::StackName", text, f"{name}.{field}")
                if resource["Type"].startswith(self.GLOBAL):
                    self.assertIn("AWS::Region", text, f"{name}.{field}")
        for name in ("OperatorsDashboard", "PepperKeyAlias", "AuthorizeLogGroup", "EchoLogGroup"):
            self.assertIn(name, names)


class Keys(unittest.TestCase):
    def test_one_parameter_protects_every_retained_table_and_key_from_deletion(self) -> None:
        self.assertEqual(merged()["Parameters"]["DeletionProtection"]["Default"], "true")
        denial = {"Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*"}
        denial = {"Sid": "NeverScheduleDeletion"} | denial
        protected = 0
        for name, resource in translated()["Resources"].items():
            properties = resource.get("Properties", {})
            if resource.get("DeletionPolicy") == "Retain" and resource["Type"] == "AWS::DynamoDB::Table":
                expected = {"Fn::If": ["ProtectsData", True, False]}
                self.assertEqual(properties["DeletionProtectionEnabled"], expected, name)
            elif resource.get("DeletionPolicy") == "Retain" and resource["Type"] == "AWS::KMS::Key":
                expected = {"Fn::If": ["ProtectsData", denial, {"Ref": "AWS::NoValue"}]}
                self.assertIn(expected, properties["KeyPolicy"]["Statement"], name)
            else:
                continue
            protected += 1
        self.assertGreaterEqual(protected, 7)

    def test_the_key_of_the_peppers_alone_can_be_replicated_and_only_to_listed_regions(self) -> None:
        keys = of_type("AWS::KMS::Key")
        self.assertEqual({name for name, key in keys.items() if key.get("MultiRegion")}, {"PepperKey"})
        region = {"Ref": "AWS::Region"}
        listed = {"Fn::Join": [",", {"Ref": "PepperReplicaRegions"}]}
        both = {"Fn::Split": [",", {"Fn::Join": [",", [region, listed]]}]}
        allowed = {"Fn::If": ["ReplicatesPepper", both, region]}
        statements = keys["PepperKey"]["KeyPolicy"]["Statement"]
        denials = {each["Action"]: each for each in statements if each.get("Effect") == "Deny"}
        for action, condition in (("ReplicateKey", "ReplicaRegion"), ("UpdatePrimaryRegion", "PrimaryRegion")):
            denial = denials[f"kms:{action}"]
            self.assertEqual(denial["Condition"], {"StringNotEquals": {f"kms:{condition}": allowed}})
            self.assertEqual((denial["Principal"], denial["Resource"]), ("*", "*"))
        self.assertEqual(merged()["Parameters"]["PepperReplicaRegions"]["Default"], "")


class Peppers(unittest.TestCase):
    def test_every_function_that_hashes_secrets_has_the_pepper_versions_of_the_parameters(self) -> None:
        """A function that lacked a version could not check what another one has hashed."""
        own_key = {"Fn::GetAtt": ["PepperKey", "Arn"]}
        key = {"Fn::If": ["UsesPepperReplica", {"Ref": "PepperReplicaArn"}, own_key]}
        expected = {
            "PEPPER_KEY": key,
            "PEPPER_VERSIONS": {"Fn::Join": [",", {"Ref": "PepperVersions"}]},
            "CURRENT_PEPPER_VERSION": {"Ref": "CurrentPepperVersion"},
        }
        roles = of_type("AWS::IAM::Role")
        hashing = set()
        for name, function in of_type("AWS::Lambda::Function").items():
            role = compact(roles[function["Role"]["Fn::GetAtt"][0]])
            if '"DerivePeppers"' in role:
                variables = function["Environment"]["Variables"]
                self.assertEqual({each: variables.get(each) for each in expected}, expected, name)
                # It may use the key that it uses, and no other one.
                self.assertIn(f'"Action":"kms:GenerateMac","Resource":{compact(key)}', role, name)
                hashing.add(name)
            else:
                self.assertNotIn("PEPPER", compact(function), name)
        self.assertEqual(len(hashing), 11)

    def test_the_current_version_has_to_be_listed(self) -> None:
        (assertion,) = merged()["Rules"]["CurrentPepperIsListed"]["Assertions"]
        listed = {"Fn::Contains": [{"Ref": "PepperVersions"}, {"Ref": "CurrentPepperVersion"}]}
        self.assertEqual(assertion["Assert"], listed)
        pattern = merged()["Parameters"]["PepperVersions"]["AllowedPattern"]
        for version in ("1", "27"):
            self.assertRegex(version, pattern)
        # As the functions read them: a sign or a zero would make another label.
        for version in ("0", "01", "+1", "", "1 ", "1:label"):
            self.assertNotRegex(version, pattern)


class Permissions(unittest.TestCase):
    def test_a_permission_of_eventbridge_has_no_source_account(self) -> None:
        """EventBridge is reported to invoke nothing then, silently; the rule's ARN contains the account anyway.

        https://github.com/awsdocs/aws-cloudformation-user-guide/pull/481
        """
        permissions = of_type("AWS::Lambda::Permission")
        events = {name for name, each in permissions.items() if each["Principal"] == "events.amazonaws.com"}
        self.assertGreaterEqual(len(events), 3)
        for name, permission in permissions.items():
            self.assertIn("SourceArn", permission, name)
            self.assertEqual("SourceAccount" in permission, name not in events, name)


class Versions(unittest.TestCase):
    """A changed parameter reaches each function that is invoked."""

    def test_a_version_has_every_parameter_because_each_deployment_publishes_one(self) -> None:
        """Where an alias is invoked: another revision replaces the version, and Lambda sees a change to publish.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-version.html
        """
        versions, functions = of_type("AWS::Lambda::Version"), of_type("AWS::Lambda::Function")
        revision = {"Ref": "ConfigurationRevision"}
        self.assertIn("/properties/Description", upgrade.create_only("AWS::Lambda::Version"))
        aliases = of_type("AWS::Lambda::Alias")
        self.assertEqual({each["FunctionName"]["Ref"] for each in aliases.values()}, AUTHORIZERS)
        for name, alias in aliases.items():
            version = versions[alias["FunctionVersion"]["Fn::GetAtt"][0]]
            self.assertEqual((version["FunctionName"], version["Description"]), (alias["FunctionName"], revision), name)
            variables = functions[alias["FunctionName"]["Ref"]]["Environment"]["Variables"]
            self.assertIn(revision, variables.values(), name)

    def test_a_changed_property_makes_a_version_and_a_changed_parameter_takes_a_revision(self) -> None:
        def version(template: dict, **parameters: str) -> str:
            resources = translation(template, **parameters)["Resources"].items()
            (name,) = [
                name
                for name, each in resources
                if each["Type"] == "AWS::Lambda::Version"
                and each["Properties"]["FunctionName"] == {"Ref": "AuthorizeFunction"}
            ]
            return name

        changed = copy.deepcopy(merged())
        changed["Resources"]["AuthorizeFunction"]["Properties"]["Timeout"] += 1
        self.assertNotEqual(version(changed), version(merged()))
        # The reason for the revision: SAM does not see this change.
        self.assertEqual(version(merged(), CacheSeconds="7"), version(merged()))

    def test_nothing_invokes_a_function_beside_its_alias(self) -> None:
        """And a function without an alias is invoked as it is deployed, with every parameter."""
        behind_alias = {each["FunctionName"]["Ref"]: name for name, each in of_type("AWS::Lambda::Alias").items()}
        invoking = 0
        for name, resource in translated()["Resources"].items():
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind == "AWS::Lambda::Permission":
                targets = [compact(properties["FunctionName"])]
            elif kind in ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Integration"):
                targets = re.findall(r"functions/\$\{([^}]+)\}/invocations", compact(properties))
            elif kind == "AWS::Lambda::EventSourceMapping":
                targets = [compact(properties["FunctionName"])]
            elif kind == "AWS::Events::Rule":
                targets = [compact(properties["Targets"])]
            else:
                continue
            invoking += len(targets)
            for target in targets:
                for function in behind_alias:
                    self.assertNotRegex(target, rf"\b{function}\b", name)
        self.assertGreater(invoking, 50)
        targets = compact(translated()["Resources"]["ManagementApi"]["Properties"]["Body"])
        # The management API names the alias of its authorizer, because that function has the id of this API.
        function = of_type("AWS::Lambda::Function")["AuthorizeManagementFunction"]["FunctionName"]["Fn::Sub"]
        self.assertIn(f":function:{function}:live/invocations", targets)
        output = translated()["Outputs"]["AuthorizerFunctionArn"]["Value"]
        self.assertEqual(output, {"Ref": behind_alias["AuthorizeFunction"]})


class Deployments(unittest.TestCase):
    def test_a_changed_parameter_reaches_the_stage_of_each_rest_api(self) -> None:
        """A stage serves a snapshot, and SAM names a new one; a parameter that the document refers to is not in it."""
        change = {"CorsAllowOrigins": "https://dashboard.example.com"}
        examples_change = {"LegacyPattern": "old-[0-9]{8}"}
        for template, parameters in ((merged(), change), (load(EXAMPLES.read_text("utf-8")), examples_change)):
            with mock.patch("time.time", return_value=1_800_000_000):
                before = deployments(template)
            with mock.patch("time.time", return_value=1_800_000_060):
                after = deployments(template, **parameters)
            self.assertEqual((len(before), len(after)), (1, 1))
            self.assertNotEqual(before, after)


if __name__ == "__main__":
    unittest.main()
