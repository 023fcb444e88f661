"""Verifies JWTs with PyJWT as it comes.

    pyjwt_verifies.py ISSUER AUDIENCE

TOKENS in the environment is a JSON object with a token to accept, `good`, and an object of tokens to refuse, `bad`, by
what is wrong with them. Any other result ends the run with an error.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request

import jwt


def main(issuer: str, audience: str) -> None:
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=30) as response:
        keys = jwt.PyJWKClient(json.load(response)["jwks_uri"])

    def verify(token: str) -> dict:
        key = keys.get_signing_key_from_jwt(token)
        required = {"require": ["exp", "iss", "aud", "sub"]}
        read = jwt.decode_complete(token, key, algorithms=["RS256"], issuer=issuer, audience=audience, options=required)
        # PyJWT leaves this to its users.
        if read["header"].get("typ") != "at+jwt":
            raise jwt.InvalidTokenError("not an access token")
        return read["payload"]

    tokens = json.loads(os.environ["TOKENS"])
    claims = verify(tokens["good"])
    assert claims["sub"] == claims["client_id"], claims
    for about, token in tokens["bad"].items():
        try:
            verify(token)
        except jwt.PyJWTError:
            continue
        raise AssertionError(about)
    print("every token was judged right")


if __name__ == "__main__":
    main(*sys.argv[1:])
