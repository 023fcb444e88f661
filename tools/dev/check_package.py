"""Checks a package: its checksums, its bill of materials by the schema of CycloneDX, and that it has all licences.

check_package.py PACKAGE
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

PROGRAMS = {"bin/keygate", "publish.sh"}


def find_faults(package: Path) -> Iterator[str]:
    """A line for each fault."""
    sums = dict(reversed(line.split("  ", 1)) for line in (package / "SHA256SUMS").read_text("utf-8").splitlines())
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    if sums.keys() != files:
        yield f"SHA256SUMS and the files differ by {sums.keys() ^ files}"
    for name in sums.keys() & files:
        if hashlib.sha256((package / name).read_bytes()).hexdigest() != sums[name]:
            yield f"{name} has another digest than in SHA256SUMS"
        if os.access(package / name, os.X_OK) != (name in PROGRAMS):
            yield f"{name} must {'' if name in PROGRAMS else 'not '}be executable"
    for name in sorted(name for name in files if name.startswith("functions/")):
        digest = hashlib.sha256((package / name).read_bytes()).hexdigest()
        if not name.endswith(f"-{digest[:16]}.zip"):
            yield f"{name} is not named after its digest"

    text = (package / "sbom.cdx.json").read_text(encoding="utf-8")
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        yield f"sbom.cdx.json: {error}"
    document = json.loads(text)
    names = [f"{component['name']} {component['version']}" for component in document["components"]]
    references = {component["bom-ref"] for component in document["components"]}
    if len(references) != len(names) or len(names) < 100:
        yield f"sbom.cdx.json has {len(names)} components, and {len(references)} references"
    for dependency in document["dependencies"]:
        if unknown := set(dependency["dependsOn"]) - references:
            yield f"sbom.cdx.json: {dependency['ref']} depends on unknown components {unknown}"
    with_text = set((package / "licences.txt").read_text(encoding="utf-8").splitlines())
    for name in names:
        if name not in with_text:
            yield f"licences.txt has no text for {name}"


def main() -> int:
    faults = list(find_faults(Path(sys.argv[1])))
    for fault in faults:
        print(f"check_package: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
