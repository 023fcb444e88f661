"""The authorizer that a team would write with boto3: the same key, the same table, the same pepper.

It checks the same things as Keygate's, but writes nothing after its response and knows one kind of event.
"""

import hashlib
import hmac
import os
import re
import time
import zlib

import boto3

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SHAPE = re.compile(r"kg_key_([0-9A-Z]{26})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")

# A client and not a resource: those are twice as slow to start.
dynamodb = boto3.client("dynamodb")
kms_key, version = os.environ["PEPPER_KEY"], os.environ["CURRENT_PEPPER_VERSION"]
label = f"keygate-pepper-{version}"
pepper = boto3.client("kms").generate_mac(KeyId=kms_key, MacAlgorithm="HMAC_SHA_256", Message=label.encode())["Mac"]


def number(digits, alphabet):
    value = 0
    for digit in digits:
        value = value * len(alphabet) + alphabet.index(digit)
    return value


def parse(token):
    match = SHAPE.fullmatch(token)
    if not match or number(match[3], BASE62) != zlib.crc32(token[:-6].encode()):
        return None
    return match[1], number(match[1], CROCKFORD).to_bytes(16, "big"), number(match[2], BASE62).to_bytes(32, "big")


def handler(event, context):
    scheme, _, token = event.get("authorizationToken", "").partition(" ")
    credential = parse(token.strip()) if scheme.lower() == "bearer" else None
    if not credential:
        raise Exception("Unauthorized")
    key_id, id_bytes, secret = credential
    read = dynamodb.get_item(TableName=os.environ["KEYS_TABLE"], Key={"key_id": {"S": key_id}}, ConsistentRead=True)
    item = read.get("Item")
    mac = hmac.new(pepper, digestmod=hashlib.sha256)
    for field in (b"keygate/credential/v1", b"key", id_bytes, secret):
        mac.update(len(field).to_bytes(4, "big") + field)
    if (
        not item
        or item["pepper_version"]["N"] != version
        or not hmac.compare_digest(mac.digest(), item["hash"]["B"])
        or ("expires_at" in item and int(item["expires_at"]["N"]) <= time.time())
        or "disabled_at" in item
    ):
        raise Exception("Unauthorized")
    stage = "/".join(event["methodArn"].split("/")[:2])
    return {
        "principalId": item["user_id"]["S"],
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": f"{stage}/*"}],
        },
        "context": {
            "userId": item["user_id"]["S"],
            "workspaceId": item["workspace_id"]["S"],
            "keyId": key_id,
            "keyName": item["name"]["S"],
            "scopes": " ".join(scope["S"] for scope in item["scopes"]["L"]),
            "credential": "api_key",
        },
    }
