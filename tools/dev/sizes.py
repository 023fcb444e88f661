"""Prints the size of each built function, as a binary and as the uploaded zip, and writes it to docs/sizes.md.

sizes.py --architecture x86_64
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HEADER = """\
# Sizes

With this page you can look up the size of each function that `make build` built last, for {architecture}.
Lambda receives the zip, and unpacks it at a cold start.

| function | binary (MB) | zip (MB) |
| --- | ---: | ---: |
"""


def zipped_size(function: Path) -> int:
    """The size of the archive that the SAM CLI would upload; it does not depend on the files' ages or owners."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for part in sorted(path for path in function.rglob("*") if path.is_file()):
            name = part.relative_to(function).as_posix()
            file.writestr(zipfile.ZipInfo(name), part.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive.tell()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", required=True)
    arguments = parser.parse_args()
    binaries = sorted((ROOT / "target" / "lambda").glob("*/bootstrap"))
    if not binaries:
        print("sizes: target/lambda is empty; run `make build`", file=sys.stderr)
        return 1
    table = HEADER.format(architecture=arguments.architecture)
    for binary in binaries:
        size, zipped = binary.stat().st_size / 1e6, zipped_size(binary.parent) / 1e6
        table += f"| {binary.parent.name} | {size:.1f} | {zipped:.1f} |\n"
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "sizes.md").write_text(table, encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
