"""Creates a key, finds it in the list and deletes it, with a client of openapi-python-client."""

import os

from keygate_client import AuthenticatedClient
from keygate_client.api.keys import create_key, delete_key, get_key, list_keys
from keygate_client.models import CreateKeyRequest, KeyPage, KeyWithCredential

NAME = "Generated in Python"


def main() -> None:
    """Prints the status of a request for the deleted key."""
    client = AuthenticatedClient(base_url=os.environ["KEYGATE_API_URL"], token=os.environ["KEYGATE_KEY"])
    created = create_key.sync(client=client, body=CreateKeyRequest(name=NAME, scopes=["orders:read"], expires_in=3600))
    if not isinstance(created, KeyWithCredential):
        raise SystemExit(f"the key is not created: {created}")
    listed = list_keys.sync(client=client, name=NAME)
    if not isinstance(listed, KeyPage) or created.id not in [key.id for key in listed.items]:
        raise SystemExit(f"the list does not have the key: {listed}")
    deleted = delete_key.sync_detailed(created.id, client=client)
    if deleted.status_code != 204:
        raise SystemExit(f"the deletion responds with {deleted.status_code}")
    print(int(get_key.sync_detailed(created.id, client=client).status_code))


main()
