"""Runs the example for Python: prints the user of each allowed call, and `refused` or `failed` for the others.

    introspect.py URL METHOD PATH [ADDRESS]

The backend's key and the credentials are in the environment, as KEY and TOKENS.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "infra/examples/introspection/introspect.py"


def main(url: str, method: str, path: str, *address: str) -> None:
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    secret = os.environ["KEY"]
    call = {"method": method, "path": path} | dict(zip(["address"], address, strict=False))
    for token in os.environ["TOKENS"].split(" "):
        try:
            caller = example.caller_of(url, (secret.split("_")[2], secret), token, call)
        except OSError:
            caller = {"sub": "failed"}
        print(caller["sub"] if caller else "refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
