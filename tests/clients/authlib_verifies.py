"""Verifies JWTs with authlib's validator of RFC 9068 as it comes.

    authlib_verifies.py ISSUER AUDIENCE

TOKENS in the environment is a JSON object with a token to accept, `good`, and an object of tokens to refuse, `bad`, by
what is wrong with them. Any other result ends the run with an error.
"""

from __future__ import annotations

import json
import os
import sys

import requests
from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator


class Validator(JWTBearerTokenValidator):
    """A validator with the keys that the metadata names."""

    def get_jwks(self) -> dict:
        metadata = requests.get(f"{self.issuer}/.well-known/oauth-authorization-server", timeout=30).json()
        return requests.get(metadata["jwks_uri"], timeout=30).json()


def main(issuer: str, audience: str) -> None:
    validator = Validator(issuer, audience)

    def verify(token: str) -> dict:
        claims = validator.authenticate_token(token)
        validator.validate_token(claims, ["orders:read"], None)
        return claims

    tokens = json.loads(os.environ["TOKENS"])
    claims = verify(tokens["good"])
    assert claims["sub"] == claims["client_id"], claims
    for about, token in tokens["bad"].items():
        try:
            verify(token)
        except InvalidTokenError:
            continue
        raise AssertionError(about)
    print("every token was judged right")


if __name__ == "__main__":
    main(*sys.argv[1:])
