"""Creates the first administrator key of a workspace: a direct invocation of create-key, authorised by IAM.

No API Gateway can send the event, so this works for whoever may invoke the function in the AWS account, and for
nobody else. There is no default key and nothing to switch off afterwards: create-key refuses to bootstrap a workspace
a second time.

    bootstrap.py --stack keygate --workspace acme --user-id alice@example.com --name "first administrator key"
"""

from __future__ import annotations

import argparse
import json
import sys

from deployed_stack import DeployedStack, run


class Refused(Exception):
    """What create-key answered instead of a key: a problem document, or the error of a function that failed."""

    def __init__(self, answer: dict) -> None:
        faults = [f"{fault['pointer']} {fault['detail']}" for fault in answer.get("errors", [])]
        reason = answer.get("detail") or answer.get("errorMessage") or json.dumps(answer)
        super().__init__("; ".join(faults) or reason)
        self.has_users = answer.get("code") == "already_bootstrapped"


def bootstrap(lambda_client, function: str, workspace: str, user: str, name: str, break_glass: bool) -> dict:
    """Invokes create-key and returns its answer, which holds the new key's `id` and, this once, the `key` itself.

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
            print("bootstrap: if none of them can, say BREAK_GLASS=1; the audit trail will tell", file=sys.stderr)
        return 1
    print(
        f"Administrator key {answer['id']} of {arguments.user_id} in workspace {arguments.workspace}.\n"
        "It is shown this once and stored nowhere: put it into your secret store now, use it to create keys with\n"
        "fewer scopes, and delete it when they do the work.\n",
        file=sys.stderr,
    )
    print(answer["key"])
    return 0


if __name__ == "__main__":
    sys.exit(run("bootstrap", main))
