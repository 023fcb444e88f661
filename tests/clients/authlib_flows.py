"""Every flow of the OAuth API, run by authlib as it comes.

    authlib_flows.py ISSUER URL_BEHIND_THE_AUTHORIZER

The key is in the environment, as KEY. Any unexpected result ends the run with an error.
"""

from __future__ import annotations

import os
import sys

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

# The local stack has no TLS.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"


def main(issuer: str, api: str) -> None:
    key = os.environ["KEY"]
    client_id = key.split("_")[2]
    server = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=30).json()
    for method in server["token_endpoint_auth_methods_supported"]:
        session = OAuth2Session(
            client_id,
            key,
            token_endpoint_auth_method=method,
            scope="orders:read offline_access",
        )
        first = session.fetch_token(server["token_endpoint"], grant_type="client_credentials")
        assert session.get(api, timeout=30).status_code == 200

        session.refresh_token(server["token_endpoint"], refresh_token=first["refresh_token"])
        assert session.token["access_token"] != first["access_token"]
        assert session.get(api, timeout=30).status_code == 200

        told = session.introspect_token(server["introspection_endpoint"], token=session.token["access_token"]).json()
        assert (told["active"], told["client_id"]) == (True, client_id), told

        revoked = session.revoke_token(server["revocation_endpoint"], token=session.token["access_token"])
        assert revoked.status_code == 200, revoked
        assert session.get(api, timeout=30).status_code == 401

        try:
            session.refresh_token(server["token_endpoint"], refresh_token=first["refresh_token"])
        except OAuthError as error:
            assert error.error == "invalid_grant", error
        else:
            raise AssertionError("a refresh token was good for two")
        old = requests.get(
            api,
            headers={"Authorization": f"Bearer {first['access_token']}"},
            timeout=30,
        )
        assert old.status_code == 401, "its family has ended"
    print("every flow succeeded")


if __name__ == "__main__":
    main(*sys.argv[1:])
