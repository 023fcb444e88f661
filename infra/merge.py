"""Writes the deployed files to target/infra: the merged template and the document that API Gateway imports.

infra/template/ holds the template in fragments: one for each function in functions/, and beside that folder one for
each shared part. A fragment is valid YAML and has the top-level sections (Parameters, Resources, Outputs, ...) that it
contributes to. The merged template has each section once, with the entries of all fragments in the order of the
fragments' paths, comments included. Relative paths in a fragment (CodeUri, Location) are relative to target/infra.

infra/openapi.yaml describes the management API for its users. API Gateway makes a model of each schema that it imports,
and its models know neither `example` nor other keywords of OpenAPI. It needs no model, because the functions check the
requests. So the import document has the routes, their parameters, their security and API Gateway's extensions, and no
schema, example or body.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from pathlib import Path

import yaml

INFRA = Path(__file__).resolve().parent
FRAGMENTS = INFRA / "template"
OPENAPI = INFRA / "openapi.yaml"
OUTPUT = INFRA.parent / "target" / "infra"

# The sections that a template can have, in the order in which the merged template has them.
SECTIONS = (
    "AWSTemplateFormatVersion",
    "Transform",
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Globals",
    "Resources",
    "Outputs",
)
# The sections that have one value instead of entries.
VALUES = ("AWSTemplateFormatVersion", "Transform", "Description")

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

EXTENSION = "x-amazon-apigateway-"
ENDPOINT_CONFIGURATION = f"{EXTENSION}endpoint-configuration"


class MergeError(Exception):
    """A source file that cannot be merged; the message names it and the reason."""


def main() -> int:
    try:
        write(FRAGMENTS, OPENAPI, OUTPUT)
    except MergeError as error:
        print(f"merge: {error}", file=sys.stderr)
        return 1
    return 0


def write(fragments: Path, openapi: Path, output: Path) -> None:
    """Writes the merged template and the import document into a folder."""
    files = {
        "template.yaml": merged_template(fragments),
        "openapi.yaml": import_document(openapi.read_text(encoding="utf-8")),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")


def merged_template(folder: Path) -> str:
    """Merges the fragments in a folder; raises MergeError if they do not make one template."""
    sections: dict[str, list[str]] = {name: [] for name in SECTIONS}
    origins: dict[tuple[str, str], str] = {}
    # Sorted as texts, because the comparison of paths depends on the operating system.
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()):
        if not name.endswith(".yaml"):
            raise MergeError(f"{name} is not a fragment: its name does not end in .yaml")
        for section, (entries, text) in fragment_sections(name, (folder / name).read_text(encoding="utf-8")).items():
            for entry in entries:
                if (section, entry) in origins:
                    raise MergeError(f"{name}: {entry or section} is in {origins[section, entry]} already")
                origins[section, entry] = name
            sections[section].append(text if section in VALUES else f"  # --- {name}\n\n{text}")

    text = "# Merged from infra/template by infra/merge.py. Change the fragments there, not this file.\n"
    for section in SECTIONS:
        if section in VALUES:
            text += "".join(sections[section])
        elif sections[section]:
            text += f"\n{section}:\n" + "\n".join(sections[section])
    return text


def fragment_sections(name: str, text: str) -> dict[str, tuple[list[str], str]]:
    """The sections of a fragment: of each the names of its entries, and its text without the section's own line.

    A section with one value has the one entry "", and its text is the whole line. Comments before a section are part of
    its text.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise MergeError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise MergeError(f"{name} has no section")
    lines = text.splitlines()
    starts = [key.start_mark.line for key, _ in root.value]
    sections: dict[str, tuple[list[str], str]] = {}
    comments_from = 0
    for (key, value), end in zip(root.value, [*starts[1:], len(lines)], strict=True):
        section, start = key.value, key.start_mark.line
        if section not in SECTIONS:
            raise MergeError(f"{name}, line {start + 1}: `{section}` is not a section of a template")
        if section in sections:
            raise MergeError(f"{name}, line {start + 1}: {section} is repeated")
        comments, body_end = lines[comments_from:start], end
        while body_end > start + 1 and (not lines[body_end - 1] or lines[body_end - 1].startswith("#")):
            body_end -= 1
        comments_from = body_end
        if section in VALUES:
            sections[section] = [""], block([*comments, *lines[start:body_end]])
        else:
            sections[section] = (
                entry_names(name, section, value),
                block([*(f"  {line}" if line else "" for line in comments), *lines[start + 1 : body_end]]),
            )
    for number, line in enumerate(lines[comments_from:], comments_from + 1):
        if line:
            raise MergeError(f"{name}, line {number}: a comment at the end belongs to no section")
    return sections


def entry_names(name: str, section: str, node: yaml.Node) -> list[str]:
    """The names of a section's entries. Merging texts requires each on its own line, indented by two."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise MergeError(f"{name}, line {node.start_mark.line + 1}: {section} has no entries on lines of their own")
    names: list[str] = []
    for key, _ in node.value:
        if key.start_mark.column != 2:
            raise MergeError(f"{name}, line {key.start_mark.line + 1}: {key.value} is not indented by two")
        if key.value in names:
            raise MergeError(f"{name}, line {key.start_mark.line + 1}: {key.value} is repeated")
        names.append(key.value)
    return names


def block(lines: list[str]) -> str:
    """The lines as a text, without blank ones around it."""
    return "\n".join(lines).strip("\n") + "\n"


def import_document(text: str) -> str:
    """Makes the document that API Gateway imports from an OpenAPI document."""
    source = yaml.safe_load(text)
    document = {
        "openapi": source["openapi"],
        "info": {name: source["info"][name] for name in ("title", "version", "description")},
        **extensions(source),
        "paths": {path: imported_path(path, methods) for path, methods in source["paths"].items()},
        "components": {
            "securitySchemes": {
                name: {field: value for field, value in scheme.items() if field != "description"}
                for name, scheme in source["components"]["securitySchemes"].items()
            }
        },
    }
    # In OpenAPI 3 this extension is one of a server.
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-endpoint-configuration.html
    if endpoint := document.pop(ENDPOINT_CONFIGURATION, None):
        document["servers"] = [{ENDPOINT_CONFIGURATION: endpoint}]
    # Without a width: no value is folded over several lines.
    body = yaml.dump(document, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"# What API Gateway imports. Written by infra/merge.py: change infra/openapi.yaml, not this file.\n{body}"


def imported_path(path: str, methods: dict) -> dict:
    """The part of a path that API Gateway imports."""
    if other := [field for field in methods if field not in METHODS]:
        raise MergeError(f"openapi.yaml, {path}: `{other[0]}` is not a method, and would not be imported")
    return {method: imported_operation(f"{method} {path}", operation) for method, operation in methods.items()}


def imported_operation(route: str, operation: dict) -> dict:
    """The part of an operation that API Gateway imports.

    Of the responses it has those of success, because an operation has to have one. A proxy integration passes every
    response of the function on, declared or not.
    """
    if "security" not in operation:
        raise MergeError(f"openapi.yaml, {route} has no `security`, and API Gateway ignores that of the whole document")
    imported = {"operationId": operation["operationId"], "security": operation["security"]}
    if parameters := operation.get("parameters"):
        imported["parameters"] = [imported_parameter(route, parameter) for parameter in parameters]
    statuses = [status for status in operation["responses"] if status.startswith("2")]
    imported["responses"] = {status: {"description": HTTPStatus(int(status)).phrase} for status in statuses}
    return imported | extensions(operation)


def imported_parameter(route: str, parameter: dict) -> dict:
    """The part of a parameter that API Gateway imports: its place, and whether it is required.

    OpenAPI requires a schema of each parameter. To API Gateway all of them are texts.
    """
    if "$ref" in parameter:
        raise MergeError(f"openapi.yaml, {route}: API Gateway does not follow the reference {parameter['$ref']}")
    fields = {name: parameter[name] for name in ("name", "in", "required") if name in parameter}
    return fields | {"schema": {"type": "string"}}


def extensions(fields: dict) -> dict:
    """The fields that are API Gateway's extensions, unchanged."""
    return {name: value for name, value in fields.items() if name.startswith(EXTENSION)}


class PlainDumper(yaml.SafeDumper):
    """Writes plain YAML: an included document may not have aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


if __name__ == "__main__":
    sys.exit(main())
