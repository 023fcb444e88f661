"""Checks the licences of the npm packages in every package-lock.json of the repository.

check_npm_licences.py [ROOT]

What is deployed takes the licences that deny.toml allows for crates. What only builds or tests may have a few more. The
lock files have the licences, so the check needs no network and nothing installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# The packages of this lock file that are no development dependencies are a part of the keys page.
PAGE = "console/package-lock.json"
DEPLOYED = {"Apache-2.0", "BSD-3-Clause", "ISC", "MIT"}
# Of programs that run unchanged beside the repository's own.
TOOLS = DEPLOYED | {"0BSD", "BSD-2-Clause", "BlueOak-1.0.0", "MPL-2.0", "Python-2.0"}
# Packages with another licence, or with none in the lock file, and why they may be used.
EXCEPTIONS = {
    "@cloud-copilot/iam-policy": "AGPL-3.0-or-later: evaluates policies in a process of its own, and is not deployed",
    "@cloud-copilot/iam-simulate": "AGPL-3.0-or-later: as iam-policy",
    "@cloud-copilot/iam-utils": "AGPL-3.0-or-later: as iam-policy",
    "case": "(MIT OR GPL-3.0-or-later): used under MIT, bundled with the AWS CDK",
    "only": "MIT, as its README says: a part of the identity provider of the local stack",
    "type-fest": "(MIT OR CC0-1.0): used under MIT, types for the generator of clients",
}


def find_faults(name: str, lock: dict) -> Iterator[str]:
    """The packages of a lock file whose licence is not allowed."""
    for path, package in lock["packages"].items():
        # The first entry is the project itself.
        if path == "":
            continue
        package_name = path.rpartition("node_modules/")[2]
        is_deployed = name == PAGE and not package.get("dev", False)
        licence = package.get("license", "no licence")
        if licence in (DEPLOYED if is_deployed else TOOLS) or (package_name in EXCEPTIONS and not is_deployed):
            continue
        yield f"{name}: {package_name} has {licence}"


def main() -> int:
    """Prints the faults of all lock files. Returns 1 if there are any."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*package-lock.json"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    names = [name for name in listed.split("\0") if name]
    if PAGE not in names:
        print(f"{PAGE} is missing", file=sys.stderr)
        return 1
    faults = [fault for name in names for fault in find_faults(name, json.loads((root / name).read_text("utf-8")))]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
