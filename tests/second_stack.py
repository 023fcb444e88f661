"""Deploys a second stack of Keygate beside the first one, updates it, deletes it, and deploys it again.

Neither stack accepts the other's keys, not even where the other's table has them. The update changes parameters, a new
pepper among them, as docs/runbooks.md says, and no request fails meanwhile. The resources that docs/runbooks.md lists
remain of a deleted stack, can be removed as that page says, and are not in the way of the next stack of the same name.
The first stack is only read. `make e2e` runs this last, with the environment of its stack.

    PYTHONPATH=tools:infra/local second_stack.py
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError

from deploy import ADMINISTRATOR, ARTIFACTS, STACK, TEMPLATE, Deployment
from keygate_command import bootstrap, keygate, program

SECOND = "keygate-second"
TEMPLATE_OBJECT = f"{SECOND}/template.yaml"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
# As an operator would set them for a second stack: the account's logging role is there already.
PARAMETERS = {
    "ManageApiGatewayAccount": "false",
    "AuthorizerBudgetMs": "4000",
    "KeysPerUser": "1000",
    # The emulator has no saved queries.
    "Dashboard": "false",
    "LegacySunset": "2099-12-31T23:59:59Z",
    "LegacyPattern": "old-[0-9a-f]{32}",
    # Events of the emulator have no domain name, of which the page's address is made by default.
    "ConsoleUrl": "https://keys.example.com",
}
# No legacy keys, as by default, and the least of what a stack can allow.
FEW = {"LegacySunset": "", "LegacyPattern": "", "MaxLifetimeDays": "1", "TokensPerKey": "2", "KeysPerUser": "2"}
# The user of keys that are created while the stack is updated.
MEANWHILE = "meanwhile"
# The types that remain of a deleted stack which does not manage the account's logging role.
RETAINED_TYPES = {"AWS::DynamoDB::Table", "AWS::KMS::Key"}
DELETION_SECONDS = 120
# How long the work that follows a response may take.
DEFERRED_SECONDS = 30


def main() -> int:
    folder = Path(os.environ["KEYGATE_CALLS_LOG"]).parent
    deployment = Deployment(
        folder, os.environ["AWS_ENDPOINT_URL"], os.environ["KEYGATE_DYNAMODB_URL"], os.environ["KEYGATE_OAUTH_URL"]
    )
    first_url, first_key = os.environ["KEYGATE_API_URL"], os.environ["KEYGATE_ADMIN_KEY"]
    first_before = physical_ids(deployment, STACK)

    url, key = deploy_second(deployment)
    # The id of a stage is its name, which is within its API.
    of_first, of_second = (
        {physical for name, physical in physical_ids(deployment, stack).items() if not name.endswith("Stage")}
        for stack in (STACK, SECOND)
    )
    check(not of_first & of_second, f"the stacks share {of_first & of_second or 'nothing'}")
    check(works(url, key) and works(first_url, first_key), "each stack accepts its own keys")
    check(not works(url, first_key), "the second stack refuses a key of the first")
    check(not works(first_url, key), "the first stack refuses a key of the second")
    restore(deployment, SECOND, stored_key(deployment, STACK, first_key))
    check(not works(url, first_key), "it does so when its table has the key, because its pepper is another one")
    remove(deployment, SECOND, first_key)
    backup = stored_key(deployment, SECOND, key)
    introduce_pepper(deployment, url, key)

    take_over(deployment, url, first_key)
    check(passes_smoke_test(deployment, url, not_checked=2), "keygate smoke passes")

    resources = physical_ids(deployment, SECOND)
    retained = retained_resources(deployment, resources)
    delete_stack(deployment, SECOND)
    check_remains(deployment, resources, retained)
    # CloudFormation ends the name of a table in random characters. The emulator derives them from the stack's name, so
    # here the tables of the deleted stack would be in the way of the new one.
    remove_tables(deployment, retained)

    new_url, new_key = deploy_second(deployment)
    renewed = physical_ids(deployment, SECOND)
    kms_keys = {name: physical for name, physical in retained.items() if name not in tables_of(deployment, retained)}
    check(not set(kms_keys.values()) & set(renewed.values()), "the new stack has KMS keys of its own")
    check(works(new_url, new_key), "the stack works under the name of a deleted one")
    check(not works(new_url, key), "it refuses the keys of the deleted one")
    restore(deployment, SECOND, backup)
    check(not works(new_url, key), "it does so when they are restored, because their pepper is that of the deleted one")
    remove_kms_keys(deployment, kms_keys)
    check(works(new_url, new_key), "it works after the KMS keys of the deleted one were removed")

    update(deployment, **FEW)
    check(passes_smoke_test(deployment, new_url, not_checked=3), "keygate smoke passes where little is allowed")

    remaining = retained_resources(deployment, renewed)
    delete_stack(deployment, SECOND)
    remove_tables(deployment, remaining)
    check(physical_ids(deployment, STACK) == first_before, "the first stack is as it was")
    check(works(first_url, first_key), "the first stack accepts its keys")
    return 0


def deploy_second(deployment: Deployment) -> tuple[str, str]:
    """Deploys the second stack, and bootstraps in it the workspace that the first stack has too."""
    started = time.monotonic()
    create_stack(deployment)
    deployment.create_tables(SECOND)
    outputs = deployment.outputs(SECOND)
    created = bootstrap(SECOND, **ADMINISTRATOR, name="first")
    print(f"  {SECOND} was deployed in {time.monotonic() - started:.1f} s", flush=True)
    return f"{deployment.emulator_url}/_aws/execute-api/{outputs['ApiId']}/{outputs['StageName']}", created["key"]


def create_stack(deployment: Deployment) -> None:
    """Creates the second stack from the template of the first one, whose functions are uploaded already."""
    client = deployment.client("cloudformation")
    body = client.get_template(StackName=STACK, TemplateStage="Original")["TemplateBody"]
    deployment.client("s3").put_object(
        Bucket=ARTIFACTS, Key=TEMPLATE_OBJECT, Body=body if isinstance(body, str) else json.dumps(body)
    )
    client.create_stack(
        StackName=SECOND,
        TemplateURL=template_url(deployment),
        Parameters=as_cloudformation_has_them(PARAMETERS | revision()),
        Capabilities=CAPABILITIES,
    )
    client.get_waiter("stack_create_complete").wait(StackName=SECOND, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def template_url(deployment: Deployment) -> str:
    return f"{deployment.emulator_url}/{ARTIFACTS}/{TEMPLATE_OBJECT}"


def revision() -> dict[str, str]:
    """The revision of a deployment, which differs from all others."""
    return {"ConfigurationRevision": str(time.monotonic_ns())}


def as_cloudformation_has_them(parameters: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]


def introduce_pepper(deployment: Deployment, url: str, key: str) -> None:
    """Introduces a pepper version and removes the old one, as docs/runbooks.md says, while requests go on."""
    unused = create_key(url, key, "unused")
    check(refuses(deployment, PepperVersions="1", CurrentPepperVersion="2"), "a current version has to be listed")
    stage = stage_deployment(deployment)
    check(log_levels(deployment) == {"info"}, "every function is invoked with the first parameters")
    with requests_without_failure(url, key):
        update(deployment, PepperVersions="1,2", LogLevel="warn")
    check(log_levels(deployment) == {"warn"}, "every function is invoked with a changed parameter")
    check(stage_deployment(deployment) != stage, "the stage of the management API has a new deployment")
    move_alias_back_and_forth(deployment, url, key)
    between = create_key(url, key, "between")
    check(works(url, between) and works(url, key), "keys work while the new version is only listed")
    check(pepper_versions(deployment, key, between, unused) == [1, 1, 1], "no function uses the new version yet")

    with requests_without_failure(url, key):
        update(deployment, PepperVersions="1,2", CurrentPepperVersion="2")
    new = create_key(url, key, "new")
    check(pepper_versions(deployment, new) == [2], "a new key has the new version")
    check(works(url, key) and works(url, between) and works(url, new), "every key works under its version")
    # The authorizer of the management API renews no hash.
    for used in (key, between):
        call_other_api(deployment, used)
    eventually(
        lambda: pepper_versions(deployment, key, between) == [2, 2], "keys get the new version when they are used"
    )
    check(pepper_versions(deployment, unused) == [1], "a key that is not used keeps the old version")
    left = key_counts()
    check(set(left) == {1, 2}, f"the status of the peppers has both versions: {left}")

    status, _ = send_request(url, "DELETE", f"/users/{MEANWHILE}", key)
    check(status in (200, 202), f"the user of the keys that were created meanwhile is removed: {status}")
    check(works(url, unused), "the last key of the old version works")
    call_other_api(deployment, unused)
    eventually(lambda: set(key_counts()) == {2}, "the status of the peppers no longer lists the old version")
    update(deployment, PepperVersions="2", CurrentPepperVersion="2")
    check(works(url, key) and works(url, unused) and works(url, new), "every key works without the old version")


def take_over(deployment: Deployment, url: str, first_key: str) -> None:
    """Gives the second stack the pepper and the data of the first one, as after the loss of a Region.

    The emulator has one Region, so the key itself takes the place of its replica, which has the same material.
    """
    restore(deployment, SECOND, stored_key(deployment, STACK, first_key))
    update(deployment, PepperReplicaArn=os.environ["KEYGATE_PEPPER_KEY"])
    check(works(url, first_key), "a stack with the pepper and the item of another one accepts its key")
    update(deployment)
    check(not works(url, first_key), "with a pepper of its own it does not")
    remove(deployment, SECOND, first_key)


def passes_smoke_test(deployment: Deployment, url: str, not_checked: int) -> bool:
    """Whether `keygate smoke` passes. It does not check JWTs, an endpoint and legacy keys if there are none."""
    deployment.put_gateway_responses("", SECOND)
    host, _, path = deployment.outputs(SECOND)["OAuthUrl"].partition("://")[2].partition("/")
    oauth_url = f"{deployment.execute_url()}/{host.partition('.')[0]}/{path}"
    done = subprocess.run(
        [program(), "smoke", "--stack", SECOND],
        env=os.environ | {"KEYGATE_API_URL": url, "KEYGATE_OAUTH_URL": oauth_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout, flush=True)
    return done.returncode == 0 and done.stdout.rstrip().endswith(
        f"{12 - not_checked} passed, 0 failed, {not_checked} not checked."
    )


def update(deployment: Deployment, **parameters: str) -> None:
    """Updates the second stack with these parameters."""
    client = deployment.client("cloudformation")
    client.update_stack(
        StackName=SECOND,
        TemplateURL=template_url(deployment),
        Parameters=as_cloudformation_has_them(PARAMETERS | revision() | parameters),
        Capabilities=CAPABILITIES,
    )
    client.get_waiter("stack_update_complete").wait(StackName=SECOND, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def log_levels(deployment: Deployment) -> set[str]:
    """The parameter LogLevel, as each function has it where it is invoked: at its alias, if it has one."""
    client, levels, aliases = deployment.client("lambda"), set(), 0
    for physical in physical_ids(deployment, SECOND, "AWS::Lambda::Function").values():
        names = [alias["Name"] for alias in client.list_aliases(FunctionName=physical)["Aliases"]]
        (qualifier,) = names or ["$LATEST"]
        configuration = client.get_function_configuration(FunctionName=physical, Qualifier=qualifier)
        levels.add(configuration["Environment"]["Variables"]["LOG_LEVEL"])
        aliases += len(names)
    check(aliases == 2, "the authorizers alone have an alias")
    return levels


def stage_deployment(deployment: Deployment) -> str:
    """The deployment that the stage of the management API serves."""
    outputs = deployment.outputs(SECOND)
    stage = deployment.client("apigateway").get_stage(restApiId=outputs["ApiId"], stageName=outputs["StageName"])
    return stage["deploymentId"]


def move_alias_back_and_forth(deployment: Deployment, url: str, key: str) -> None:
    """Moves the alias of the authorizer to the version before and back, as docs/runbooks.md says."""
    client, function = deployment.client("lambda"), deployment.outputs(SECOND)["AuthorizerFunctionName"]
    present = client.get_alias(FunctionName=function, Name="live")["FunctionVersion"]
    versions = [each["Version"] for each in client.list_versions_by_function(FunctionName=function)["Versions"]]
    check(
        versions == ["$LATEST", "1", "2"] and present == "2",
        f"each deployment makes a version, and keeps it: {versions}",
    )
    client.update_alias(FunctionName=function, Name="live", FunctionVersion="1")
    check(log_levels(deployment) == {"info", "warn"}, "the authorizer has the configuration of the version before")
    check(works(url, key), "an earlier version works")
    client.update_alias(FunctionName=function, Name="live", FunctionVersion=present)
    check(log_levels(deployment) == {"warn"}, "and the present one again")


def refuses(deployment: Deployment, **parameters: str) -> bool:
    """Whether a rule of the template refuses an update with these parameters."""
    try:
        update(deployment, **parameters)
    except ClientError as error:
        return "CurrentPepperIsListed" in str(error) or "must be one of PepperVersions" in str(error)
    return False


@contextlib.contextmanager
def requests_without_failure(url: str, key: str) -> Iterator[None]:
    """Uses a key and creates others all the time, and checks that each request succeeds."""
    statuses: list[int] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.02):
            statuses.append(send_request(url, "GET", "/me", key)[0])
            body = {"name": f"meanwhile {time.monotonic_ns()}", "user_id": MEANWHILE}
            statuses.append(send_request(url, "POST", "/api-keys", key, body)[0])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        eventually(lambda: len(statuses) >= 4, "requests are sent before the update")
        yield
        # The first ones after it start environments with the new parameters.
        sent = len(statuses)
        eventually(lambda: len(statuses) >= sent + 10, "requests are sent after the update")
    finally:
        ended.set()
        thread.join()
    failed = [status for status in statuses if status not in (200, 201)]
    check(not failed, f"all of {len(statuses)} requests succeed before, during and after an update: {failed}")


def create_key(url: str, key: str, name: str) -> str:
    status, body = send_request(url, "POST", "/api-keys", key, {"name": name})
    check(status == 201, f"the key {name} is created: {status}")
    return body["key"]


def call_other_api(deployment: Deployment, key: str) -> None:
    """Authorizes a call of an API of an adopter with the key."""
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {key}",
        "methodArn": "arn:aws:execute-api:us-east-1:000000000000:other/test/GET/orders",
    }
    function = deployment.outputs(SECOND)["AuthorizerFunctionArn"]
    response = deployment.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    policy = json.loads(response["Payload"].read())
    check("policyDocument" in policy, f"the key is accepted by the authorizer: {policy}")


def send_request(url: str, method: str, path: str, key: str, body: dict | None = None) -> tuple[int, dict]:
    """The status and the body of a response of a management API."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, {}


def pepper_versions(deployment: Deployment, *keys: str) -> list[int]:
    return [int(stored_key(deployment, SECOND, key)["pepper_version"]["N"]) for key in keys]


def key_counts() -> dict[int, int]:
    """The number of keys of each version."""
    return {row["version"]: row["keys"] for row in keygate("pepper", "status", "--stack", SECOND)["items"]}


def eventually(holds, what: str) -> None:
    deadline = time.monotonic() + DEFERRED_SECONDS
    while not holds():
        check(time.monotonic() < deadline, f"eventually {what}")
        time.sleep(0.5)


def works(url: str, key: str) -> bool:
    """Whether a management API accepts a key, and does not refuse it; anything else is a failure."""
    status, _ = send_request(url, "GET", "/me", key)
    check(status in (200, 401), f"{url}/me is a 200 or a 401, and not a {status}")
    return status == 200


def physical_ids(deployment: Deployment, stack: str, kind: str = "") -> dict[str, str]:
    """The physical ids of a stack's resources, or of those of a type, by their names in the template."""
    pages = deployment.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    resources = pages.search("StackResourceSummaries")
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources
        if kind in ("", resource["ResourceType"])
    }


def retained_resources(deployment: Deployment, resources: dict[str, str]) -> dict[str, str]:
    """The resources of a stack that remain when it is deleted.

    Checks that they have no fixed names, which would collide when the stack is deployed again.
    """
    retained = {
        name: resource
        for name, resource in deployment.template(TEMPLATE)["Resources"].items()
        if str(resource.get("DeletionPolicy")).startswith("Retain")
    }
    for name, resource in retained.items():
        fixed = {"TableName", "AliasName", "RoleName"} & resource.get("Properties", {}).keys()
        check(not fixed, f"{name} is retained, so it has no fixed name: {fixed or 'none'}")
    return {name: resources[name] for name in retained if name in resources}


def stored_key(deployment: Deployment, stack: str, key: str) -> dict:
    """The item of a key, as a backup of the table has it."""
    dynamodb = deployment.client("dynamodb", deployment.dynamodb_url)
    item = {"key_id": {"S": key.split("_")[2]}}
    table = deployment.outputs(stack)["KeysTableName"]
    return dynamodb.get_item(TableName=table, Key=item, ConsistentRead=True)["Item"]


def remove(deployment: Deployment, stack: str, key: str) -> None:
    """Takes the item of a key out of a stack's table."""
    dynamodb = deployment.client("dynamodb", deployment.dynamodb_url)
    item = {"key_id": {"S": key.split("_")[2]}}
    dynamodb.delete_item(TableName=deployment.outputs(stack)["KeysTableName"], Key=item)


def restore(deployment: Deployment, stack: str, item: dict) -> None:
    """Puts the item of a key into a stack's table."""
    dynamodb = deployment.client("dynamodb", deployment.dynamodb_url)
    dynamodb.put_item(TableName=deployment.outputs(stack)["KeysTableName"], Item=item)


def delete_stack(deployment: Deployment, stack: str) -> None:
    client = deployment.client("cloudformation")
    client.delete_stack(StackName=stack)
    deadline = time.monotonic() + DELETION_SECONDS
    while (status := stack_status(client, stack)) != "DELETE_COMPLETE":
        check(status == "DELETE_IN_PROGRESS" and time.monotonic() < deadline, f"{stack} is being deleted: {status}")
        time.sleep(0.5)


def stack_status(client, stack: str) -> str:
    try:
        return client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return "DELETE_COMPLETE"
        raise


def check_remains(deployment: Deployment, resources: dict[str, str], retained: dict[str, str]) -> None:
    """Checks that of a deleted stack the retained resources are left, and of the others none."""
    template = deployment.template(TEMPLATE)["Resources"]
    types = {template[name]["Type"] for name in retained}
    check(types == RETAINED_TYPES, f"the retained types are those of the runbook: {', '.join(sorted(types))}")
    for name, physical in resources.items():
        kind = template.get(name, {}).get("Type")
        if kind in RETAINED_TYPES:
            check(exists(deployment, kind, physical) == (name in retained), f"{name} is left: {name in retained}")
    left = deployment.client("lambda").get_paginator("list_functions").paginate().search("Functions[].FunctionName")
    check(not set(resources.values()) & set(left), "no function is left")
    groups = deployment.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{SECOND}/")["logGroups"]
    check(not groups, f"no log group is left: {[group['logGroupName'] for group in groups]}")
    aliases = deployment.client("kms").get_paginator("list_aliases").paginate().search("Aliases[].AliasName")
    check(not [alias for alias in aliases if alias.startswith(f"alias/{SECOND}-")], "no alias is left")


def exists(deployment: Deployment, kind: str, physical: str) -> bool:
    """Whether a table, or a KMS key that is not scheduled for deletion, is there."""
    try:
        if kind == "AWS::DynamoDB::Table":
            deployment.client("dynamodb").describe_table(TableName=physical)
            return True
        metadata = deployment.client("kms").describe_key(KeyId=physical)["KeyMetadata"]
        return metadata["KeyState"] == "Enabled"
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ResourceNotFoundException", "NotFoundException"):
            return False
        raise


def tables_of(deployment: Deployment, resources: dict[str, str]) -> dict[str, str]:
    template = deployment.template(TEMPLATE)["Resources"]
    return {name: physical for name, physical in resources.items() if template[name]["Type"] == "AWS::DynamoDB::Table"}


def remove_tables(deployment: Deployment, retained: dict[str, str]) -> None:
    """Removes the tables that a deleted stack has left, in the steps of the runbook, and their copies."""
    dynamodb = deployment.client("dynamodb")
    for name, table in tables_of(deployment, retained).items():
        protected = dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled")
        check(protected is True, f"{name} is protected from deletion")
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
        check(not exists(deployment, "AWS::DynamoDB::Table", table), f"{name} of the deleted stack can be removed")
    local = deployment.client("dynamodb", deployment.dynamodb_url)
    for table in local.list_tables()["TableNames"]:
        if table.startswith(f"{SECOND}-"):
            local.delete_table(TableName=table)


def remove_kms_keys(deployment: Deployment, keys: dict[str, str]) -> None:
    """Removes the KMS keys that a deleted stack has left, in the steps of the runbook."""
    kms = deployment.client("kms")
    for name, key in keys.items():
        policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
        kept = [statement for statement in policy["Statement"] if statement["Sid"] != "NeverScheduleDeletion"]
        check(len(kept) < len(policy["Statement"]), f"the policy of {name} denies its deletion")
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy | {"Statement": kept}))
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        check(not exists(deployment, "AWS::KMS::Key", key), f"{name} of the deleted stack can be removed")


def check(holds: bool, what: str) -> None:
    """Ends the test unless something holds."""
    if not holds:
        sys.exit(f"second_stack: this does not hold: {what}")


if __name__ == "__main__":
    sys.exit(main())
