"""Tests of merge.py, and that the fragments and openapi.yaml are what it takes them for.

python -m unittest discover -s infra
"""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import yaml

import merge

BINARIES = merge.INFRA.parent / "functions" / "src" / "bin"


class TagLoader(yaml.SafeLoader):
    """Reads a template with short tags: `!Ref Name` becomes {"!Ref": "Name"}. Refuses repeated names."""


def tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict:
    if isinstance(node, yaml.ScalarNode):
        return {f"!{suffix}": loader.construct_scalar(node)}
    return {f"!{suffix}": loader.construct_sequence(node, deep=True)}


def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    names = [key.value for key, _ in node.value]
    if len(set(names)) < len(names):
        raise AssertionError(f"a name is repeated: {names}")
    return loader.construct_mapping(node, deep=True)


TagLoader.add_multi_constructor("!", tagged)
TagLoader.add_constructor("tag:yaml.org,2002:map", mapping)


def load(text: str) -> dict:
    return yaml.load(text, Loader=TagLoader)


def fragments() -> dict[str, str]:
    """The text of every file in infra/template, by its path there."""
    files = [path for path in merge.FRAGMENTS.rglob("*") if path.is_file()]
    return {path.relative_to(merge.FRAGMENTS).as_posix(): path.read_text(encoding="utf-8") for path in files}


def merged(files: dict[str, str]) -> str:
    """Merges fragments with these texts, by their paths."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return merge.merged_template(Path(folder))


class MergedTemplate(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.fragments = fragments()
        cls.text = merge.merged_template(merge.FRAGMENTS)

    def test_every_entry_of_every_fragment_is_in_it_once_and_as_it_was(self) -> None:
        expected: dict = {}
        for text in self.fragments.values():
            for section, value in load(text).items():
                if isinstance(value, str):
                    self.assertNotIn(section, expected)
                    expected[section] = value
                else:
                    entries = expected.setdefault(section, {})
                    self.assertFalse(entries.keys() & value.keys())
                    entries |= value
        self.assertEqual(load(self.text), expected)

    def test_every_comment_is_kept(self) -> None:
        written = {line.strip() for line in self.text.splitlines()}
        for name, text in self.fragments.items():
            for line in text.splitlines():
                if line.lstrip().startswith("#"):
                    self.assertIn(line.strip(), written, name)

    def test_sections_come_in_the_order_that_readers_expect(self) -> None:
        present = list(load(self.text))
        self.assertEqual(present, [section for section in merge.SECTIONS if section in present])
        self.assertIn("Resources", present)

    def test_the_order_of_the_file_system_does_not_matter(self) -> None:
        other = sorted(merge.FRAGMENTS.rglob("*"), key=lambda path: path.name[::-1])
        with mock.patch.object(Path, "rglob", return_value=other):
            self.assertEqual(merge.merged_template(merge.FRAGMENTS), self.text)

    def test_each_function_has_a_fragment_and_each_fragment_of_a_function_a_binary(self) -> None:
        named = {Path(name).stem for name in self.fragments if name.startswith("functions/")}
        self.assertEqual(named, {source.stem for source in BINARIES.glob("*.rs")})
        for name, text in self.fragments.items():
            resources = load(text).get("Resources", {}).values()
            functions = [resource for resource in resources if resource["Type"] == "AWS::Serverless::Function"]
            expected = [f"../lambda/{Path(name).stem}/"] if name.startswith("functions/") else []
            self.assertEqual([function["Properties"]["CodeUri"] for function in functions], expected, name)

    def test_comments_before_a_section_go_into_it(self) -> None:
        text = "# Of all functions.\nGlobals:\n  # Of one.\n  Function:\n    Timeout: 1\n"
        self.assertIn("\n  # Of all functions.\n  # Of one.\n  Function:\n", merged({"a.yaml": text}))

    def test_a_fragment_that_cannot_be_merged_is_refused_with_its_name_and_the_reason(self) -> None:
        table = "Resources:\n  Table:\n    Type: A\n"
        for files, message in (
            ({"a.yaml": table, "functions/b.yaml": table}, "functions/b.yaml: Table is in a.yaml already"),
            ({"a.yaml": "Transform: A\n", "b.yaml": "Transform: B\n"}, "b.yaml: Transform is in a.yaml already"),
            ({"a.yaml": table + "  Table:\n    Type: B\n"}, "a.yaml, line 4: Table is repeated"),
            ({"a.yaml": table + table}, "a.yaml, line 4: Resources is repeated"),
            ({"a.yaml": "\nResource:\n  Table: {}\n"}, "a.yaml, line 2: `Resource` is not a section of a template"),
            ({"a.yaml": "Resources:\n    Table: {}\n"}, "a.yaml, line 2: Table is not indented by two"),
            ({"a.yaml": "Resources: { A: {} }\n"}, "a.yaml, line 1: Resources has no entries on lines of their own"),
            ({"a.yaml": "Resources:\n"}, "a.yaml, line 1: Resources has no entries on lines of their own"),
            ({"a.yaml": "Resources:\n\tTable: {}\n"}, "a.yaml is not valid YAML"),
            ({"a.yaml": "# Nothing yet.\n"}, "a.yaml has no section"),
            ({"a.yaml": table + "\n# The end.\n"}, "a.yaml, line 5: a comment at the end belongs to no section"),
            ({"a.yaml": table, "b.yml": table}, "b.yml is not a fragment"),
        ):
            with self.subTest(message), self.assertRaises(merge.MergeError) as raised:
                merged(files)
            self.assertTrue(str(raised.exception).startswith(message), raised.exception)


def routes(document: dict) -> dict[tuple[str, str], dict]:
    """The operations of a document by path and method."""
    return {(path, method): operation for path, item in document["paths"].items() for method, operation in item.items()}


def fields(value: object, place: str = "") -> Iterator[tuple[str, str, object]]:
    """Every field below a value, with its place and what it holds; without what is inside API Gateway's extensions."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield place, name, held
            if not name.startswith(merge.EXTENSION):
                yield from fields(held, f"{place}/{name}")
    elif isinstance(value, list):
        for held in value:
            yield from fields(held, place)


class ImportDocument(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.source = yaml.safe_load(merge.OPENAPI.read_text(encoding="utf-8"))
        cls.text = merge.import_document(merge.OPENAPI.read_text(encoding="utf-8"))
        cls.document = load(cls.text)

    def test_it_has_every_route_with_its_security_and_its_extensions(self) -> None:
        self.assertEqual(routes(self.document).keys(), routes(self.source).keys())
        for route, operation in routes(self.source).items():
            imported = routes(self.document)[route]
            for field in ("operationId", "security", "x-amazon-apigateway-integration"):
                self.assertEqual(imported[field], operation[field], (route, field))
            self.assertEqual(merge.extensions(imported), merge.extensions(operation), route)
            self.assertTrue(imported["responses"], route)

    def test_it_has_every_parameter_and_says_which_are_required(self) -> None:
        for route, operation in routes(self.source).items():
            expected = [(each["name"], each["in"], each.get("required")) for each in operation.get("parameters", [])]
            parameters = routes(self.document)[route].get("parameters", [])
            imported = [(each["name"], each["in"], each.get("required")) for each in parameters]
            self.assertEqual(imported, expected, route)

    def test_it_has_the_authorizers_and_the_gateway_responses(self) -> None:
        schemes = self.source["components"]["securitySchemes"]
        self.assertEqual(self.document["components"].keys(), {"securitySchemes"})
        imported = self.document["components"]["securitySchemes"]
        self.assertEqual(imported.keys(), schemes.keys())
        for name, scheme in schemes.items():
            self.assertIn("x-amazon-apigateway-authorizer", scheme)
            self.assertEqual(imported[name], {field: scheme[field] for field in scheme if field != "description"})
        (server,) = self.document["servers"]
        self.assertEqual(merge.extensions(self.document) | server, merge.extensions(self.source))
        self.assertIn("x-amazon-apigateway-gateway-responses", self.document)

    def test_it_has_no_schema_example_or_body(self) -> None:
        unwanted = {"requestBody", "content", "headers", "schemas", "$ref", "example", "examples", "nullable"}
        unwanted |= {"not", "oneOf", "anyOf", "allOf", "enum", "pattern", "format", "additionalProperties"}
        self.assertTrue({name for _, name, _ in fields(self.source)} & unwanted)
        for place, name, held in fields(self.document):
            self.assertNotIn(name, unwanted, place)
            if name == "schema":
                # OpenAPI requires one of each parameter.
                self.assertTrue(place.endswith("/parameters"), place)
                self.assertEqual(held, {"type": "string"}, place)

    def test_it_is_plain_yaml_as_an_included_document_has_to_be(self) -> None:
        tokens = list(yaml.scan(self.text))
        for kind in (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken):
            self.assertFalse([token for token in tokens if isinstance(token, kind)])

    def test_what_would_be_lost_on_the_way_is_refused(self) -> None:
        info = "{ title: a, version: a, description: a }"
        document = f"openapi: 3.0.1\ninfo: {info}\ncomponents: {{ securitySchemes: {{}} }}\n"
        operation = "{ operationId: a, security: [], responses: { '200': { description: a } } }"
        merge.import_document(f"{document}paths: {{ /a: {{ get: {operation} }} }}")
        for paths, message in (
            ("{ /a: { parameters: [] } }", "openapi.yaml, /a: `parameters` is not a method"),
            ("{ /a: { get: { responses: {} } } }", "openapi.yaml, get /a has no `security`"),
            (
                "{ /a: { get: { operationId: a, security: [], responses: {}, parameters: [{ $ref: '#/b' }] } } }",
                "openapi.yaml, get /a: API Gateway does not follow the reference #/b",
            ),
        ):
            with self.subTest(message), self.assertRaises(merge.MergeError) as raised:
                merge.import_document(f"{document}paths: {paths}")
            self.assertTrue(str(raised.exception).startswith(message), raised.exception)


class Output(unittest.TestCase):
    def test_two_runs_write_the_same_bytes(self) -> None:
        runs = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                merge.write(merge.FRAGMENTS, merge.OPENAPI, Path(folder))
                runs.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(runs[0].keys(), {"template.yaml", "openapi.yaml"})


if __name__ == "__main__":
    unittest.main()
