"""Makes a package of a release: everything that a deployment takes, without Rust and without this repository.

    package.py make --architecture x86_64 --functions target/lambda \
        --keygate target/package/keygate/bootstrap \
        --cdk target/package/keygate-cdk-0.1.0.tgz dist
    package.py template --architecture x86_64 target/infra/package

`make` writes dist/keygate-VERSION-ARCHITECTURE and the same as .tar.gz. The same inputs make the same bytes: archives
have neither times nor owners. `template` writes the template alone, with empty archives in the place of the functions,
for tests of what reads templates.

The packaged template is the merged one with three changes. Functions are in the bucket CodeBucket below the prefix
CodePrefix. The document that API Gateway imports is in the template. The processor is the one of the package.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import bill_of_materials

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
sys.path.insert(0, str(INFRA))

import merge  # noqa: E402 - it is in another folder
import translate  # noqa: E402

# What a template may have in CloudFormation, in bytes.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BYTES = 1_000_000
# The earliest time of a ZIP archive.
EPOCH = (1980, 1, 1, 0, 0, 0)

CODE_URI = re.compile(r"^( +)CodeUri: \.\./lambda/([a-z-]+)/$", re.MULTILINE)
INCLUDED_DOCUMENT = """\
      DefinitionBody:
        Fn::Transform:
          Name: AWS::Include
          Parameters:
            Location: openapi.yaml
"""
GROUPS = "    ParameterGroups:\n"
CODE_GROUP = """\
      - Label: { default: Package }
        Parameters: [CodeBucket, CodePrefix]
"""
PARAMETERS = "\nParameters:\n"
# The same for all versions, because an update keeps the values of parameters. The digests in the names keep versions
# apart.
PREFIX = "keygate/"
CODE_PARAMETERS = """\
  CodeBucket:
    Type: String
    Description: The S3 bucket of this Region to which the package was uploaded.
    AllowedPattern: "^[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]$"
    ConstraintDescription: The name of a bucket.
  CodePrefix:
    Type: String
    Description: The prefix in the bucket below which the folder functions of the package is, with a / at its end.
    Default: {prefix}
    AllowedPattern: "^([A-Za-z0-9._-]+/)*$"
    ConstraintDescription: Empty, or names with a / after each.
"""
ARCHITECTURE = re.compile(r"(\n  Architecture:\n(?:    .*\n)*?)    Default: .*\n    AllowedValues: .*\n")


class PackageError(Exception):
    """An input of the package that is missing or has another form."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "template"):
        command = commands.add_parser(name)
        command.add_argument("--architecture", required=True, choices=sorted(bill_of_materials.TARGETS))
        command.add_argument("output", type=Path)
        if name == "make":
            command.add_argument("--functions", type=Path, required=True)
            command.add_argument("--keygate", type=Path, required=True)
            command.add_argument("--cdk", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        if arguments.command == "template":
            functions = {name: archive({"bootstrap": b""}) for name in function_names()}
            shutil.rmtree(arguments.output, ignore_errors=True)
            write_template(arguments.output, arguments.architecture, functions)
        else:
            print(make(arguments.output, arguments.architecture, arguments.functions, arguments.keygate, arguments.cdk))
    except (PackageError, bill_of_materials.MaterialsError, merge.MergeError) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


def make(output: Path, architecture: str, functions: Path, keygate: Path, cdk: Path) -> Path:
    """Writes the package as a folder and as an archive, and returns the folder."""
    folder = output / f"keygate-{version()}-{architecture}"
    shutil.rmtree(folder, ignore_errors=True)
    archives = {name: archive(files_of(functions / name)) for name in function_names()}
    write_template(folder, architecture, archives)
    copies = {
        "LICENSE": ROOT / "LICENSE",
        "CHANGELOG.md": ROOT / "CHANGELOG.md",
        "README.md": INFRA / "package" / "README.md",
        "publish.sh": INFRA / "package" / "publish.sh",
        "gitleaks.toml": ROOT / "docs" / "gitleaks.toml",
        "openapi.yaml": INFRA / "openapi.yaml",
        "oauth.yaml": INFRA / "oauth.yaml",
        "bin/keygate": keygate,
        f"cdk/{cdk.name}": cdk,
    }
    copies |= {f"docs/{path.name}": path for path in (ROOT / "docs").glob("*.md")}
    copies |= {f"examples/{path.name}": path for path in (INFRA / "examples").glob("*.yaml")}
    for name, source in copies.items():
        if not source.is_file():
            raise PackageError(f"{source} does not exist")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    parts = bill_of_materials.components(architecture)
    (folder / "sbom.cdx.json").write_text(bill_of_materials.bill(version(), parts), encoding="utf-8")
    (folder / "licences.txt").write_text(bill_of_materials.licences(version(), parts), encoding="utf-8")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() or is_program(path) else 0o644)
    pack(folder, output / f"{folder.name}.tar.gz")
    return folder


def is_program(path: Path) -> bool:
    return path.parent.name == "bin" or path.suffix == ".sh"


def write_template(folder: Path, architecture: str, archives: Mapping[str, bytes]) -> None:
    """Writes the template as YAML and as JSON, the archives of its functions, and the manifest."""
    names = {name: f"functions/{name}-{hashlib.sha256(data).hexdigest()[:16]}.zip" for name, data in archives.items()}
    (folder / "functions").mkdir(parents=True)
    for name, data in archives.items():
        (folder / names[name]).write_bytes(data)
    text = packaged_template(
        merge.merged_template(merge.FRAGMENTS),
        merge.import_document(merge.OPENAPI.read_text(encoding="utf-8")),
        architecture,
        names,
    )
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise PackageError(f"the template has {len(text.encode())} bytes, and at most {MAX_TEMPLATE_BYTES} are allowed")
    template = translate.load(text)
    functions = {
        logical: names[function_of(resource)]
        for logical, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    manifest = {
        "version": version(),
        "architecture": architecture,
        "prefix": PREFIX,
        "functions": functions,
    }
    (folder / "template.yaml").write_text(text, encoding="utf-8")
    for name, document in (("template.json", template), ("manifest.json", manifest)):
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def function_of(resource: dict) -> str:
    """The name of the function of a packaged resource."""
    key = resource["Properties"]["CodeUri"]["Key"]["Fn::Sub"]
    return key.removeprefix("${CodePrefix}functions/").rpartition("-")[0]


def packaged_template(merged: str, document: str, architecture: str, archives: Mapping[str, str]) -> str:
    """The merged template, with the changes that a package needs. `archives` has the path of each function."""
    used: list[str] = []

    def code(match: re.Match[str]) -> str:
        indentation, name = match.groups()
        if name not in archives:
            raise PackageError(f"the template has a function {name}, and the package has none")
        used.append(name)
        return (
            f"{indentation}CodeUri:\n{indentation}  Bucket: !Ref CodeBucket\n"
            f'{indentation}  Key: !Sub "${{CodePrefix}}{archives[name]}"'
        )

    text = CODE_URI.sub(code, merged)
    if unused := archives.keys() - set(used):
        raise PackageError(f"the template has no function {', '.join(sorted(unused))}")
    lines = [line for line in document.splitlines() if not line.startswith("#")]
    body = "".join(f"        {line}\n" if line else "\n" for line in lines)
    text = replaced(text, INCLUDED_DOCUMENT, f"      DefinitionBody:\n{body}")
    text = replaced(text, GROUPS, GROUPS + CODE_GROUP)
    text = replaced(text, PARAMETERS, PARAMETERS + CODE_PARAMETERS.format(prefix=PREFIX))
    text, count = ARCHITECTURE.subn(rf"\g<1>    Default: {architecture}\n    AllowedValues: [{architecture}]\n", text)
    if count != 1:
        raise PackageError("the template has no parameter Architecture with a default and values")
    text = replaced(text, "\nDescription: Keygate - ", f"\nDescription: Keygate {version()} - ")
    first_line = f"# Keygate {version()} for {architecture}. Upload the folder functions first: README.md.\n"
    return first_line + text.partition("\n")[2]


def replaced(text: str, old: str, new: str) -> str:
    """The text with the one place of `old` replaced; raises PackageError if there is another number of them."""
    if text.count(old) != 1:
        raise PackageError(f"the template has {text.count(old)} places with: {old.strip()}")
    return text.replace(old, new)


def version() -> str:
    return tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]


def function_names() -> list[str]:
    """The names of the functions, which are those of their binaries."""
    return sorted(source.stem for source in (ROOT / "functions" / "src" / "bin").glob("*.rs"))


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a built function, by their paths in it."""
    if not (folder / "bootstrap").is_file():
        raise PackageError(f"{folder}/bootstrap does not exist: build the functions first")
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def archive(files: Mapping[str, bytes]) -> bytes:
    """A ZIP archive of files, which depends on nothing but them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Of Unix, whatever system this runs on: a regular file that Lambda may run or read.
            entry.create_system = 3
            entry.external_attr = (0o100755 if name == "bootstrap" else 0o100644) << 16
            file.writestr(entry, files[name], compresslevel=9)
    return buffer.getvalue()


def pack(folder: Path, path: Path) -> None:
    """Writes a folder as a compressed archive, which depends on nothing but its files."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, 0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as file,
    ):
        for source in [folder, *sorted(folder.rglob("*"))]:
            file.add(source, source.relative_to(folder.parent).as_posix(), recursive=False, filter=plain)


if __name__ == "__main__":
    sys.exit(main())
