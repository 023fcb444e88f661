"""Tests of the alarms, the dashboard and the saved queries: that nothing fails without an alarm, and that each is about
something that exists.

python -m unittest discover -s infra
"""

from __future__ import annotations

import copy
import json
import re
import sys
import unittest
from collections.abc import Iterator
from functools import cache

import merge
from test_template import Longest, compact, merged, translated

ROOT = merge.INFRA.parent
sys.path.append(str(ROOT / "tools" / "dev"))
import check_docs  # noqa: E402 - needs the path

# Functions that no API, stream, queue, rule or log group of the stack invokes. The caller gets the error. APIs of other
# stacks invoke the authorizer; to Lambda every refusal of it is an error, so its alarm is on a metric of its own.
INVOKED_DIRECTLY = {"AuthorizeFunction", "ImportLegacyKeysFunction"}

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
MAX_DESCRIPTION_LEN = 1_024
MAX_METRICS = 10
MAX_SECONDS, MAX_SECONDS_OF_SHORT_PERIODS = 604_800, 86_400
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
MAX_SEARCH_LEN = 1_024
COLUMNS = 24

# The metrics of AWS that alarms and the dashboard may show, by the pages that list them: of each the dimensions under
# which AWS writes it, and the statistics that say something.
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-view.html
FUNCTION = [{"FunctionName"}]
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
REST_API = [{"ApiName"}, {"ApiName", "Stage"}]
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
HTTP_API = [{"ApiId"}, {"ApiId", "Stage"}]
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
QUEUE = [{"QueueName"}]
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
TABLE = [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}]
# A rule of another bus than the default one has both.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
RULE = [{"RuleName"}, {"EventBusName", "RuleName"}]
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch-Logs-Monitoring-CloudWatch-Metrics.html
SUBSCRIPTION = [{"LogGroupName", "DestinationType", "FilterName"}]
METRICS_OF_AWS: dict[str, dict[str, tuple[list[set[str]], set[str]]]] = {
    "AWS/Lambda": {
        "Duration": (FUNCTION, {"p99"}),
        "PostRuntimeExtensionsDuration": (FUNCTION, {"p99"}),
        "ConcurrentExecutions": (FUNCTION, {"Maximum"}),
        "Throttles": (FUNCTION, {"Sum"}),
        "Invocations": (FUNCTION, {"Sum"}),
        "Errors": (FUNCTION, {"Sum"}),
        "IteratorAge": (FUNCTION, {"Maximum"}),
        "DestinationDeliveryFailures": (FUNCTION, {"Sum"}),
    },
    "AWS/ApiGateway": {
        **{name: (REST_API, {"Sum"}) for name in ("4XXError", "5XXError")},
        **{name: (HTTP_API, {"Sum"}) for name in ("4xx", "5xx")},
        "Count": (REST_API + HTTP_API, {"Sum"}),
        "Latency": (REST_API + HTTP_API, {"p99"}),
    },
    "AWS/SQS": {
        "ApproximateNumberOfMessagesVisible": (QUEUE, {"Maximum"}),
        "ApproximateAgeOfOldestMessage": (QUEUE, {"Maximum"}),
    },
    "AWS/DynamoDB": {
        **{name: (TABLE, {"Sum"}) for name in ("ReadThrottleEvents", "WriteThrottleEvents")},
        **{name: (TABLE, {"Sum"}) for name in ("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits")},
        "SystemErrors": ([{"TableName", "Operation"}], {"Sum"}),
    },
    "AWS/Events": {"FailedInvocations": (RULE, {"Sum"})},
    "AWS/Logs": {name: (SUBSCRIPTION, {"Sum"}) for name in ("DeliveryErrors", "DeliveryThrottling")},
}
# The type of the resource that a dimension names.
DIMENSIONS = {
    "FunctionName": {"AWS::Lambda::Function"},
    "QueueName": {"AWS::SQS::Queue"},
    "TableName": {"AWS::DynamoDB::Table"},
    "RuleName": {"AWS::Events::Rule"},
    "ApiId": {"AWS::ApiGatewayV2::Api"},
    "FilterName": {"AWS::Logs::SubscriptionFilter"},
}


def references(value: object) -> Iterator[str]:
    """The names that a value refers to, in any branch."""
    if isinstance(value, dict):
        for name, held in value.items():
            if name == "Ref":
                yield held
            elif name == "Fn::GetAtt":
                yield held[0]
            elif name == "Fn::Sub" and isinstance(held, str):
                yield from (name.partition(".")[0] for name in re.findall(r"\$\{([^}!]+)\}", held))
            else:
                yield from references(held)
    elif isinstance(value, list):
        for held in value:
            yield from references(held)


def alternatives(value: list | dict) -> Iterator[dict]:
    """The entries of a list, with both branches of each condition."""
    if isinstance(value, dict):
        for branch in value["Fn::If"][1:]:
            yield from alternatives(branch if isinstance(branch, list) else [branch])
        return
    for entry in value:
        if entry.keys() == {"Fn::If"}:
            yield from alternatives(entry)
        elif entry != {"Ref": "AWS::NoValue"}:
            yield entry


def of_type(resources: dict, resource_type: str) -> dict[str, dict]:
    return {name: each.get("Properties", {}) for name, each in resources.items() if each["Type"] == resource_type}


def alarms(resources: dict) -> dict[str, dict]:
    return of_type(resources, "AWS::CloudWatch::Alarm")


def metrics(alarm: dict) -> Iterator[dict]:
    """The metrics of an alarm, each with Namespace, MetricName and Dimensions."""
    if "Metrics" not in alarm:
        yield alarm
    for query in alternatives(alarm.get("Metrics", [])):
        if "MetricStat" in query:
            yield query["MetricStat"]["Metric"]


def dimensions(metric: dict) -> dict[str, object]:
    return {each["Name"]: each["Value"] for each in alternatives(metric.get("Dimensions", []))}


def alarm_dimensions(metric: dict) -> set[str]:
    """The names of a metric's dimensions, with those that a condition adds."""
    return {each["Name"] for each in alternatives(metric.get("Dimensions", []))}


def watched(resources: dict, **only: str) -> set[tuple[str, ...]]:
    """(metric, resource, index) of each metric that an alarm watches. `only` compares properties of the alarm."""
    found = set()
    for alarm in alarms(resources).values():
        if any(alarm[name] != value for name, value in only.items()):
            continue
        for metric in metrics(alarm):
            values = dimensions(metric)
            index = values.pop("GlobalSecondaryIndexName", "")
            for value in values.values():
                found |= {(metric["MetricName"], name, index) for name in references(value)}
    return found


def failure_queues(properties: dict) -> set[str]:
    return set(references(properties.get("DestinationConfig", {})))


def unwatched(resources: dict) -> list[str]:
    """What could fail without an alarm: the metric that lacks one, and the resource."""
    needed: set[tuple[str, ...]] = set()
    mappings = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    sources = {name for mapping in mappings for name in references(mapping["EventSourceArn"])}
    for queue in of_type(resources, "AWS::SQS::Queue"):
        works = queue in sources
        needed.add(("ApproximateAgeOfOldestMessage" if works else "ApproximateNumberOfMessagesVisible", queue, ""))
    for mapping in mappings:
        (function,) = references(mapping["FunctionName"])
        if "StreamArn" in compact(mapping["EventSourceArn"]):
            needed.add(("IteratorAge", function, ""))
        if failure_queues(mapping):
            needed.add(("DestinationDeliveryFailures", function, ""))
    for invocations in of_type(resources, "AWS::Lambda::EventInvokeConfig").values():
        if failure_queues(invocations):
            needed |= {("DestinationDeliveryFailures", name, "") for name in references(invocations["FunctionName"])}
    scheduled = set()
    for name, rule in of_type(resources, "AWS::Events::Rule").items():
        needed.add(("FailedInvocations", name, ""))
        if "ScheduleExpression" in rule:
            scheduled |= {function for target in rule["Targets"] for function in references(target["Arn"])}
    for name, table in of_type(resources, "AWS::DynamoDB::Table").items():
        for index in ["", *(each["IndexName"] for each in table.get("GlobalSecondaryIndexes", []))]:
            needed |= {("ReadThrottleEvents", name, index), ("WriteThrottleEvents", name, index)}
    for name in of_type(resources, "AWS::Logs::SubscriptionFilter"):
        needed.add(("DeliveryErrors", name, ""))
    for name in of_type(resources, "AWS::ApiGatewayV2::Api"):
        needed.add(("5xx", name, ""))

    by_api = set()
    for permission in of_type(resources, "AWS::Lambda::Permission").values():
        if permission["Principal"] == "apigateway.amazonaws.com":
            by_api |= {function_of(resources, name) for name in references(permission["FunctionName"])}
    for function in of_type(resources, "AWS::Lambda::Function"):
        # To an API a throttled function and a failed one are a 5xx.
        if function not in by_api and function not in INVOKED_DIRECTLY:
            needed |= {("Errors", function, ""), ("Throttles", function, "")}
    failures = watched(resources, TreatMissingData="notBreaching")
    faults = [" ".join(("no alarm on", *each)).strip() for each in needed - failures]

    runs = watched(resources, TreatMissingData="breaching")
    faults += [f"no alarm on missed runs of {each}" for each in scheduled if ("Invocations", each, "") not in runs]
    faults += [f"no alarm on failed records of {each}" for each in functions_with_hidden_failures(resources)]
    faults += [f"no alarm on 5XXError of {name}" for name in rest_apis(resources) - rest_apis_with_alarm(resources)]
    faults += [f"no alarm on 429 of {name}" for name in stages_without_throttling_alarm(resources)]
    faults += [f"no alarm on changes of {name}" for name in keys_without_alarm(resources)]
    return sorted(faults)


def functions_with_hidden_failures(resources: dict) -> Iterator[str]:
    """Functions that report failed records, whose alarm on errors has no metric of their log.

    To Lambda such an invocation is a success, so it is not one of its Errors.
    """
    filters = of_type(resources, "AWS::Logs::MetricFilter").values()
    groups = {each["MetricTransformations"][0]["MetricName"]: set(references(each["LogGroupName"])) for each in filters}
    for mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").values():
        if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
            continue
        (function,) = references(mapping["FunctionName"])
        logging = resources[function].get("Properties", {}).get("LoggingConfig", {})
        group = set(references(logging.get("LogGroup", {})))
        for alarm in alarms(resources).values():
            found = list(metrics(alarm))
            errors = any(each["MetricName"] == "Errors" and function in references(each) for each in found)
            if errors and any(groups.get(each["MetricName"]) == group for each in found):
                break
        else:
            yield function


def function_of(resources: dict, name: str) -> str:
    """The function of an alias; a function is its own."""
    if resources.get(name, {}).get("Type") == "AWS::Lambda::Alias":
        return resources[name]["Properties"]["FunctionName"]["Ref"]
    return name


def rest_apis(resources: dict) -> set[str]:
    return set(of_type(resources, "AWS::ApiGateway::RestApi"))


def rest_apis_with_alarm(resources: dict) -> set[str]:
    """REST APIs have their name as dimension."""
    names = {compact(api["Name"]): name for name, api in of_type(resources, "AWS::ApiGateway::RestApi").items()}
    found = (metric for alarm in alarms(resources).values() for metric in metrics(alarm))
    return {
        names[compact(dimensions(metric)["ApiName"])]
        for metric in found
        if metric["MetricName"] == "5XXError" and compact(dimensions(metric)["ApiName"]) in names
    }


def stages_without_throttling_alarm(resources: dict) -> Iterator[str]:
    """Stages whose access log has no metric filter for 429 with an alarm."""
    alarmed = {metric["MetricName"] for alarm in alarms(resources).values() for metric in metrics(alarm)}
    filtered = {
        group
        for each in of_type(resources, "AWS::Logs::MetricFilter").values()
        for group in references(each["LogGroupName"])
        if '$.status = "429"' in each["FilterPattern"] and each["MetricTransformations"][0]["MetricName"] in alarmed
    }
    for kind, field in (
        ("AWS::ApiGateway::Stage", "AccessLogSetting"),
        ("AWS::ApiGatewayV2::Stage", "AccessLogSettings"),
    ):
        for name, stage in of_type(resources, kind).items():
            if not filtered & set(references(stage.get(field, {}).get("DestinationArn", {}))):
                yield name


def keys_without_alarm(resources: dict) -> Iterator[str]:
    """KMS keys that no rule watches, or only a rule whose target has no alarm."""
    alarmed = {name for _, name, _ in watched(resources)}
    seen = set()
    for rule in of_type(resources, "AWS::Events::Rule").values():
        detail = rule.get("EventPattern", {}).get("detail", {})
        both = {"DisableKey", "ScheduleKeyDeletion"} <= set(detail.get("eventName", []))
        if both and all(alarmed & set(references(target["Arn"])) for target in rule["Targets"]):
            seen |= set(references(detail["resources"]["ARN"]))
    yield from of_type(resources, "AWS::KMS::Key").keys() - seen


@cache
def conditions(name: str) -> frozenset[str]:
    """A condition and those that hold where it does."""
    condition = translated()["Conditions"].get(name, {})
    parts = condition.get("Fn::And", []) if isinstance(condition, dict) else []
    return frozenset({name}).union(*(conditions(part["Condition"]) for part in parts))


def unconditional_references(value: object) -> set[str]:
    """The names that a value refers to whatever the conditions are."""
    if isinstance(value, dict):
        if value.keys() == {"Fn::If"}:
            return set.intersection(*map(unconditional_references, value["Fn::If"][1:]))
        if value.keys() & {"Ref", "Fn::GetAtt", "Fn::Sub"}:
            return set(references(value))
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(unconditional_references, value))
    return set()


@cache
def rust() -> str:
    """The source of the service and of the functions, without unit tests."""
    files = [*(ROOT / "shared" / "service" / "src").rglob("*.rs"), *(ROOT / "functions" / "src").rglob("*.rs")]
    return "\n".join(file.read_text(encoding="utf-8").partition("#[cfg(test)]")[0] for file in sorted(files))


@cache
def authorizer_metrics() -> set[str]:
    """The metrics that the authorizer writes."""
    source = (
        (ROOT / "shared/service/src/authorizer/metrics.rs").read_text(encoding="utf-8").partition("#[cfg(test)]")[0]
    )
    return set(re.findall(r'=> "(\w+)"', source)) | set(re.findall(r'insert\("(\w+)"', source))


@cache
def filter_metrics() -> set[str]:
    """The metrics of the metric filters."""
    filters = of_type(translated()["Resources"], "AWS::Logs::MetricFilter").values()
    return {each["MetricTransformations"][0]["MetricName"] for each in filters}


@cache
def access_log_fields() -> set[str]:
    text = merge.merged_template(merge.FRAGMENTS)
    return set(re.findall(r'"(\w+)":"\$context\.', text))


@cache
def log_fields() -> set[str]:
    """The fields of the lines that the functions write with tracing."""
    found = {"timestamp", "level", "target", "message"}
    for arguments in re.findall(r"tracing::(?:info|warn|error)!\(([^;]*?)\)[,;\s}]", rust(), re.DOTALL):
        without_texts = re.sub(r'"(?:[^"\\]|\\.)*"', "", arguments)
        for argument in without_texts.split(","):
            if name := re.match(r"\s*[%?]?(\w+)\s*(?:=|$)", argument):
                found.add(name[1])
    return found


class Alarms(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.resources = translated()["Resources"]
        cls.alarms = alarms(cls.resources)
        runbooks = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
        # Each section with its own text alone.
        texts = re.split(r"^#{1,6} .+$", runbooks, flags=re.MULTILINE)[1:]
        cls.sections = dict(zip(check_docs.headings(runbooks), texts, strict=True))

    def test_nothing_fails_without_an_alarm(self) -> None:
        self.assertEqual(unwatched(self.resources), [])

    def test_something_new_without_an_alarm_is_named(self) -> None:
        function = {"Ref": "NewFunction"}
        new = {
            "NewQueue": {"Type": "AWS::SQS::Queue"},
            "NewFunction": {"Type": "AWS::Lambda::Function"},
            "NewMapping": {
                "Type": "AWS::Lambda::EventSourceMapping",
                "Properties": {
                    "FunctionName": function,
                    "EventSourceArn": {"Fn::GetAtt": ["NewTable", "StreamArn"]},
                    "FunctionResponseTypes": ["ReportBatchItemFailures"],
                    "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["NewQueue", "Arn"]}}},
                },
            },
            "NewSchedule": {
                "Type": "AWS::Events::Rule",
                "Properties": {"ScheduleExpression": "rate(1 day)", "Targets": [{"Arn": function}]},
            },
            "NewTable": {
                "Type": "AWS::DynamoDB::Table",
                "Properties": {"GlobalSecondaryIndexes": [{"IndexName": "by_day"}]},
            },
            "NewSubscription": {"Type": "AWS::Logs::SubscriptionFilter"},
            "NewRestApi": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "new"}},
            "NewRestStage": {"Type": "AWS::ApiGateway::Stage"},
            "NewHttpApi": {"Type": "AWS::ApiGatewayV2::Api"},
            "NewHttpStage": {"Type": "AWS::ApiGatewayV2::Stage"},
            "NewKey": {"Type": "AWS::KMS::Key"},
        }
        self.assertEqual(
            unwatched(copy.deepcopy(self.resources) | new),
            [
                "no alarm on 429 of NewHttpStage",
                "no alarm on 429 of NewRestStage",
                "no alarm on 5XXError of NewRestApi",
                "no alarm on 5xx NewHttpApi",
                "no alarm on ApproximateNumberOfMessagesVisible NewQueue",
                "no alarm on DeliveryErrors NewSubscription",
                "no alarm on DestinationDeliveryFailures NewFunction",
                "no alarm on Errors NewFunction",
                "no alarm on FailedInvocations NewSchedule",
                "no alarm on IteratorAge NewFunction",
                "no alarm on ReadThrottleEvents NewTable",
                "no alarm on ReadThrottleEvents NewTable by_day",
                "no alarm on Throttles NewFunction",
                "no alarm on WriteThrottleEvents NewTable",
                "no alarm on WriteThrottleEvents NewTable by_day",
                "no alarm on changes of NewKey",
                "no alarm on failed records of NewFunction",
                "no alarm on missed runs of NewFunction",
            ],
        )

    def test_a_removed_alarm_is_missed(self) -> None:
        """Without any alarm on metrics of AWS something is unwatched. Keygate's own metrics are checked below."""
        for name, alarm in self.alarms.items():
            # The authorizer is behind an API, as other functions are. It has this alarm because others use it too.
            if name in ("AuthorizerThrottlesAlarm", "ManagementAuthorizerThrottlesAlarm"):
                continue
            namespaces = [metric["Namespace"] for metric in metrics(alarm)]
            if all(isinstance(namespace, str) and namespace in METRICS_OF_AWS for namespace in namespaces):
                rest = {each: resource for each, resource in self.resources.items() if each != name}
                self.assertTrue(unwatched(rest), name)

    def test_the_failures_that_the_authorizer_counts_have_alarms(self) -> None:
        alarmed = {metric["MetricName"] for alarm in self.alarms.values() for metric in metrics(alarm)}
        # The others are no failures: Allowed, Refused, CacheHits, and KmsLatency, whose failure is a crash.
        failures = {"Errors", "StaleHits", "DeferredWriteFailures", "StoreLatency"}
        self.assertLessEqual(failures, authorizer_metrics())
        self.assertLessEqual(failures, alarmed)
        self.assertIn(("Throttles", "AuthorizeFunction", ""), watched(self.resources))

    def test_each_alarm_says_what_it_means_and_names_a_section_of_the_runbooks(self) -> None:
        for name, alarm in self.alarms.items():
            description = alarm["AlarmDescription"]["Fn::Sub"]
            self.assertLessEqual(len(description) + 128, MAX_DESCRIPTION_LEN, name)
            match = re.fullmatch(
                r"\$\{AWS::StackName\}: .+\. Runbook: docs/runbooks\.md#([a-z0-9-]+)", description.strip()
            )
            self.assertIsNotNone(match, f"{name}: {description}")
            self.assertIn(match[1], self.sections, name)
            section = self.sections[match[1]]
            self.assertTrue(f"`{name}`" in section, f"the section {match[1]} does not name {name}")
            for part in ("Meaning", "Effect", "Look at", "Remedy", "Over when"):
                self.assertTrue(f"- **{part}**: " in section, f"the section {match[1]} lacks {part}")

    def test_the_runbooks_name_no_alarm_that_does_not_exist(self) -> None:
        pages = [ROOT / "docs" / page for page in ("runbooks.md", "operations.md")]
        for page in pages:
            named = set(re.findall(r"`(\w+Alarm)`", page.read_text(encoding="utf-8")))
            self.assertLessEqual(named, set(self.alarms), page.name)

    def test_each_alarm_has_its_actions_and_says_what_missing_data_means(self) -> None:
        topic = [{"Ref": "AlarmTopicArn"}]
        for name, alarm in self.alarms.items():
            self.assertEqual((alarm["AlarmActions"], alarm["OKActions"]), (topic, topic), name)
            self.assertNotIn("ActionsEnabled", alarm, name)
            missed_runs = name.endswith("RunsAlarm")
            self.assertEqual(alarm["TreatMissingData"], "breaching" if missed_runs else "notBreaching", name)

    def test_each_alarm_exists_exactly_where_its_resources_do(self) -> None:
        for name, alarm in self.alarms.items():
            holds = conditions(self.resources[name]["Condition"])
            self.assertIn("RaisesAlarms", holds, name)
            needed = unconditional_references(alarm) | {
                each
                for metric in metrics(alarm)
                for each, properties in of_type(self.resources, "AWS::Logs::MetricFilter").items()
                if properties["MetricTransformations"][0]["MetricName"] == metric["MetricName"]
            }
            needed = {self.resources[each].get("Condition") for each in needed if each in self.resources} - {None}
            needed = frozenset({"RaisesAlarms"}).union(*map(conditions, needed))
            self.assertEqual(
                holds - {self.resources[name]["Condition"]}, needed - {self.resources[name]["Condition"]}, name
            )

    def test_cloudwatch_accepts_each_alarm(self) -> None:
        for name, alarm in self.alarms.items():
            periods = {alarm["Period"]} if "Period" in alarm else set()
            queries = list(alternatives(alarm.get("Metrics", [])))
            periods |= {query["MetricStat"]["Period"] for query in queries if "MetricStat" in query}
            (period,) = periods
            seconds = period * alarm["EvaluationPeriods"]
            self.assertLessEqual(seconds, MAX_SECONDS if period >= 3600 else MAX_SECONDS_OF_SHORT_PERIODS, name)
            self.assertLessEqual(alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"], name)
            if queries:
                self.assertNotIn("Period", alarm, name)
                self.assertLessEqual(len(queries) - 1, MAX_METRICS, name)
                returned = [query for query in queries if query.get("ReturnData", True)]
                self.assertEqual([query for query in queries if "Expression" in query], returned, name)
                self.assertEqual(len(returned), 1, name)
                ids = [query["Id"] for query in queries]
                self.assertEqual(len(set(ids)), len(ids), name)
                self.assertTrue(all(re.fullmatch("[a-z][A-Za-z0-9_]*", each) for each in ids), ids)
                named = set(re.findall(r"\b[a-z]\w*", returned[0]["Expression"]))
                self.assertLessEqual(named, set(ids), name)

    def test_alarms_on_dynamodb_end_without_data(self) -> None:
        """They ignore missing data, and DynamoDB sends no zeros.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        """
        found = 0
        for name, alarm in self.alarms.items():
            if any(metric["Namespace"] == "AWS/DynamoDB" for metric in metrics(alarm)):
                self.assertEqual(alarm["Metrics"][0]["Expression"], "SUM(FILL(METRICS(), 0))", name)
                found += 1
        self.assertGreaterEqual(found, 7)

    def test_each_alarm_is_about_a_metric_that_is_written(self) -> None:
        own = {"Fn::Sub": "Keygate/${AWS::StackName}"}
        for name, alarm in self.alarms.items():
            for metric in metrics(alarm):
                namespace = metric["Namespace"]
                if namespace == "Keygate":
                    known = authorizer_metrics()
                    # The metrics of the management API's authorizer have one more.
                    other = {"Authorizer": "management"} if name.startswith("Management") else {}
                    self.assertEqual(dimensions(metric), {"Stack": {"Ref": "AWS::StackName"}} | other, name)
                elif namespace == own:
                    known = filter_metrics()
                    self.assertEqual(dimensions(metric), {}, name)
                else:
                    known = METRICS_OF_AWS[namespace]
                    documented, _ = known[metric["MetricName"]]
                    self.assertIn(alarm_dimensions(metric), documented, name)
                    for dimension, value in dimensions(metric).items():
                        types = {self.resources[each]["Type"] for each in references(value) if each in self.resources}
                        self.assertEqual(types or None, DIMENSIONS.get(dimension, types or None), (name, dimension))
                self.assertIn(metric["MetricName"], known, name)

    def test_each_alarm_takes_a_statistic_that_its_metric_of_aws_has(self) -> None:
        """Such as the sum of errors: their average is below one, and their maximum is one however many there are."""
        for name, alarm in self.alarms.items():
            found = [(alarm, alarm.get("Statistic", alarm.get("ExtendedStatistic")))]
            if "Metrics" in alarm:
                stats = (query["MetricStat"] for query in alternatives(alarm["Metrics"]) if "MetricStat" in query)
                found = [(stat["Metric"], stat["Stat"]) for stat in stats]
            for metric, statistic in found:
                if isinstance(metric["Namespace"], str) and metric["Namespace"] in METRICS_OF_AWS:
                    _, statistics = METRICS_OF_AWS[metric["Namespace"]][metric["MetricName"]]
                    self.assertIn(statistic, statistics, name)

    def test_each_metric_filter_has_an_alarm_and_finds_lines_that_are_written(self) -> None:
        alarmed = {metric["MetricName"] for alarm in self.alarms.values() for metric in metrics(alarm)}
        self.assertLessEqual(filter_metrics(), alarmed)
        for name, each in of_type(self.resources, "AWS::Logs::MetricFilter").items():
            for field, text in re.findall(r'\$\.([\w.]+) !?= "([^"]+)"', each["FilterPattern"]):
                if field == "message":
                    self.assertIn(f'"{text}"', rust(), name)
                elif field == "status":
                    self.assertIn(field, access_log_fields(), name)
                else:
                    # https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
                    self.assertIn(field, {"type", "record.status"}, name)


class Without(Longest):
    """Takes the second branch of every condition."""

    def If(self, argument: list) -> object:  # noqa: N802 - named as the function
        return self.value(argument[2])


class Distinct(Longest):
    """Gives each API an id of its own."""

    def physical_id(self, name: str) -> str:
        if self.template["Resources"][name]["Type"] in ("AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"):
            return name.ljust(10, "0")[:10].lower()
        return super().physical_id(name)


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.resources = translated()["Resources"]
        cls.longest = Distinct(translated())
        body = cls.resources["OperatorsDashboard"]["Properties"]["DashboardBody"]
        cls.widgets = json.loads(cls.longest.value(body))["widgets"]
        cls.least = json.loads(Without(translated()).value(body))["widgets"]
        cls.names = {
            kind: {
                cls.longest.getatt([name, "QueueName"]) if kind == "AWS::SQS::Queue" else cls.longest.physical_id(name)
                for name in of_type(cls.resources, kind)
            }
            for kind in set().union(*DIMENSIONS.values())
        }

    def test_every_alarm_is_shown(self) -> None:
        (shown,) = [widget["properties"]["alarms"] for widget in self.widgets if widget["type"] == "alarm"]
        self.assertEqual(sorted(shown), sorted(self.longest.getatt([name, "Arn"]) for name in alarms(self.resources)))
        self.assertFalse([widget for widget in self.least if widget["type"] == "alarm"])

    def test_the_widgets_fill_rows_and_do_not_overlap(self) -> None:
        for widgets in (self.widgets, self.least):
            cells = set()
            for widget in widgets:
                x, y, width, height = (widget[name] for name in ("x", "y", "width", "height"))
                own = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
                self.assertFalse(cells & own, widget)
                cells |= own
            rows = max(row for _, row in cells) + 1
            self.assertEqual(cells, {(column, row) for column in range(COLUMNS) for row in range(rows)})

    def test_every_metric_exists(self) -> None:
        stack = self.longest.reference("AWS::StackName")
        shown = set()
        for metric in self.metrics():
            namespace, name, *rest = [each for each in metric if isinstance(each, str)]
            values = dict(zip(rest[::2], rest[1::2], strict=True))
            shown.add((namespace, name))
            if namespace == "Keygate":
                self.assertIn(name, authorizer_metrics())
                self.assertIn(values, ({"Stack": stack}, {"Stack": stack, "Authorizer": "management"}))
            elif namespace == f"Keygate/{stack}":
                self.assertIn(name, filter_metrics())
            else:
                self.assertIn(name, METRICS_OF_AWS[namespace])
                self.assert_named(values)
        searched = set()
        for expression in self.expressions():
            match = re.fullmatch(
                r"SEARCH\('\{([\w/]+),([\w,]+)\} MetricName=\"(\w+)\" (\w+)=(.+)', '\w+'\)", expression
            )
            self.assertIsNotNone(match, expression)
            self.assertLessEqual(len(match[0]), MAX_SEARCH_LEN, expression)
            namespace, schema, name, dimension, values = match.groups()
            self.assertIn(dimension, schema.split(","))
            searched.add((namespace, name))
            if namespace == "Keygate":
                self.assertIn(name, authorizer_metrics())
                self.assertEqual((dimension, values), ("Stack", f'"{stack}"'))
                continue
            self.assertIn(name, METRICS_OF_AWS[namespace])
            found = re.fullmatch(r'\(("[^"]+"(?: OR "[^"]+")*)\)', values)
            self.assertIsNotNone(found, values)
            for value in re.findall(r'"([^"]+)"', values):
                self.assert_named({dimension: value})
        self.assertEqual({name for namespace, name in shown if namespace == "Keygate"}, authorizer_metrics())
        self.assertIn(("AWS/DynamoDB", "ReadThrottleEvents"), searched)

    def test_every_background_function_queue_of_failures_and_table_is_shown(self) -> None:
        text = json.dumps([self.widgets])
        queues = {self.longest.getatt([name, "QueueName"]) for name in of_type(self.resources, "AWS::SQS::Queue")}
        background = {
            self.longest.physical_id(name)
            for metric, name, _ in watched(self.resources)
            if metric == "Errors" and name.endswith("Function")
        }
        self.assertGreaterEqual(len(background), 8)
        for name in queues | background | self.names["AWS::DynamoDB::Table"]:
            self.assertIn(name, text)

    def assert_named(self, values: dict[str, str]) -> None:
        for dimension, value in values.items():
            if dimension in DIMENSIONS:
                (kind,) = DIMENSIONS[dimension]
                self.assertIn(value, self.names[kind])
            elif dimension == "ApiName":
                apis = of_type(self.resources, "AWS::ApiGateway::RestApi").values()
                self.assertIn(value, [self.longest.value(api["Name"]) for api in apis])
            else:
                self.assertEqual(dimension, "Stage")

    def metrics(self) -> Iterator[list]:
        for widget in self.widgets:
            yield from (each for each in widget["properties"].get("metrics", []) if isinstance(each[0], str))

    def expressions(self) -> Iterator[str]:
        for widget in self.widgets:
            for each in widget["properties"].get("metrics", []):
                if isinstance(each[0], dict):
                    yield each[0]["expression"]


class Queries(unittest.TestCase):
    # Of CloudWatch Logs Insights, and of the lines that Lambda writes about itself.
    # https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
    OF_LAMBDA = frozenset({"type", "record.status", "record.requestId"})
    OF_INSIGHTS = frozenset({"@timestamp", "@log", "@message"})
    # Every line of metrics has it.
    OF_METRICS = frozenset({"Stack"})
    WORDS = frozenset(
        {
            *(
                "fields",
                "filter",
                "stats",
                "sort",
                "limit",
                "by",
                "as",
                "asc",
                "desc",
                "in",
                "like",
                "not",
                "and",
                "or",
            ),
            *("count", "latest", "coalesce", "ispresent"),
        }
    )

    @classmethod
    def setUpClass(cls) -> None:
        cls.resources = translated()["Resources"]
        cls.queries = of_type(cls.resources, "AWS::Logs::QueryDefinition")

    def groups(self, query: str) -> set[str]:
        return set(references(self.queries[query]["LogGroupNames"])) - {"AWS::NoValue"}

    def test_they_use_fields_that_the_lines_have(self) -> None:
        known = self.OF_LAMBDA | self.OF_INSIGHTS | self.OF_METRICS | access_log_fields() | log_fields()
        self.assertGreaterEqual(len(self.queries), 10)
        for name, query in self.queries.items():
            text = re.sub(r'"[^"]*"|/[^/\n]*/', "", query["QueryString"])
            aliases = set(re.findall(r"\bas (\w+)", text))
            for field in re.findall(r"[@A-Za-z_][\w.]*", text.replace("count(*)", "count")):
                self.assertIn(field, known | aliases | self.WORDS, name)

    def test_they_look_for_messages_that_are_written(self) -> None:
        found = 0
        for name, query in self.queries.items():
            for texts in re.findall(r"message (?:=|in) (\[[^\]]*\]|\"[^\"]*\")", query["QueryString"]):
                for text in re.findall(r'"([^"]*)"', texts):
                    self.assertIn(f'"{text}"', rust(), name)
                    found += 1
        self.assertGreaterEqual(found, 4)

    def test_they_read_the_groups_that_have_these_lines(self) -> None:
        functions = {name for name in of_type(self.resources, "AWS::Logs::LogGroup") if "Access" not in name}
        functions.add("IngestAccessLogsLogGroup")
        access = {"AccessLogGroup", "OAuthAccessLogGroup"}
        background = {
            name.replace("Function", "LogGroup")
            for metric, name, _ in watched(self.resources)
            if metric == "Errors" and name.endswith("Function")
        }
        self.assertEqual(self.groups("ErrorsQuery"), functions)
        self.assertEqual(self.groups("OneRequestQuery"), functions | access)
        self.assertEqual(self.groups("BackgroundRunsQuery"), background)
        for name in self.queries:
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
            self.assertLessEqual(len(self.groups(name)), 50, name)

    def test_the_runbooks_and_operations_name_every_query_and_no_other(self) -> None:
        names = {query["Name"]["Fn::Sub"].partition("/")[2] for query in self.queries.values()}
        operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        for name in names:
            self.assertTrue(f"`{name}`" in operations, name)
        runbooks = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
        self.assertLessEqual(set(re.findall(r"quer(?:y|ies) `([a-z-]+)`", runbooks)), names)


class MergedTemplate(unittest.TestCase):
    def test_the_alarms_and_the_dashboard_cost_nothing_unless_they_are_wanted(self) -> None:
        parameters = merged()["Parameters"]
        self.assertEqual(parameters["AlarmTopicArn"]["Default"], "")
        for name, resource in translated()["Resources"].items():
            if resource["Type"] == "AWS::Logs::MetricFilter":
                self.assertIn("RaisesAlarms", conditions(resource["Condition"]), name)


if __name__ == "__main__":
    unittest.main()
