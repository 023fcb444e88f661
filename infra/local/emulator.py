"""Starts the AWS emulator, with three changes.

KMS HMAC keys of the stack `keygate` have a material that follows from their logical ids.

The emulator draws the material of each key at random, so a hash that one local stack has stored says nothing to the
next one. The upgrade test checks credentials whose hashes an earlier version has stored (tests/upgrade.rs), so the
stack `keygate` has the same keys in every emulator. They protect nothing: a local stack has no secrets but those of
tests. Other stacks have random keys, as on AWS.

The reserved concurrency of a function holds for its versions too, as on AWS. The emulator looks for it in the version
that is invoked, which has none, so the authorizer could not be stopped: APIs invoke its alias.

A function writes its log only to a group that is there: no role of the template may create one. The emulator would
create it, so a call that ends after its stack was deleted would leave a log group behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ministack.app import main
from ministack.services import cloudwatch_logs, kms, lambda_svc
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


def of_the_whole_function(reserved: Callable[[dict, dict], int | None]) -> Callable[[dict, dict], int | None]:
    """Takes the reserved concurrency of the function, whichever version of it is invoked.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    """

    def found(invoked: dict, configuration: dict) -> int | None:
        return reserved(lambda_svc._functions.get(configuration["FunctionName"], invoked), configuration)

    return found


def without_new_groups(write: Callable[..., None]) -> Callable[..., None]:
    """Writes the log of a call as the emulator does, unless the group that its LoggingConfig names is gone."""

    def written(function: dict, *arguments: object, **options: object) -> None:
        configuration = function.get("config") or function
        named = (configuration.get("LoggingConfig") or {}).get("LogGroup")
        of_its_own = f"/aws/lambda/{configuration['FunctionName']}"
        if named in (None, of_its_own) or named in cloudwatch_logs._log_groups:
            write(function, *arguments, **options)

    return written


if __name__ == "__main__":
    handlers = provisioners._RESOURCE_HANDLERS["AWS::KMS::Key"]
    handlers["create"] = with_known_material(handlers["create"])
    lambda_svc._reserved_concurrency = of_the_whole_function(lambda_svc._reserved_concurrency)
    lambda_svc._emit_lambda_logs = without_new_groups(lambda_svc._emit_lambda_logs)
    main()
