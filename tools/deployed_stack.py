"""The stack that the operators' commands work on, and their error messages."""

from __future__ import annotations

import sys
from collections.abc import Callable

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
        self.session = boto3.Session()
        (stack,) = self.session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        self.outputs: dict[str, str] = {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]}
        self.parameters: dict[str, str] = {
            entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])
        }

    def client(self, service: str):
        """A client of an AWS service."""
        return self.session.client(service, config=Config(retries={"mode": "standard"}))


def run(command: str, main: Callable[[], int]) -> int:
    """Runs a command and returns its exit status; an expected failure is one line that begins with its name."""
    try:
        return main()
    except (BotoCoreError, ClientError, CommandError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
