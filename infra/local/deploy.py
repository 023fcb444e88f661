"""Deploys Keygate and the example APIs into a running local stack, and writes the addresses to a file.

The SAM CLI deploys the templates as to AWS. This script then adds the resources that the emulator does not create, from
the same files: gateway responses from the import document, and in DynamoDB Local the deployed tables.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import boto3
import yaml
from botocore.config import Config

from keygate_command import Refused, bootstrap
from services import StackError

INFRA = Path(__file__).resolve().parents[1]
ROOT = INFRA.parent
# The keys page as it is built. The function that serves it reads the files beside its program.
PAGE = ROOT / "console" / "dist"
SAM = ROOT / ".local" / "tools" / "cli" / "bin" / "sam"

# The deployed templates and the import document, by their paths from the root of the repository.
TEMPLATE, DOCUMENT = "target/infra/template.yaml", "target/infra/openapi.yaml"
EXAMPLES_TEMPLATE = "infra/examples/template.yaml"

STACK = "keygate"
EXAMPLES_STACK = "keygate-examples"
ARTIFACTS = "keygate-local-artifacts"
REGION = "us-east-1"
# DynamoDB Local accepts letters and digits only. The credentials belong to no account.
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "keygatelocal", "keygatelocal"

ADMINISTRATOR = {"workspace": "acme", "user": "alice@example.com"}


class Deployment:
    """Keygate in the emulator of one local stack."""

    def __init__(self, folder: Path, emulator_url: str, dynamodb_url: str, oauth_url: str) -> None:
        self.folder = folder
        self.emulator_url = emulator_url
        self.dynamodb_url = dynamodb_url
        self.oauth_url = oauth_url
        self.session = boto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)

    def client(self, service: str, url: str = ""):
        """A client of one of the emulator's services, or of a service at another address."""
        retries = Config(retries={"mode": "standard"}, read_timeout=120)
        return self.session.client(service, endpoint_url=url or self.emulator_url, config=retries)

    def stage(self, binaries: Path) -> None:
        """Merges the template, and copies the templates and the functions to where their relative paths expect them.

        Without symbols: the emulator keeps every copy of a function in memory, and debug builds are large.
        """
        if not PAGE.is_dir():
            raise StackError("the keys page is not built: run `make console`")
        run([sys.executable, "-B", str(INFRA / "merge.py")], os.environ)
        staged = self.folder / "deploy"
        shutil.rmtree(staged, ignore_errors=True)
        for templates in (Path("target", "infra"), Path("infra", "examples")):
            shutil.copytree(ROOT / templates, staged / templates)
        for name in function_names():
            bootstrap_file = staged / "target" / "lambda" / name / "bootstrap"
            bootstrap_file.parent.mkdir(parents=True)
            run(["strip", "--preserve-dates", "-o", str(bootstrap_file), str(binaries / name)], os.environ)
        shutil.copytree(PAGE, staged / "target" / "lambda" / "console" / "page")

    def deploy(self, stack: str, template: str, parameters: Mapping[str, str]) -> None:
        """Deploys one staged template, by its path from the root of the repository, with the SAM CLI."""
        s3 = self.client("s3")
        if ARTIFACTS not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=ARTIFACTS)
        command = [str(SAM), "deploy", "--template-file", str(self.folder / "deploy" / template)]
        command += ["--stack-name", stack, "--s3-bucket", ARTIFACTS, "--s3-prefix", stack, "--no-progressbar"]
        command += ["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        command += ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
        if parameters:
            # In quotes, as the SAM CLI reads them: a value may be JSON.
            overrides = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
            command += ["--parameter-overrides", *overrides]
        environment = os.environ | aws_environment(self.emulator_url)
        # Its own folder, so that the user's configuration is neither read nor written.
        environment |= {"SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "0.5"}
        environment |= {"__SAM_CLI_APP_DIR": str(self.folder / "sam")}
        run(command, environment)

    def outputs(self, stack: str) -> dict[str, str]:
        """A stack's outputs by name."""
        (description,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}

    def put_gateway_responses(self, origins: str, stack: str = STACK) -> None:
        """Gives a management API the gateway responses of its document, which the emulator does not import."""
        document = yaml.safe_load((self.folder / "deploy" / DOCUMENT).read_text(encoding="utf-8"))
        keygate = self.outputs(stack)
        self.put_responses(document, keygate["ApiId"], keygate["StageName"], origins)

    def put_gateway_responses_of_examples(self) -> None:
        """Gives the REST API of the examples those of its own document."""
        examples = self.template(EXAMPLES_TEMPLATE)["Resources"]["RestExampleApi"]["Properties"]
        api = self.outputs(EXAMPLES_STACK)["RestExampleApiId"]
        self.put_responses(examples["DefinitionBody"], api, examples["StageName"], "")

    def put_responses(self, document: Mapping, api: str, stage: str, origins: str) -> None:
        """Gives one REST API the gateway responses of a document."""
        gateway = self.client("apigateway")
        for response_type, response in document["x-amazon-apigateway-gateway-responses"].items():
            headers = allowing(origins, response["responseParameters"])
            gateway.put_gateway_response(
                restApiId=api, responseType=response_type, **(response | {"responseParameters": headers})
            )
        gateway.create_deployment(restApiId=api, stageName=stage)

    def create_tables(self, stack: str = STACK) -> list[str]:
        """Creates in DynamoDB Local the tables that a stack has in the emulator, and returns their names.

        The templates are the only definition: the emulator's description of each table is what is created, with the TTL
        attribute from the template, which the emulator does not describe.
        """
        deployed, local = self.client("dynamodb"), self.client("dynamodb", self.dynamodb_url)
        tables = self.resources("AWS::DynamoDB::Table", stack)
        existing = local.list_tables()["TableNames"]
        for name, properties in tables.items():
            definition = table_definition(deployed.describe_table(TableName=name)["Table"])
            if name not in existing:
                local.create_table(BillingMode="PAY_PER_REQUEST", **definition)
                time_to_live = properties.get("TimeToLiveSpecification")
                if time_to_live:
                    local.update_time_to_live(TableName=name, TimeToLiveSpecification=time_to_live)
            elif table_definition(local.describe_table(TableName=name)["Table"]) != definition:
                raise StackError(
                    f"the definition of table {name} has changed since it was created: "
                    "run `make down` (this forgets every local key), then `make dev` again"
                )
        return sorted(tables)

    def administrator_key(self, api_url: str, known_key: str | None) -> str:
        """The known administrator key if it still works, else a new one."""
        if known_key and works(api_url, known_key):
            return known_key
        environment = os.environ | aws_environment(self.emulator_url)
        try:
            try:
                name = "first administrator key"
                return bootstrap(STACK, **ADMINISTRATOR, name=name, environment=environment)["key"]
            except Refused as refusal:
                if not refusal.has_users:
                    raise
                # The key was deleted, or the file `env` was lost.
                name = f"administrator key of {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
                return bootstrap(STACK, **ADMINISTRATOR, name=name, break_glass=True, environment=environment)["key"]
        except Refused as refusal:
            raise StackError(f"the workspace cannot be bootstrapped: {refusal}") from None

    def environment(self, calls: Path, distinct_calls: Path, known_key: str | None) -> dict[str, str]:
        """The variables that a shell or a test needs to use the deployment: the content of the file `env`."""
        keygate, examples = self.outputs(STACK), self.outputs(EXAMPLES_STACK)
        rest_stage = examples["RestExampleUrl"].rpartition("/")[2]
        websocket_stage = examples["WebSocketExampleUrl"].rpartition("/")[2]
        execute, api_url = self.execute_url(), self.api_url()
        configuration = self.client("lambda").get_function_configuration
        authorizer = configuration(FunctionName=keygate["AuthorizerFunctionName"])
        creator = configuration(FunctionName=keygate["CreateKeyFunctionName"])
        rotator = self.functions()["rotate-key"]
        return {
            "KEYGATE_API_URL": api_url,
            "KEYGATE_OAUTH_URL": self.oauth_url,
            "KEYGATE_ADMIN_KEY": self.administrator_key(api_url, known_key),
            "KEYGATE_REST_EXAMPLE_URL": f"{execute}/{examples['RestExampleApiId']}/{rest_stage}",
            "KEYGATE_HTTP_EXAMPLE_URL": f"{execute}/{examples['HttpExampleApiId']}",
            "KEYGATE_WEBSOCKET_EXAMPLE_URL": f"{execute}/{examples['WebSocketExampleApiId']}/{websocket_stage}",
            "KEYGATE_DYNAMODB_URL": self.dynamodb_url,
            # AWS tools should use DynamoDB Local's tables, not the emulator's.
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_url,
            "KEYGATE_KEYS_TABLE": keygate["KeysTableName"],
            "KEYGATE_USAGE_TABLE": keygate["UsageTableName"],
            "KEYGATE_TOKENS_TABLE": keygate["TokensTableName"],
            "KEYGATE_WORKSPACES_TABLE": keygate["WorkspacesTableName"],
            "KEYGATE_ACTIVITY_TABLE": keygate["ActivityTableName"],
            "KEYGATE_LEGACY_KEYS_TABLE": keygate["LegacyKeysTableName"],
            "KEYGATE_AUTHORIZER_FUNCTION": keygate["AuthorizerFunctionName"],
            "KEYGATE_CREATE_KEY_FUNCTION": keygate["CreateKeyFunctionName"],
            "KEYGATE_USER_REMOVAL_FUNCTION": keygate["ProcessUserRemovalFunctionName"],
            "KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION": keygate["ImportLegacyKeysFunctionName"],
            "KEYGATE_PEPPER_KEY": authorizer["Environment"]["Variables"]["PEPPER_KEY"],
            "KEYGATE_PEPPER_VERSIONS": authorizer["Environment"]["Variables"]["PEPPER_VERSIONS"],
            "KEYGATE_CURRENT_PEPPER_VERSION": authorizer["Environment"]["Variables"]["CURRENT_PEPPER_VERSION"],
            "KEYGATE_IDEMPOTENT_CREATE_MAC_KEY": creator["Environment"]["Variables"]["IDEMPOTENT_CREATE_MAC_KEY"],
            "KEYGATE_IDEMPOTENT_ROTATE_MAC_KEY": rotator["Environment"]["Variables"]["IDEMPOTENT_ROTATE_MAC_KEY"],
            "KEYGATE_CALLS_LOG": str(calls),
            "KEYGATE_DISTINCT_CALLS": str(distinct_calls),
            "KEYGATE_CORS_ALLOW_ORIGINS": creator["Environment"]["Variables"].get("CORS_ALLOW_ORIGINS", ""),
            "KEYGATE_STACK": STACK,
            "KEYGATE_EXAMPLES_STACK": EXAMPLES_STACK,
            **aws_environment(self.emulator_url),
        }

    def execute_url(self) -> str:
        """The address in the emulator below which each API has its own, by its id."""
        return f"{self.emulator_url}/_aws/execute-api"

    def api_url(self) -> str:
        """The address of the management API."""
        keygate = self.outputs(STACK)
        return f"{self.execute_url()}/{keygate['ApiId']}/{keygate['StageName']}"

    def functions(self) -> dict[str, dict]:
        """The configuration of each deployed function of ours, by the name of its binary."""
        client = self.client("lambda")
        return {
            Path(properties["CodeUri"]).name: client.get_function_configuration(FunctionName=name)
            for name, properties in self.resources("AWS::Lambda::Function").items()
        }

    def resources(self, resource_type: str, stack: str = STACK) -> dict[str, dict]:
        """The deployed template's properties of each resource of a type, by the resource's physical name."""
        template = self.template(TEMPLATE)
        deployed = self.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        return {
            resource["PhysicalResourceId"]: template["Resources"][resource["LogicalResourceId"]]["Properties"]
            for resource in deployed
            if resource["ResourceType"] == resource_type
        }

    def template(self, path: str) -> dict:
        """A staged template, by its path from the root of the repository."""
        return yaml.load((self.folder / "deploy" / path).read_text(encoding="utf-8"), Loader=TemplateLoader)


def allowing(origins: str, headers: Mapping[str, object]) -> dict[str, str]:
    """The headers of a gateway response for the allowed origins, or without any.

    The only values that are not plain texts are those that depend on the parameter CorsAllowOrigins.
    """
    plain = {name: value for name, value in headers.items() if isinstance(value, str)}
    if not origins or len(plain) == len(headers):
        return plain
    allow_origin = {"gatewayresponse.header.Access-Control-Allow-Origin": "method.request.header.Origin"}
    return plain | allow_origin | {"gatewayresponse.header.Vary": "'Origin'"}


class TemplateLoader(yaml.SafeLoader):
    """Reads a CloudFormation template without resolving its short tags (such as `!Ref`)."""


TemplateLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def aws_environment(emulator_url: str) -> dict[str, str]:
    """The variables that make any AWS SDK or tool call the emulator only."""
    return {
        "AWS_ENDPOINT_URL": emulator_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }


def function_names() -> list[str]:
    """The names of the functions, which are those of their binaries."""
    return sorted(source.stem for source in (ROOT / "functions" / "src" / "bin").glob("*.rs"))


def table_definition(description: dict) -> dict:
    """The comparable part of a table's description, in a fixed order."""

    def by(name: str, entries: list[dict]) -> list[dict]:
        return sorted(entries, key=lambda entry: entry[name])

    def projection(index: dict) -> dict:
        attributes = index["Projection"].get("NonKeyAttributes")
        return index["Projection"] | ({"NonKeyAttributes": sorted(attributes)} if attributes else {})

    definition: dict = {
        "TableName": description["TableName"],
        "AttributeDefinitions": by("AttributeName", description["AttributeDefinitions"]),
        "KeySchema": by("KeyType", description["KeySchema"]),
    }
    if indexes := description.get("GlobalSecondaryIndexes"):
        definition["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index["IndexName"],
                "KeySchema": by("KeyType", index["KeySchema"]),
                "Projection": projection(index),
            }
            for index in by("IndexName", indexes)
        ]
    if stream := description.get("StreamSpecification"):
        definition["StreamSpecification"] = stream
    return definition


def works(api_url: str, key: str) -> bool:
    """Whether the management API accepts a key."""
    request = urllib.request.Request(f"{api_url}/api-keys?limit=1", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def write_dotenv(path: Path, environment: Mapping[str, str]) -> None:
    """Writes the variables quoted for a shell, to a file that only its owner can read."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)


def read_dotenv(path: Path) -> dict[str, str]:
    """Reads a file of `write_dotenv`; empty if it does not exist."""
    if not path.is_file():
        return {}
    assignments = [line.partition("=") for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: "".join(shlex.split(value)) for name, _, value in assignments}


def run(command: list[str], environment: Mapping[str, str]) -> None:
    """Runs a command; raises an error with its output if it fails."""
    done = subprocess.run(
        command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError(f"`{' '.join(command[:2])}` failed:\n{(done.stdout + done.stderr).strip()}")
