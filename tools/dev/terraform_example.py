"""Makes the API of the Terraform example in the emulator, from its files.

Terraform is in no package registry. So the files are parsed, each reference must lead to something that they declare,
and the resources of API Gateway and Lambda are made by the operations of AWS that have their names, with their
arguments: an argument that AWS does not know is an error.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy import REGION, ROOT, Deployment

PYTHON = ROOT / ".local" / "tools" / "release" / "bin" / "python"
PARSE = "import hcl2, json, sys; json.dump([hcl2.load(open(name)) for name in sys.argv[1:]], sys.stdout)"
EXPRESSION = re.compile(r"\$\{([^{}]+)\}")
REFERENCE = re.compile(r"\b((?:data\.)?(?:aws|archive)_[a-z0-9_]+|var|local)\.([a-z_]+)")
# An argument is the member of an operation's input, unless its name differs.
RENAMED = {"identity_sources": "IdentitySource", "authorizer_result_ttl_in_seconds": "AuthorizerResultTtlInSeconds"}
RENAMED_OF_STAGES = {"name": "StageName"}


class ExampleError(Exception):
    """A file that names something it does not declare."""


def apply(folder: Path, deployment: Deployment, outputs: Mapping[str, str]) -> str:
    """Makes the API of the example beside a stack of Keygate with these outputs; returns the URL of its route."""
    files = sorted(str(path) for path in folder.glob("*.tf"))
    parsed = subprocess.run([str(PYTHON), "-c", PARSE, *files], check=True, capture_output=True, text=True).stdout
    return Example(folder, json.loads(parsed), deployment, outputs).apply()


class Example:
    """The parsed files, and the values of the expressions in them."""

    def __init__(self, folder: Path, files: list[dict], deployment: Deployment, outputs: Mapping[str, str]) -> None:
        self.folder = folder
        self.deployment = deployment
        self.account = deployment.client("sts").get_caller_identity()["Account"]
        self.resources = dict(entries(files, "resource"))
        self.data = dict(entries(files, "data"))
        self.variables = {name.strip('"') for block in of(files, "variable") for name in block}
        self.locals = {name: value for block in of(files, "locals") for name, value in block.items()}
        self.outputs = {name.strip('"'): block["value"] for each in of(files, "output") for name, block in each.items()}
        self.values: dict[str, str] = {
            "var.region": REGION,
            "data.aws_caller_identity.current.account_id": self.account,
            "data.aws_partition.current.partition": "aws",
            "aws_iam_role.orders.arn": f"arn:aws:iam::{self.account}:role/orders",
        }
        self.values |= {f'aws_cloudformation_stack.keygate.outputs["{name}"]': value for name, value in outputs.items()}
        text = json.dumps(files)
        if faults := sorted(self.unknown(text)):
            raise ExampleError(f"the Terraform example refers to {', '.join(faults)}, which it does not declare")

    def unknown(self, text: str) -> Iterator[str]:
        """The references that lead to nothing."""
        for kind, name in set(REFERENCE.findall(text)):
            if kind == "var":
                known = name in self.variables
            elif kind == "local":
                known = name in self.locals
            elif kind.startswith("data."):
                known = (kind.removeprefix("data."), name) in self.data
            else:
                known = (kind, name) in self.resources
            if not known:
                yield f"{kind}.{name}"

    def value(self, expression: object) -> object:
        """The value of an argument: texts in it that refer to something are replaced."""
        if isinstance(expression, list):
            return [self.value(element) for element in expression]
        if not isinstance(expression, str):
            return expression
        return EXPRESSION.sub(lambda match: self.referred(match[1].strip()), expression.strip('"'))

    def referred(self, reference: str) -> str:
        if reference.startswith("local."):
            return str(self.value(self.locals[reference.removeprefix("local.")]))
        if reference not in self.values:
            raise ExampleError(f"the Terraform example refers to {reference}, which the check does not know")
        return self.values[reference]

    def arguments(self, kind: str, name: str, renamed: Mapping[str, str] = RENAMED) -> dict[str, object]:
        """The arguments of a resource as the members of an operation's input."""
        block = self.resources[kind, name]
        return {
            renamed.get(argument, "".join(word.capitalize() for word in argument.split("_"))): self.value(value)
            for argument, value in block.items()
            if not argument.startswith("__")
        }

    def apply(self) -> str:
        gateway, functions = self.deployment.client("apigatewayv2"), self.deployment.client("lambda")
        api = gateway.create_api(**self.arguments("aws_apigatewayv2_api", "orders"))["ApiId"]
        self.values |= {
            "aws_apigatewayv2_api.orders.id": api,
            "aws_apigatewayv2_api.orders.execution_arn": f"arn:aws:execute-api:{REGION}:{self.account}:{api}",
            "aws_apigatewayv2_api.orders.api_endpoint": f"https://{api}.execute-api.{REGION}.amazonaws.com",
        }
        function = {
            argument: value
            for argument, value in self.resources["aws_lambda_function", "orders"].items()
            if argument not in ("filename", "source_code_hash") and not argument.startswith("__")
        }
        created = functions.create_function(
            FunctionName=self.value(function.pop("function_name")),
            Code={"ZipFile": self.archive()},
            **{argument.capitalize(): self.value(value) for argument, value in function.items()},
        )
        self.values |= {
            "aws_lambda_function.orders.arn": created["FunctionArn"],
            "aws_lambda_function.orders.function_name": created["FunctionName"],
        }
        authorizer = gateway.create_authorizer(**self.arguments("aws_apigatewayv2_authorizer", "keygate"))
        self.values["aws_apigatewayv2_authorizer.keygate.id"] = authorizer["AuthorizerId"]
        integration = gateway.create_integration(**self.arguments("aws_apigatewayv2_integration", "orders"))
        self.values["aws_apigatewayv2_integration.orders.id"] = integration["IntegrationId"]
        gateway.create_route(**self.arguments("aws_apigatewayv2_route", "orders"))
        gateway.create_stage(**self.arguments("aws_apigatewayv2_stage", "orders", RENAMED_OF_STAGES))
        for name in ("authorizer", "orders"):
            functions.add_permission(StatementId=f"terraform-{name}", **self.arguments("aws_lambda_permission", name))
        return str(self.value(self.outputs["orders_url"]))

    def archive(self) -> bytes:
        """The archive of the backend, as the data source of the example makes it."""
        source = str(self.data["archive_file", "orders"]["source_file"]).strip('"').replace("${path.module}/", "")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.write(self.folder / source, source)
        return buffer.getvalue()


def of(files: list[dict], block: str) -> Iterator[dict]:
    """The blocks of a kind in all files, without the marks of the parser."""
    for file in files:
        for each in file.get(block, []):
            yield {name: value for name, value in each.items() if not name.startswith("__")}


def entries(files: list[dict], block: str) -> Iterator[tuple[tuple[str, str], dict]]:
    """The resources or data sources by type and name."""
    for each in of(files, block):
        for kind, named in each.items():
            for name, body in named.items():
                if not name.startswith("__"):
                    yield (kind.strip('"'), name.strip('"')), body
