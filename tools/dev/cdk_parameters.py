"""Writes infra/cdk/src/parameters.ts: the parameters of the template as typed properties of the CDK construct.

cdk_parameters.py [--check]

With --check nothing is written, and the exit status is 1 if the file is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator

import template_tables

OUTPUT = template_tables.ROOT / "infra" / "cdk" / "src" / "parameters.ts"
# The construct takes them from the package, or sets them itself.
OWN = {"Architecture", "ConfigurationRevision"}
# The capitals before the first word of a name in lower case: OAuthIssuer becomes oAuthIssuer.
CAPITALS = re.compile(r"^[A-Z]+(?=[A-Z][a-z])|^[A-Z]")
BOUNDS = {"MinValue": "min", "MaxValue": "max", "MaxLength": "maxLength", "AllowedPattern": "pattern"}

HEADER = """\
// The parameters of infra/template/parameters.yaml. Written by `make tables`: change that file, not this one.

/** What a parameter of the template is called, and which values it takes. */
export interface ParameterDefinition {
  readonly name: string;
  readonly pattern?: string;
  readonly values?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly maxLength?: number;
  /** Whether the parameter is a list, each of whose elements matches the pattern. */
  readonly list?: boolean;
}

"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    arguments = parser.parse_args()
    text = HEADER + "\n".join(source(template_tables.read_template(template_tables.FRAGMENTS)["Parameters"])) + "\n"
    if OUTPUT.is_file() and OUTPUT.read_text(encoding="utf-8") == text:
        return 0
    if arguments.check:
        name = OUTPUT.relative_to(template_tables.ROOT)
        print(f"{name} is not current: run `make tables` and commit {name}", file=sys.stderr)
        return 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


def source(parameters: dict[str, dict]) -> Iterator[str]:
    """The lines of the interface and of the definitions."""
    exposed = {name: parameter for name, parameter in parameters.items() if name not in OWN}
    yield "/** The parameters of a deployment. Each that is not set has the default of the template. */"
    yield "export interface KeygateParameters {"
    for name, parameter in exposed.items():
        text = f"{template_tables.description(parameter)}{template_tables.bounds(parameter)}"
        default = str(parameter.get("Default", "")) or "empty"
        yield "  /**"
        yield from textwrap.wrap(
            text, 116, initial_indent="   * ", subsequent_indent="   * ", break_long_words=False, break_on_hyphens=False
        )
        yield f"   * @default {default}"
        yield "   */"
        yield f"  readonly {property_name(name)}?: {type_of(parameter)};"
    yield "}"
    yield ""
    yield "export const PARAMETERS: { readonly [property in keyof KeygateParameters]-?: ParameterDefinition } = {"
    for name, parameter in exposed.items():
        fields = {"name": name} | {
            field: parameter[key] for key, field in BOUNDS.items() if parameter.get(key) is not None
        }
        if parameter["Type"] == "CommaDelimitedList":
            fields["list"] = True
        if values := parameter.get("AllowedValues"):
            fields["values"] = [str(value) for value in values]
        written = ", ".join(f"{field}: {json.dumps(value)}" for field, value in fields.items())
        yield f"  {property_name(name)}: {{ {written} }},"
    yield "};"


def property_name(name: str) -> str:
    """The name of a parameter as that of a property."""
    return CAPITALS.sub(lambda match: match[0].lower(), name)


def type_of(parameter: dict) -> str:
    """The TypeScript type of a parameter's values."""
    values = parameter.get("AllowedValues")
    if parameter["Type"] == "Number":
        return " | ".join(str(value) for value in values) if values else "number"
    if parameter["Type"] == "CommaDelimitedList":
        return "readonly string[]"
    if parameter["Type"] != "String":
        raise ValueError(f"the type {parameter['Type']} of a parameter has no type in TypeScript")
    if not values:
        return "string"
    if {str(value) for value in values} == {"true", "false"}:
        return "boolean"
    return " | ".join(json.dumps(value) for value in values)


if __name__ == "__main__":
    sys.exit(main())
