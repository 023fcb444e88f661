"""Creates the first administrator key of a workspace: a direct invocation of create-key, authorised by IAM.

API Gateway cannot send this event, so only principals that may invoke the function can bootstrap. A default key does
not exist, and nothing must be switched off afterwards: create-key refuses to bootstrap a workspace a second time.

    bootstrap.py --stack keygate --workspace acme --user-id alice@example.com --name "first administrator key"
"""

from __future__ import annotations

import argparse
import json
import sys

from deployed_stack import DeployedStack, run


class Refused(Exception):
    """A response of create-key without a key: a problem document, or the error of a failed function."""

    def __init__(self, answer: dict) -> None:
        faults = [f"{fault['pointer']} {fault['detail']}" for fault in answer.get("errors", [])]
        reason = answer.get("detail") or answer.get("errorMessage") or json.dumps(answer)
        super().__init__("; ".join(faults) or reason)
        self.has_users = answer.get("code") == "already_bootstrapped"


def bootstrap(lambda_client, function: str, workspace: str, user: str, name: str, break_glass: bool) -> dict:
    """Invokes create-key and returns its response, with the new key's `id` and, only this time, the `key` itself.

    `break_glass` creates an administrator key in a workspace that has users already; the audit trail says so.
    """
    event: dict = {"bootstrap": {"workspace_id": workspace, "user_id": user, "name": name}}
    if break_glass:
        event["bootstrap"]["break_glass"] = True
    response = lambda_client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response or "key" not in answer:
        raise Refused(answer)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--user-id", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--break-glass", action="store_true")
    arguments = parser.parse_args()
    stack = DeployedStack(arguments.stack)
    try:
        answer = bootstrap(
            stack.client("lambda"),
            stack.outputs["CreateKeyFunctionName"],
            arguments.workspace,
            arguments.user_id,
            arguments.name,
            arguments.break_glass,
        )
    except Refused as refusal:
        print(f"bootstrap: create-key refused: {refusal}", file=sys.stderr)
        if refusal.has_users:
            print("bootstrap: if no administrator key works, set BREAK_GLASS=1; this is audited", file=sys.stderr)
        return 1
    print(
        f"Administrator key {answer['id']} of {arguments.user_id} in workspace {arguments.workspace}.\n"
        "It is shown only now and not stored: put it into your secret store, use it to create keys with\n"
        "fewer scopes, and delete it once they replace it.\n",
        file=sys.stderr,
    )
    print(answer["key"])
    return 0


if __name__ == "__main__":
    sys.exit(run("bootstrap", main))
