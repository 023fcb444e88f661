"""The doubts that only a real account settles, except for those about the roles' conditions."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from smoke_calls import works
from smoke_run import CONFIRMED, REFUTED, REVOCATION_SECONDS, UNCONFIRMED, CallFailed, Key, Run, eventually

# In the description of a function that a run has changed, until the run ends.
MARK = " (smoke test)"
LOG_SECONDS = 60
# How late a schedule may be, with the time until its line can be read.
SCHEDULE_GRACE_SECONDS = 300
WRITES_AFTER = "last use and call are written after the response"
WRITES_AT_THE_END = "waiting counts are written when an environment ends (SIGTERM)"
LIVE_IS_LATEST = "the authorizer's alias has what was deployed last"
# What a version has of its function, and a deployment can change.
DEPLOYED = ("CodeSha256", "Environment", "MemorySize", "Timeout", "Role", "VpcConfig", "TracingConfig", "LoggingConfig")
NO_CACHE = "not configured: the examples have no authorizer cache (AuthorizerCacheSeconds)"


def check_refusals(run: Run) -> None:
    """The responses of each kind of API to a missing and to an unknown credential."""
    unknown = run.create_key("smoke-bob", [])
    run.manage("DELETE /api-keys/{id}", 204, run.admin, id=unknown.id)
    if not eventually(REVOCATION_SECONDS, lambda: not works(run, unknown.text)):
        raise CallFailed("a deleted key is still accepted")
    expected = {
        "management": (401, 401, 'Bearer realm="keygate"'),
        "rest": (401, 401, 'Bearer realm="example"'),
        "http": (401, 403, None),
        "websocket": (401, 401, None),
    }
    for kind, (missing, refused, challenge) in expected.items():
        seen = []
        for credential in (None, unknown.text):
            if kind == "websocket":
                response = run.connect(credential)
            else:
                path = "/me" if kind == "management" else "/echo"
                response = run.send("GET", f"{run.urls[kind]}{path}", credential)
            seen.append((response.status, response.headers["WWW-Authenticate"]))
        holds = [status for status, _ in seen] == [missing, refused]
        holds = holds and (challenge is None or all(header == challenge for _, header in seen))
        parts = (f"{status}, WWW-Authenticate {header or 'absent'}" for status, header in seen)
        evidence = f"{'; '.join(parts)} (no credential; unknown key)"
        emulator = "answers a refused WebSocket connection in another way" if kind == "websocket" else ""
        run.decide(f"a refused credential is {missing} and {refused} ({kind} API)", holds, evidence, emulator)


def check_origins(run: Run) -> None:
    """Whether API Gateway's own responses allow the origin of the request, if the stack lists origins."""
    doubt = "API Gateway's own responses allow the origin of the request, and none without one"
    listed = run.stack.parameters.get("CorsAllowOrigins", "")
    if listed in ("", "*"):
        run.find(doubt, UNCONFIRMED, "not configured: the stack lists no origins (CorsAllowOrigins)")
        return
    origin = listed.split(",")[0]
    seen = []
    for headers in ({"Origin": origin}, {}):
        response = run.send("GET", f"{run.urls['management']}/me", None, headers=headers)
        allowed = response.headers["Access-Control-Allow-Origin"]
        seen.append((response.status, allowed or None, response.headers["Vary"]))
    holds = seen == [(401, origin, "Origin"), (401, None, "Origin")]
    evidence = "; ".join(f"{status}, allows {allowed}, Vary {vary}" for status, allowed, vary in seen)
    run.decide(doubt, holds, f"{evidence} (a listed origin; no origin)")


def check_compression(run: Run) -> None:
    """Whether API Gateway compresses what is long, and keeps the tag by which a browser asks for it again."""
    plain = run.manage("GET /console/{file}", 200, None, file="keygate-keys.js")
    accepts = {"Accept-Encoding": "gzip, deflate, br"}
    packed = run.manage("GET /console/{file}", 200, None, file="keygate-keys.js", headers=accepts)
    holds = packed.headers["Content-Encoding"] == "gzip" and packed.headers["ETag"] == plain.headers["ETag"]
    coding = packed.headers["Content-Encoding"] or "no"
    evidence = f"{len(plain.body)} bytes, and {len(packed.body)} with {coding} coding"
    run.decide("API Gateway compresses the scripts of the keys page", holds, evidence, "does not compress")


def check_paths(run: Run) -> None:
    """Whether an encoded path reaches the authorizer as it was sent, and whether endpoint rules hold for it."""
    free = run.create_key("smoke-bob", [])
    bound = run.create_key("smoke-bob", [], endpoints=["GET /orders/*"])
    emulator = "decodes paths before it compares them"
    for kind in ("rest", "http"):
        echoed = run.example(kind, "/orders/a%20b", free.text).json().get("path")
        status = run.example(kind, "/orders/a%20b", bound.text).status
        evidence = f"/orders/a%20b: {status} for a key with GET /orders/*; the backend saw {echoed}"
        if kind == "rest" and run.stack.parameters.get("CallActivity") != "off":

            def paths() -> list[str]:
                return [call["path"] for call in run.key_calls(free)]

            eventually(15, lambda: bool(paths()))
            evidence += f"; the authorizer saw {', '.join(map(str, paths())) or 'nothing that the trail has'}"
        run.decide(f"a key with rules cannot reach an encoded path ({kind} API)", status == 403, evidence, emulator)
        outside = {
            path: run.example(kind, path, bound.text).status
            for path in ("/orders/..%2Fecho", "/orders/%2e%2e/echo", "//echo", "/orders/../echo", "/echo%3F/orders/7")
        }
        said = ", ".join(f"{path} {status}" for path, status in outside.items())
        run.decide(f"no spelling of a path leaves the rules ({kind} API)", 200 not in outside.values(), said, emulator)


def check_networks(run: Run) -> None:
    """Whether API Gateway knows the condition key aws:SourceIp in the policies of each kind of authorizer."""
    first = run.create_key("smoke-bob", [])
    page = run.manage("GET /activity", 200, run.admin, query=f"?key_id={first.id}&action=key.created&limit=1")
    own = page.json()["items"][0]["source"]
    # Documentation addresses (RFC 5737), from which no request comes.
    inside, outside = (run.create_key("smoke-bob", [], networks=[network]) for network in (own, "203.0.113.0/24"))
    for kind in ("rest", "http", "websocket"):
        doubt = f"a key works from its networks alone: IpAddress on aws:SourceIp ({kind} API)"
        if kind == "http" and run.stack.parameters.get("AuthorizerResponse", "policy") != "policy":
            run.find(doubt, UNCONFIRMED, "not configured: the authorizer returns simple responses")
            continue

        def call(key: Key, kind: str = kind) -> int:
            return (run.connect(key.text) if kind == "websocket" else run.example(kind, "/echo", key.text)).status

        statuses = call(inside), call(outside)
        holds = statuses == (101 if kind == "websocket" else 200, 403)
        evidence = f"{statuses[0]} for a key with the network {own}; {statuses[1]} for one with 203.0.113.0/24"
        run.decide(doubt, holds, evidence, "does not evaluate the conditions of policies")


def check_expiry_in_cache(run: Run) -> None:
    """Whether a cached policy is refused from the second in which its key expires."""
    for kind in ("rest", "http"):
        doubt = f"a cached policy ends with its key: DateLessThan on aws:CurrentTime ({kind} API)"
        if not run.cache_seconds:
            run.find(doubt, UNCONFIRMED, NO_CACHE)
            continue
        if kind == "http" and run.stack.parameters.get("AuthorizerResponse", "policy") != "policy":
            run.find(doubt, UNCONFIRMED, "not configured: the authorizer returns simple responses")
            continue
        if run.stack.parameters.get("AllowedCallLog") != "all":
            run.find(doubt, UNCONFIRMED, "not configured: AllowedCallLog is not all, so no log says who decided")
            continue
        key = run.create_key("smoke-bob", [], expires_in=12)
        before = [run.example(kind, "/echo", key.text).status for _ in range(3)]
        time.sleep(14)
        after = run.example(kind, "/echo", key.text)
        allowed, refused = decisions(run, key.id)
        evidence = f"{before} before and {after.status} after the expiry; the authorizer allowed {allowed} calls and "
        evidence += f"refused {refused}"
        # A refusal of the authorizer shows that it was asked again, so that the cached policy decided nothing.
        if before != [200, 200, 200] or allowed == 0 or refused > 0:
            run.find(doubt, UNCONFIRMED, f"the cache was not used: {evidence}")
        else:
            run.decide(doubt, after.status == 403, evidence, "does not evaluate the conditions of policies")


def decisions(run: Run, key_id: str) -> tuple[int, int]:
    """How many calls with a key the authorizer has allowed and refused, by its log."""
    group = log_group(run, run.stack.outputs["AuthorizerFunctionName"])
    found: list[str] = []

    def read() -> bool:
        found[:] = log_lines(run, group, run.started, f'"{key_id}"')
        return bool(found)

    eventually(LOG_SECONDS, read, pause=3)
    # Lines that are later than the first one.
    time.sleep(0 if run.is_emulated else 10)
    read()
    allowed, refused = (sum(f'"decision":"{word}"' in line for line in found) for word in ("allowed", "refused"))
    return allowed, refused


def check_cache_clearing(run: Run) -> None:
    """Whether a deleted key is refused long before the APIs' caches are over."""
    doubt = "the authorizer caches of AuthorizerCaches are cleared after a revocation"
    configured = run.stack.parameters.get("AuthorizerCaches", "")
    if not run.cache_seconds:
        run.find(doubt, UNCONFIRMED, NO_CACHE)
        return
    apis = {"rest": ("restapis", "RestExampleApiId"), "http": ("apis", "HttpExampleApiId")}
    for kind, (collection, output) in apis.items():
        of_kind = f"{doubt} ({kind} API)"
        if f"{collection}/{run.examples.outputs[output]}/stages/" not in configured:
            run.find(of_kind, UNCONFIRMED, "not configured: AuthorizerCaches lacks the example's stage")
            continue
        key = run.create_key("smoke-bob", [])
        if [run.example(kind, "/echo", key.text).status for _ in range(3)] != [200, 200, 200]:
            raise CallFailed(f"a new key does not work ({kind} API)")
        run.manage("DELETE /api-keys/{id}", 204, run.admin, id=key.id)
        started = time.monotonic()
        limit = min(60.0, run.cache_seconds / 2)
        is_cleared = eventually(limit, lambda key=key, kind=kind: run.example(kind, "/echo", key.text).status != 200)
        evidence = (
            f"refused {time.monotonic() - started:.0f} s after the deletion"
            if is_cleared
            else f"accepted for {limit:.0f} s"
        )
        run.decide(of_kind, is_cleared, f"{evidence}, with a cache time of {run.cache_seconds} s")


def check_deferred_work(run: Run) -> None:
    """Whether the authorizer writes after its response, and its waiting counts when its environment ends."""
    if run.cache_seconds or run.stack.parameters.get("CallActivity") != "minute":
        for doubt in (WRITES_AFTER, WRITES_AT_THE_END):
            run.find(doubt, UNCONFIRMED, "takes CallActivity=minute, and examples without an authorizer cache")
        return
    key = run.create_key("smoke-bob", [])
    run.expect("the first call", 200, run.example("rest", "/echo", key.text))

    def shows_use() -> bool:
        return run.manage("GET /api-keys/{id}", 200, run.admin, id=key.id).json()["last_used_at"] is not None

    started = time.monotonic()
    has_use = eventually(20, shows_use, pause=0.5)
    has_call = eventually(20, lambda: written_calls(run, key) == 1, pause=0.5)
    evidence = f"last use {said(has_use)}, call {said(has_call)}, within {time.monotonic() - started:.1f} s"
    emulator = "has no Extensions API, so the work is done before the response"
    run.decide(WRITES_AFTER, has_use and has_call, evidence, emulator)
    check_end_of_environment(run)


def check_end_of_environment(run: Run) -> None:
    """Whether calls that wait to be written are written when their environment ends.

    The calls are direct invocations of the function, because the version that APIs invoke cannot be changed.
    """
    function, key = run.stack.outputs["AuthorizerFunctionName"], run.create_key("smoke-bob", [])
    calls, patience = 6, 5.0 if run.is_emulated else 180.0
    for _ in range(calls):
        authorize_directly(run, function, key)
    eventually(20, lambda: written_calls(run, key) >= 1, pause=0.5)
    waiting = calls - written_calls(run, key)
    if waiting <= 0:
        evidence = "each call met an environment of its own, so none waited to be written"
        run.find(WRITES_AT_THE_END, UNCONFIRMED, evidence)
        return
    # A changed configuration makes Lambda end the environments of the old one, in its own time.
    with changed_configuration(run, function):
        started = time.monotonic()
        is_written = eventually(max(patience, run.wait_seconds), lambda: written_calls(run, key) == calls, pause=5)
        seconds = time.monotonic() - started
    evidence = f"{waiting} of {calls} calls waited to be written; {seconds:.0f} s after the function's configuration "
    evidence += f"was changed, {calls - written_calls(run, key)} were missing"
    emulator = "has no Extensions API, which the authorizer needs to be told of its end"
    if is_written or run.wait_seconds:
        run.decide(WRITES_AT_THE_END, is_written, evidence, emulator)
    else:
        run.find(WRITES_AT_THE_END, UNCONFIRMED, f"{evidence}; run again with --wait 20", emulator)


def authorize_directly(run: Run, function: str, key: Key) -> None:
    """Invokes the authorizer as API Gateway does for a call of the example REST API."""
    partition, region, account = (
        run.stack.pseudo_parameters[f"AWS::{name}"] for name in ("Partition", "Region", "AccountId")
    )
    api = run.examples.outputs["RestExampleApiId"]
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {key.text}",
        "methodArn": f"arn:{partition}:execute-api:{region}:{account}:{api}/example/GET/echo",
    }
    response = run.stack.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    answer = response["Payload"].read().decode()
    if "FunctionError" in response:
        raise CallFailed(f"the authorizer refused a direct invocation: {answer}")


def check_alias(run: Run) -> None:
    """Whether APIs invoke the authorizer with the code and the configuration that were deployed last."""
    client, function = run.stack.client("lambda"), run.stack.outputs["AuthorizerFunctionName"]
    alias = run.stack.outputs["AuthorizerFunctionArn"].rpartition(":")[2]
    latest, live = (
        client.get_function_configuration(FunctionName=function, Qualifier=qualifier)
        for qualifier in ("$LATEST", alias)
    )
    differing = [name for name in DEPLOYED if latest.get(name) != live.get(name)]
    evidence = f"version {live['Version']}, revision {live['Environment']['Variables']['CONFIGURATION_REVISION']}"
    evidence += f"; it differs in {', '.join(differing)}" if differing else ""
    run.decide(LIVE_IS_LATEST, not differing, evidence)


def written_calls(run: Run, key: Key) -> int:
    """The number of calls with a key that the audit trail has."""
    return sum(call["count"] for call in run.key_calls(key))


def said(holds: bool) -> str:
    return "present" if holds else "absent"


@contextlib.contextmanager
def changed_configuration(run: Run, function: str) -> Iterator[None]:
    """Changes a function's description, and changes it back."""
    client = run.stack.client("lambda")
    description = client.get_function_configuration(FunctionName=function).get("Description", "").removesuffix(MARK)
    client.update_function_configuration(FunctionName=function, Description=description + MARK)
    try:
        client.get_waiter("function_updated_v2").wait(FunctionName=function)
        yield
    finally:
        client.update_function_configuration(FunctionName=function, Description=description)
        client.get_waiter("function_updated_v2").wait(FunctionName=function)


def restore_description(run: Run) -> None:
    """Takes back the change of a run that was killed."""
    client, function = run.stack.client("lambda"), run.stack.outputs["AuthorizerFunctionName"]
    description = client.get_function_configuration(FunctionName=function).get("Description", "")
    if description.endswith(MARK):
        client.update_function_configuration(FunctionName=function, Description=description.removesuffix(MARK))
        client.get_waiter("function_updated_v2").wait(FunctionName=function)


def check_import(run: Run) -> None:
    """Imports the deployed document once more, with warnings as errors, and deletes that API."""
    gateway = run.stack.client("apigateway")
    document = resolved(run, run.stack.template["Resources"]["ManagementApi"]["Properties"]["Body"])
    document["info"]["title"] = import_title(run)
    doubt, created = "API Gateway imports the document without warnings", None
    try:
        body = json.dumps(document)
        created = gateway.import_rest_api(
            failOnWarnings=True, parameters={"endpointConfigurationTypes": "REGIONAL"}, body=body
        )
        methods = sum(len(path) for path in document["paths"].values())
        run.find(
            doubt,
            CONFIRMED,
            f"import-rest-api --fail-on-warnings took {methods} operations, {len(body):,} B",
            "reports no warnings",
        )
    except ClientError as error:
        run.find(doubt, REFUTED, str(error))
    finally:
        if created:
            gateway.delete_rest_api(restApiId=created["id"])


def import_title(run: Run) -> str:
    return f"{run.stack.name}-smoke-import"


def delete_leftover_apis(run: Run) -> None:
    """Deletes the imported APIs of runs that were killed."""
    gateway = run.stack.client("apigateway")
    for api in gateway.get_paginator("get_rest_apis").paginate().search("items"):
        if api["name"] == import_title(run):
            gateway.delete_rest_api(restApiId=api["id"])


def resolved(run: Run, value: object):
    """A part of the deployed template with the values of its intrinsic functions, as CloudFormation resolves them."""
    template, parameters, pseudo = run.stack.template, run.stack.parameters, run.stack.pseudo_parameters

    def condition(expression: dict) -> bool:
        ((function, argument),) = expression.items()
        match function:
            case "Fn::Equals":
                return str(resolved(run, argument[0])) == str(resolved(run, argument[1]))
            case "Fn::Not":
                return not condition(argument[0])
            case "Fn::And":
                return all(map(condition, argument))
            case "Fn::Or":
                return any(map(condition, argument))
            case "Condition":
                return condition(template["Conditions"][argument])
        raise ValueError(f"a condition with {function}")

    def reference(name: str) -> str:
        if name.startswith("AWS::"):
            return pseudo[name]
        if name in parameters:
            return parameters[name]
        logical_id, _, attribute = name.partition(".")
        if attribute not in ("", "Arn"):
            raise ValueError(f"a reference to {name}")
        physical = run.stack.resources()[logical_id]
        if not attribute:
            return physical
        # The document names the ARNs of functions alone.
        return (
            resolved(run, {"Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:"})
            + physical
        )

    match value:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": name}:
            return reference(name)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([\w:.]+)\}", lambda found: reference(found[1]), text)
        case {"Fn::Join": [separator, parts]}:
            parts = resolved(run, parts)
            return separator.join(parts if isinstance(parts, list) else parts.split(","))
        case {"Fn::If": [name, then, otherwise]}:
            return resolved(run, then if condition(template["Conditions"][name]) else otherwise)
        case dict():
            if function := next((name for name in value if name.startswith("Fn::")), None):
                raise ValueError(f"the document has {function}, which is not resolved here")
            fields = {name: resolved(run, field) for name, field in value.items()}
            return {name: field for name, field in fields.items() if field is not None}
        case list():
            return [resolved(run, entry) for entry in value]
    return value


def check_schedules(run: Run) -> None:
    """Whether the functions that EventBridge starts have run."""
    events = run.stack.client("events")
    for logical_id, physical in run.stack.resources("AWS::Events::Rule").items():
        bus, _, name = physical.rpartition("|")
        rule = events.describe_rule(Name=name, **({"EventBusName": bus} if bus else {}))
        if not (schedule := rule.get("ScheduleExpression")):
            check_removal_rule(run, logical_id, rule)
            continue
        function = events.list_targets_by_rule(Rule=name)["Targets"][0]["Arn"].split(":")[6]
        check_schedule(run, f"the schedule {schedule} starts its function ({logical_id})", schedule, function)


def check_schedule(run: Run, doubt: str, schedule: str, function: str) -> None:
    """Whether a schedule has started its function. If it was deployed too late for that, waits for it."""
    number, unit = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule).groups()
    interval = int(number) * {"minute": 60, "hour": 3600, "day": 86400}[unit]
    group, due = log_group(run, function), run.stack.deployed_at + interval + SCHEDULE_GRACE_SECONDS
    since = time.time() - interval - SCHEDULE_GRACE_SECONDS
    # A day is too long to wait for.
    patience = run.wait_seconds if unit == "minute" else 0
    if eventually(patience, lambda: bool(log_lines(run, group, since)), pause=15):
        last = datetime.fromtimestamp(last_line(run, group, since), UTC)
        evidence = f"its log has a line of {last:%Y-%m-%dT%H:%M:%SZ}"
        run.find(doubt, CONFIRMED, evidence, "cannot tell a schedule's invocations from those of tests")
    elif time.time() > due:
        run.find(doubt, REFUTED, f"its log has no line of the last {schedule}", "starts functions in its own time")
    else:
        run.find(doubt, UNCONFIRMED, f"not due yet: run again after {datetime.fromtimestamp(due, UTC):%Y-%m-%dT%H:%MZ}")


def check_removal_rule(run: Run, logical_id: str, rule: dict) -> None:
    """Removes a user by an event, if one can be made for the configured pattern."""
    doubt = f"an event removes a user ({logical_id})"
    parameters = run.stack.parameters
    pattern = json.loads(rule["EventPattern"])
    simple = pattern.keys() == {"source", "detail-type"} and all(
        isinstance(values[0], str) for values in pattern.values()
    )
    detail: dict = {}
    user_id = "smoke-frank"
    for parameter, value in (("UserRemovalWorkspacePath", run.workspace), ("UserRemovalUserPath", user_id)):
        path = parameters.get(parameter, "")
        simple = simple and path.startswith("$.detail.")
        *outer, last = path.removeprefix("$.detail.").split(".")
        place = detail
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = value
    if not simple:
        run.find(doubt, UNCONFIRMED, "no event could be made for UserRemovalPattern")
        return
    key = run.create_key(user_id, [])
    entry = {"Source": pattern["source"][0], "DetailType": pattern["detail-type"][0], "Detail": json.dumps(detail)}
    entry["EventBusName"] = parameters.get("UserRemovalBus", "default")
    if run.stack.client("events").put_events(Entries=[entry])["FailedEntryCount"]:
        raise CallFailed("the event was not accepted by the bus")
    is_removed = eventually(120, lambda: not works(run, key.text), pause=2)
    run.decide(doubt, is_removed, "the user's key is refused" if is_removed else "the user's key works after 120 s")


def check_failures(run: Run, before: dict[str, int]) -> None:
    """Whether the run has left messages in the failure queues, and whether a function was denied a call."""
    grown = {name: count for name, count in waiting_messages(run).items() if count > before.get(name, 0)}
    run.decide(
        "no invocation ended in a failure queue", not grown, f"new messages: {grown or 'none'} in {len(before)} queues"
    )
    denied = []
    for name in run.stack.resources("AWS::Lambda::Function").values():
        lines = log_lines(run, log_group(run, name), run.started, '?AccessDenied ?"not authorized to perform"')
        denied += [f"{name}: {line[:200]}" for line in lines]
    evidence = f"{run.calls} calls, {len(denied)} lines of denied calls in the functions' logs {'; '.join(denied[:3])}"
    run.decide("no function was denied a call of AWS", not denied, evidence.strip(), "enforces no policies")


def waiting_messages(run: Run) -> dict[str, int]:
    """The number of messages in each queue of failures."""
    sqs, counts = run.stack.client("sqs"), {}
    for logical_id, url in run.stack.resources("AWS::SQS::Queue").items():
        if "Failures" in logical_id:
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            counts[logical_id] = int(attributes["Attributes"]["ApproximateNumberOfMessages"])
    return counts


def log_group(run: Run, function: str) -> str:
    configuration = run.stack.client("lambda").get_function_configuration(FunctionName=function)
    return configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function}"


def log_events(run: Run, group: str, since: float, pattern: str) -> list[dict]:
    pages = (
        run.stack.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=group, startTime=int(since * 1000), filterPattern=pattern, PaginationConfig={"MaxItems": 1000}
        )
    )
    return list(pages.search("events"))


def log_lines(run: Run, group: str, since: float, pattern: str = "") -> list[str]:
    """The lines of a log group since a time, in Unix seconds, that match a filter pattern."""
    return [event["message"] for event in log_events(run, group, since, pattern)]


def last_line(run: Run, group: str, since: float) -> float:
    return max(event["timestamp"] for event in log_events(run, group, since, "")) / 1000
