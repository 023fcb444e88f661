"""Returns what the backend is told about the caller."""


def handler(event, context):
    """The response to a request that the authorizer has allowed."""
    caller = event["requestContext"]["authorizer"]["lambda"]
    return {"user": caller["userId"], "workspace": caller["workspaceId"], "scopes": caller["scopes"]}
