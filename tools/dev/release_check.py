"""Checks a package on its own: the quick start, and the examples of all kinds with one key.

release_check.py PACKAGE

The commands of docs/quick-start.md run in a copy of the package, in an empty folder outside of the repository. Their
path has the AWS CLI and the programs in PROGRAMS, and neither Rust nor Python nor Node.js. An emulator stands in for
AWS. Then the key of the quick start is tried at the examples of CloudFormation, SAM, the CDK and Terraform.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import certificates
import check_clients
import terraform_example
from code_blocks import blocks
from deploy import ARTIFACTS, REGION, ROOT, STACK, TEMPLATE, aws_environment
from services import StackError
from stack import Stack, only_one

CLI = ROOT / ".local" / "tools" / "cli" / "bin"
PAGE = "docs/quick-start.md"
# What the page asks for, and what its commands and publish.sh use of every system.
PROGRAMS = ("bash", "cat", "curl", "date", "dirname", "jq", "sed", "sha256sum")
CDK = ROOT / "infra" / "cdk" / "build" / "examples" / "cdk" / "app.js"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
# Each deployment has a version of each authorizer, and one of the management API.
OF_ONE_DEPLOYMENT = re.compile(r".*(Version|Deployment)[0-9a-f]{10}$")
WRONG_KEY = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi"
# The AWS CLI. The emulator serves every API on one port, so the host in an output is replaced by its address; and this
# version of the CLI sends requests for S3 buckets to other hosts than AWS_ENDPOINT_URL unless it uses paths.
AWS = """#!/bin/sh
set -e
output=$({aws} "$@")
[ -z "$output" ] || printf '%s\\n' "$output" | sed -E \
    's#https://([a-z0-9]+)\\.execute-api\\.[a-z0-9-]+\\.amazonaws\\.com#{emulator}/_aws/execute-api/\\1#g'
"""

# Prints the variables and functions of a shell, without those of bash itself.
SAVE = """\
{
    for name in $(compgen -A variable); do
        case $name in
        BASH* | DIRSTACK | EPOCH* | *UID | FUNCNAME | GROUPS | PIPESTATUS | PPID | *RANDOM | SECONDS | SHELLOPTS) ;;
        _ | name) ;;
        *) declare -p "$name" ;;
        esac
    done
    declare -f
}"""


class CheckFailed(Exception):
    """The package or an example does not do what it must."""


class Release:
    """A stack of the emulator, and a shell with a bare path in a copy of the package."""

    def __init__(self, stack: Stack, package: Path, home: Path) -> None:
        self.stack = stack
        self.deployment = stack.deployment
        self.folder = home / package.name
        shutil.copytree(package, self.folder)
        programs = home / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).symlink_to(shutil.which(name) or name)
        aws = programs / "aws"
        aws.write_text(AWS.format(aws=CLI / "aws", emulator=self.deployment.emulator_url), encoding="utf-8")
        aws.chmod(0o700)
        configuration = home / "aws-configuration"
        configuration.write_text("[default]\ns3 =\n  addressing_style = path\n", encoding="utf-8")
        self.environment = aws_environment(self.deployment.emulator_url) | {
            "PATH": str(programs),
            "HOME": str(home),
            "AWS_CONFIG_FILE": str(configuration),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        # What the blocks of the page have set, for the next block.
        self.variables = home / "variables"
        self.variables.touch()

    def run(self, script: str) -> str:
        """Runs a block of the page in a new shell with the variables of the blocks before it; returns its output."""
        whole = f"set -euo pipefail\n. {self.variables}\n{script}\n{SAVE} >{self.variables}.new\n"
        done = subprocess.run(
            [shutil.which("bash") or "bash", "--noprofile", "--norc", "-c", whole],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CheckFailed(f"{script}\nfails with status {done.returncode}:\n{done.stdout}{done.stderr}")
        Path(f"{self.variables}.new").replace(self.variables)
        return done.stdout

    def variable(self, name: str) -> str:
        """A variable that the page has set."""
        return self.run(f'printf %s "${name}"')

    def quick_start(self) -> None:
        """Runs the commands of the page, and makes in DynamoDB Local the tables of the stack when it is there."""
        page = (self.folder / PAGE).read_text(encoding="utf-8")
        has_tables = False
        to_run = [block for block in blocks(PAGE, page) if block.attributes.get("no-run") == "release"]
        if len(to_run) < 5:
            raise CheckFailed(f"{PAGE} has {len(to_run)} blocks for this check")
        for block in to_run:
            with timed(f"{PAGE}, line {block.line}"):
                output = self.run(block.text)
            if "$HELLO" in block.text:
                shown = output.splitlines()[-1]
            if not has_tables and self.exists(STACK):
                staged = self.stack.folder / "deploy" / TEMPLATE
                staged.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / "template.yaml", staged)
                self.deployment.create_tables()
                has_tables = True
        caller = json.loads(shown)
        if caller != {"user": "alice@example.com", "workspace": "acme", "scopes": "orders:read"}:
            raise CheckFailed(f"the API of {PAGE} shows {caller}")

    def exists(self, stack: str) -> bool:
        """Whether the emulator has a stack."""
        stacks = self.deployment.client("cloudformation").describe_stacks()["Stacks"]
        return stack in [each["StackName"] for each in stacks]

    def address(self, url: str) -> str:
        """The address in the emulator of a URL of API Gateway."""
        host, _, path = url.partition("://")[2].partition("/")
        return f"{self.deployment.execute_url()}/{host.partition('.')[0]}/{path}"

    # --- The examples, each with the URLs of its routes ---

    def cloudformation(self) -> Iterator[str]:
        """The stack of three APIs."""
        arn = self.deployment.outputs(STACK)["AuthorizerFunctionArn"]
        self.run(
            "aws cloudformation deploy --stack-name three --template-file examples/template.yaml "
            f"--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --parameter-overrides AuthorizerFunctionArn={arn}"
        )
        outputs = self.deployment.outputs("three")
        yield f"{outputs['RestExampleUrl']}/echo"
        yield f"{outputs['HttpExampleUrl']}/echo"

    def sam(self) -> Iterator[str]:
        """The SAM application, packaged and deployed by the SAM CLI."""
        arn = self.deployment.outputs(STACK)["AuthorizerFunctionArn"]
        source = self.stack.folder / "deploy" / "sam"
        shutil.copytree(ROOT / "infra" / "examples" / "sam", source, dirs_exist_ok=True)
        self.deployment.deploy("sam-orders", "sam/template.yaml", {"AuthorizerFunctionArn": arn})
        yield self.deployment.outputs("sam-orders")["RestUrl"]

    def cdk(self) -> Iterator[str]:
        """The app of the CDK, whose first stack continues the one that the quick start has deployed."""
        assembly = self.stack.folder / "cdk.out"
        context = json.dumps({"package": str(self.folder)})
        shutil.rmtree(assembly, ignore_errors=True)
        check_clients.run(["node", str(CDK)], {"CDK_OUTDIR": str(assembly), "CDK_CONTEXT_JSON": context})
        before = self.physical_ids(STACK)
        self.deployment.client("ssm").put_parameter(
            Name="/cdk-bootstrap/hnb659fds/version", Value="100", Type="String", Overwrite=True
        )
        for name, stack in (("Keygate", STACK), ("Orders", "orders")):
            self.deploy_assembly(assembly, name, stack)
        after = self.physical_ids(STACK)
        # The two set other parameters, and the emulator decides a condition on a list otherwise than AWS.
        resources = json.loads((self.folder / "template.json").read_text(encoding="utf-8"))["Resources"]
        conditional = {name for name, resource in resources.items() if "Condition" in resource}
        kept = {name for name in before if not OF_ONE_DEPLOYMENT.match(name)} - conditional
        if replaced := sorted(name for name in kept if after.get(name) != before[name]):
            raise CheckFailed(f"the construct replaces {', '.join(replaced)} of the stack that it continues")
        outputs = self.deployment.outputs("orders")
        yield outputs["RestUrl"]
        yield outputs["HttpUrl"]

    def deploy_assembly(self, assembly: Path, name: str, stack: str) -> None:
        """Uploads the assets of a synthesized stack, and deploys its template, as `cdk deploy` does."""
        s3, cloudformation = self.deployment.client("s3"), self.deployment.client("cloudformation")
        account = self.deployment.client("sts").get_caller_identity()["Account"]

        def named(text: str) -> str:
            return text.replace("${AWS::AccountId}", account).replace("${AWS::Region}", REGION)

        assets = json.loads((assembly / f"{name}.assets.json").read_text(encoding="utf-8"))["files"]
        template_url = ""
        for asset in assets.values():
            source = assembly / asset["source"]["path"]
            if not source.is_file():
                raise CheckFailed(f"{source} is an asset of {name}, and no file")
            for destination in asset["destinations"].values():
                bucket, key = named(destination["bucketName"]), named(destination["objectKey"])
                if bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
                    s3.create_bucket(Bucket=bucket)
                s3.put_object(Bucket=bucket, Key=key, Body=source.read_bytes())
                if source.name == f"{name}.template.json":
                    template_url = f"{self.deployment.emulator_url}/{bucket}/{key}"
        arguments = {"StackName": stack, "TemplateURL": template_url, "Capabilities": CAPABILITIES}
        if self.exists(stack):
            cloudformation.update_stack(**arguments)
            waiter = "stack_update_complete"
        else:
            cloudformation.create_stack(**arguments)
            waiter = "stack_create_complete"
        cloudformation.get_waiter(waiter).wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def physical_ids(self, stack: str) -> dict[str, str]:
        """The physical ids of a stack's resources by their logical ids."""
        client = self.deployment.client("cloudformation")
        resources = client.describe_stack_resources(StackName=stack)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}

    def terraform(self) -> Iterator[str]:
        """The API of the Terraform example, made from its file."""
        outputs = self.deployment.outputs(STACK)
        yield terraform_example.apply(ROOT / "infra" / "examples" / "terraform", self.deployment, outputs)


@contextlib.contextmanager
def timed(title: str) -> Iterator[None]:
    """Prints how long something takes."""
    started, result = time.monotonic(), "FAILED"
    try:
        yield
        result = "ok    "
    finally:
        print(f"{title:<54} {result}  {time.monotonic() - started:.1f} s", flush=True)


def status(url: str, key: str | None) -> int:
    """The status of a GET request with a key or without one."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def check(release: Release) -> None:
    """Raises CheckFailed unless the quick start works, and its key at all examples until it is deleted."""
    release.quick_start()
    key = release.variable("KEY")
    urls = [release.variable("HELLO")]
    for kind in (release.cloudformation, release.sam, release.terraform, release.cdk):
        with timed(f"examples: {kind.__name__}"):
            urls += [release.address(url) for url in kind()]
    with timed(f"one key at {len(urls)} routes"):
        for url in urls:
            statuses = [status(url, credential) for credential in (key, None, WRONG_KEY)]
            if statuses[0] != 200 or statuses[1] != 401 or statuses[2] not in (401, 403):
                raise CheckFailed(f"{url} responds with {statuses} to the key, to none and to a wrong one")
    with timed("clients in six languages"):
        check_clients.check_programs(next(url for url in urls if url.endswith("/echo")), key)
    with timed("clients generated for TypeScript and Python"):
        check_clients.check_generated(release.variable("KEYGATE_API_URL"), release.variable("KEYGATE_KEY"))
    with timed("the key after its deletion"):
        identity = key.split("_")[2]
        release.run(f"bin/keygate keys delete {shlex.quote(identity)} --yes")
        for url in urls:
            if status(url, key) not in (401, 403):
                raise CheckFailed(f"{url} accepts the deleted key")


def main() -> int:
    package = Path(sys.argv[1]).resolve()
    folder = ROOT / ".local" / "release"
    # The user's AWS configuration is not used.
    for name in [name for name in os.environ if name.startswith(("AWS_", "KEYGATE_KEY", "KEYGATE_API"))]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    # What `finally` stops must stop when `make` is terminated, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stack = Stack(folder, free_ports=True)
    with only_one(folder), tempfile.TemporaryDirectory(prefix="keygate-release-") as home:
        stack.down()
        try:
            stack.emulator_files.mkdir(parents=True, exist_ok=True)
            certificates.issue(stack.identity)
            for service in (stack.dynamodb, stack.emulator, stack.recorder):
                service.start()
            stack.deployment.client("s3").create_bucket(Bucket=ARTIFACTS)
            check(Release(stack, package, Path(home)))
        except (CheckFailed, check_clients.ClientFailed, terraform_example.ExampleError, StackError) as error:
            print(f"release_check: {error}", file=sys.stderr)
            for line in list(stack.logs(None))[-40:]:
                print(line, file=sys.stderr)
            return 1
        finally:
            if not os.environ.get("KEEP"):
                stack.down()
    print("The package works on its own, and one key at the examples of all kinds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
