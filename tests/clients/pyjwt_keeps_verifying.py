"""Verifies JWTs with PyJWT for as long as they come.

    pyjwt_keeps_verifying.py KEYS_URL ISSUER AUDIENCE SECONDS

SECONDS is how long it keeps keys. Each line of the standard input is a token. For each it prints `accepted`, or
`refused: ` and the reason.
"""

from __future__ import annotations

import sys

import jwt


def main(url: str, issuer: str, audience: str, seconds: str) -> None:
    keys = jwt.PyJWKClient(url, lifespan=int(seconds))
    for line in sys.stdin:
        token = line.strip()
        try:
            key = keys.get_signing_key_from_jwt(token)
            jwt.decode(token, key, algorithms=["RS256"], issuer=issuer, audience=audience)
            print("accepted", flush=True)
        except jwt.PyJWTError as error:
            print(f"refused: {error}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
