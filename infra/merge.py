"""Writes what is deployed to target/infra: the merged template, and beside it the document that it includes.

infra/template/ holds the template in fragments: one for each function in functions/, and beside that folder one for
each shared part. A fragment is valid YAML and has the top-level sections (Parameters, Resources, Outputs, ...) that it
contributes to. The merged template has each section once, with the entries of all fragments in the order of the
fragments' paths, comments included. Relative paths in a fragment (CodeUri, Location) are relative to target/infra.
"""

from __future__ import annotations

import sys
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
# Those that have one value instead of entries.
VALUES = ("AWSTemplateFormatVersion", "Transform", "Description")


class MergeError(Exception):
    """A source that cannot be merged; the message says which, and why."""


def main() -> int:
    try:
        write(FRAGMENTS, OPENAPI, OUTPUT)
    except MergeError as error:
        print(f"merge: {error}", file=sys.stderr)
        return 1
    return 0


def write(fragments: Path, openapi: Path, output: Path) -> None:
    """Writes the merged template and the document that it includes into a folder."""
    files = {
        "template.yaml": merged_template(fragments),
        "openapi.yaml": openapi.read_text(encoding="utf-8"),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")


def merged_template(folder: Path) -> str:
    """Merges the fragments in a folder; raises MergeError if they do not make one template."""
    sections: dict[str, list[str]] = {name: [] for name in SECTIONS}
    origins: dict[tuple[str, str], str] = {}
    # As text: how paths compare, and so the order, depends on the operating system.
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
            raise MergeError(f"{name}, line {start + 1}: {section} is there twice")
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
    """The names of a section's entries, which have to stand below each other, indented by two, for a merge of texts."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise MergeError(f"{name}, line {node.start_mark.line + 1}: {section} has no entries on lines of their own")
    names: list[str] = []
    for key, _ in node.value:
        if key.start_mark.column != 2:
            raise MergeError(f"{name}, line {key.start_mark.line + 1}: {key.value} is not indented by two")
        if key.value in names:
            raise MergeError(f"{name}, line {key.start_mark.line + 1}: {key.value} is there twice")
        names.append(key.value)
    return names


def block(lines: list[str]) -> str:
    """The lines as a text, without blank ones around it."""
    return "\n".join(lines).strip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
