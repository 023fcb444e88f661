"""Starts the AWS emulator, with KMS HMAC keys of the stack `keygate` whose material follows from their logical ids.

The emulator draws the material of each key at random, so a hash that one local stack has stored says nothing to the
next one. The upgrade test checks credentials whose hashes an earlier version has stored (tests/upgrade.rs), so the
stack `keygate` has the same keys in every emulator. They protect nothing: a local stack has no secrets but those of
tests. Other stacks have random keys, as on AWS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ministack.app import main
from ministack.services import kms
from ministack.services.cloudformation import provisioners

STACK = "keygate"

Creation = Callable[[str, dict, str], tuple[str, dict]]


def with_known_material(create: Creation) -> Creation:
    """Creates a KMS key as the emulator does, and replaces the material of an HMAC key."""

    def created(logical_id: str, properties: dict, stack: str) -> tuple[str, dict]:
        key_id, attributes = create(logical_id, properties, stack)
        key = kms._keys[key_id]
        if stack == STACK and "_hmac_key" in key:
            seed = f"a key of a local stack of Keygate: {logical_id}".encode()
            key["_hmac_key"] = hashlib.shake_256(seed).digest(len(key["_hmac_key"]))
        return key_id, attributes

    return created


if __name__ == "__main__":
    handlers = provisioners._RESOURCE_HANDLERS["AWS::KMS::Key"]
    handlers["create"] = with_known_material(handlers["create"])
    main()
