"""Returns what the backend is told about the caller."""

import json


def handler(event, context):
    """The response to a request that the authorizer has allowed."""
    caller = event["requestContext"]["authorizer"]
    body = {"user": caller["userId"], "workspace": caller["workspaceId"], "scopes": caller["scopes"]}
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
