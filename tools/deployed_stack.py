"""The stack that the smoke test works on, and its error messages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cached_property

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


class CommandError(Exception):
    """A command failed; the message tells the operator the reason."""


class DeployedStack:
    """A deployed stack of Keygate, in the account and Region of the operator's AWS configuration.

    Reading it takes `cloudformation:DescribeStacks`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.session = boto3.Session()
        (stack,) = self.session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        self.id: str = stack["StackId"]
        # When it was last deployed, in Unix seconds.
        self.deployed_at: float = stack.get("LastUpdatedTime", stack["CreationTime"]).timestamp()
        self.outputs: dict[str, str] = {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]}
        self.parameters: dict[str, str] = {
            entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])
        }

    def client(self, service: str):
        """A client of an AWS service. API Gateway's control plane and IAM's simulator throttle early."""
        return self.session.client(service, config=Config(retries={"mode": "standard", "max_attempts": 8}))

    @cached_property
    def template(self) -> dict:
        """The deployed template, after its transforms. It takes `cloudformation:GetTemplate`."""
        deployed = self.client("cloudformation").get_template(StackName=self.name, TemplateStage="Processed")
        body = deployed["TemplateBody"]
        return body if isinstance(body, dict) else json.loads(body)

    @cached_property
    def pseudo_parameters(self) -> dict[str, str]:
        """The pseudo parameters that CloudFormation sets for the stack, from its ARN."""
        _, partition, _, region, account, _ = self.id.split(":", 5)
        suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
        values = {"Partition": partition, "Region": region, "AccountId": account, "URLSuffix": suffix}
        return {
            f"AWS::{name}": value for name, value in (values | {"StackName": self.name, "StackId": self.id}).items()
        }

    @cached_property
    def _resources(self) -> list[dict]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        return list(pages.search("StackResourceSummaries"))

    def resources(self, resource_type: str = "") -> dict[str, str]:
        """The physical ids of the stack's resources, of one type or of all, by their names in the template.

        It takes `cloudformation:ListStackResources`.
        """
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in self._resources
            if resource_type in ("", resource["ResourceType"])
        }


def run(command: str, main: Callable[[], int]) -> int:
    """Runs a command and returns its exit status; an expected failure is one line that begins with its name."""
    try:
        return main()
    except (BotoCoreError, ClientError, CommandError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
