"""The software bill of materials of a package (CycloneDX 1.6), and the licences of all components in it.

Components are the crates of the functions and of the command `keygate` for one processor, the npm packages of the keys
page, and Rust's standard library. Both documents depend on the lock files and the sources alone, so they have no serial
number and no time.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "console"
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
# The packages of the workspace whose binaries are in the package.
PACKAGED = ("keygate-functions", "keygate-cli")
# A file with the terms of a licence, or with what a licence wants to have passed on.
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)([.-]|$)", re.IGNORECASE)
# npm packages without a licence file, and another package of the same project with the same licence, which has one.
SAME_PROJECT = {"@lit-labs/ssr-dom-shim": "lit"}

MIT = """\
Copyright (c) the authors of {name}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE.
"""


class MaterialsError(Exception):
    """A component without a licence or a source."""


@dataclass(frozen=True)
class Component:
    """A part of the package that others wrote. `purl` identifies it, `texts` are the files with its licence."""

    name: str
    version: str
    licence: str
    purl: str
    texts: tuple[str, ...]
    # The algorithm and the digest of what the registry serves, as CycloneDX names them.
    digest: tuple[str, str] | None = None
    repository: str | None = None
    needs: tuple[str, ...] = field(default=())


def components(architecture: str) -> list[Component]:
    """All components for a processor, in the order of their purls."""
    found = [*crates(architecture), *npm_packages(CONSOLE), standard_library()]
    return sorted(found, key=lambda component: component.purl)


def crates(architecture: str) -> Iterator[Component]:
    """The crates of crates.io that the binaries are linked with, and the macros that they are expanded with."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGETS[architecture]]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    needs = {
        node["id"]: sorted(
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        )
        for node in metadata["resolve"]["nodes"]
    }
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
        if "checksum" in package
    }
    waiting = [package["id"] for package in metadata["packages"] if package["name"] in PACKAGED]
    seen: set[str] = set()
    while waiting:
        identity = waiting.pop()
        if identity in seen:
            continue
        seen.add(identity)
        waiting += needs[identity]
        package = packages[identity]
        if package["source"] is None:
            continue
        name, version = package["name"], package["version"]
        if not package["license"]:
            raise MaterialsError(f"the crate {name} {version} names no licence")
        licence = package["license"].replace("/", " OR ")
        yield Component(
            name=name,
            version=version,
            licence=licence,
            purl=crate_purl(package),
            texts=texts(Path(package["manifest_path"]).parent, name, licence),
            digest=("SHA-256", checksums[name, version]),
            repository=package["repository"],
            needs=tuple(crate_purl(packages[need]) for need in needs[identity] if packages[need]["source"]),
        )


def crate_purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def npm_packages(folder: Path) -> Iterator[Component]:
    """The npm packages that the keys page is bundled from."""
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    for path, package in sorted(lock["packages"].items()):
        if path == "" or package.get("dev"):
            continue
        name = path.rpartition("node_modules/")[2]
        algorithm, _, digest = package["integrity"].partition("-")
        if algorithm != "sha512":
            raise MaterialsError(f"the npm package {name} has a digest by {algorithm}")
        yield Component(
            name=name,
            version=package["version"],
            licence=package["license"],
            purl=f"pkg:npm/{name.replace('@', '%40')}@{package['version']}",
            texts=texts(folder / "node_modules" / SAME_PROJECT.get(name, name), name, package["license"]),
            digest=("SHA-512", base64.b64decode(digest).hex()),
        )


def standard_library() -> Component:
    """Rust's standard library, which is in every binary."""
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text(encoding="utf-8"))["toolchain"]["channel"]
    licence = "MIT OR Apache-2.0"
    return Component(
        name="rust-std",
        version=channel,
        licence=licence,
        purl=f"pkg:generic/rust-std@{channel}",
        texts=(apache(), MIT.format(name="the Rust project")),
        repository="https://github.com/rust-lang/rust",
    )


def texts(folder: Path, name: str, licence: str) -> tuple[str, ...]:
    """The licence files of a package; without any, the text of a licence that it may be used under."""
    if not folder.is_dir():
        raise MaterialsError(f"{name} is not in {folder}: it has not been fetched or installed")
    files = sorted(path for path in folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name))
    if files:
        return tuple(path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n") for path in files)
    choices = re.split(r"\s+OR\s+", licence)
    if "Apache-2.0" in choices:
        return (apache(),)
    if "MIT" in choices:
        return (MIT.format(name=name),)
    raise MaterialsError(f"{name} has no licence file, and its licence is {licence}")


def apache() -> str:
    return (ROOT / "LICENSE").read_text(encoding="utf-8")


def bill(version: str, parts: list[Component]) -> str:
    """The bill of materials as a CycloneDX document."""
    subject = f"pkg:generic/keygate@{version}"
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": subject,
                "name": "keygate",
                "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
                "purl": subject,
            }
        },
        "components": [described(part) for part in parts],
        "dependencies": [
            {"ref": subject, "dependsOn": [part.purl for part in parts]},
            *({"ref": part.purl, "dependsOn": sorted(set(part.needs))} for part in parts),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def described(part: Component) -> dict:
    document: dict = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "licenses": [{"expression": part.licence}],
        "purl": part.purl,
    }
    if part.digest:
        document["hashes"] = [{"alg": part.digest[0], "content": part.digest[1]}]
    if part.repository:
        document["externalReferences"] = [{"type": "vcs", "url": part.repository}]
    return document


def licences(version: str, parts: list[Component]) -> str:
    """The licence of each component, and every text once, below the components that have it."""
    width = max(len(f"{part.name} {part.version}") for part in parts)
    lines = [f"Keygate {version} is licensed under Apache-2.0 (LICENSE). It contains these components of others:", ""]
    lines += [f"{part.name + ' ' + part.version:<{width}}  {part.licence}" for part in parts]
    holders: dict[str, list[str]] = {}
    for part in parts:
        for text in part.texts:
            holders.setdefault(text.strip(), []).append(f"{part.name} {part.version}")
    for text, names in sorted(holders.items(), key=lambda entry: entry[1]):
        lines += ["", "=" * 80, *dict.fromkeys(names), "-" * 80, "", text]
    return "\n".join(lines) + "\n"
