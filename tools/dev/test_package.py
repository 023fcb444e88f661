"""Tests of package.py and bill_of_materials.py."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

import bill_of_materials
import package
from bill_of_materials import Component, MaterialsError
from package import PackageError

MERGED = """\
# Merged from infra/template by infra/merge.py.
Description: Keygate - API keys.

Metadata:
  AWS::CloudFormation::Interface:
    ParameterGroups:
      - Label: { default: Keys }
        Parameters: [Brand]

Parameters:
  Architecture:
    Type: String
    Description: The processor.
    Default: x86_64
    AllowedValues: [x86_64, arm64]

Resources:
  Api:
    Properties:
      DefinitionBody:
        Fn::Transform:
          Name: AWS::Include
          Parameters:
            Location: openapi.yaml
  AuthorizeFunction:
    Type: AWS::Serverless::Function
    Properties:
      # A comment stays.
      CodeUri: ../lambda/authorize/
"""
DOCUMENT = "# A comment of the merge.\nopenapi: 3.0.1\npaths:\n  /me: {}\n"
NAMES = {"authorize": "functions/authorize-0123456789abcdef.zip"}


class Template(unittest.TestCase):
    def test_functions_are_in_the_bucket(self):
        text = package.packaged_template(MERGED, DOCUMENT, "arm64", NAMES)
        template = package.translate.load(text)
        code = template["Resources"]["AuthorizeFunction"]["Properties"]["CodeUri"]
        self.assertEqual(
            code,
            {
                "Bucket": {"Ref": "CodeBucket"},
                "Key": {"Fn::Sub": "${CodePrefix}functions/authorize-0123456789abcdef.zip"},
            },
        )
        self.assertEqual(package.function_of(template["Resources"]["AuthorizeFunction"]), "authorize")
        self.assertEqual(template["Parameters"]["CodePrefix"]["Default"], "keygate/", "the same for every version")
        groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        self.assertEqual([group["Parameters"] for group in groups], [["CodeBucket", "CodePrefix"], ["Brand"]])
        self.assertIn("# A comment stays.", text)

    def test_the_document_is_in_the_template(self):
        template = package.translate.load(package.packaged_template(MERGED, DOCUMENT, "arm64", NAMES))
        body = template["Resources"]["Api"]["Properties"]["DefinitionBody"]
        self.assertEqual(body, {"openapi": "3.0.1", "paths": {"/me": {}}})

    def test_the_processor_is_that_of_the_package(self):
        template = package.translate.load(package.packaged_template(MERGED, DOCUMENT, "arm64", NAMES))
        architecture = template["Parameters"]["Architecture"]
        self.assertEqual((architecture["Default"], architecture["AllowedValues"]), ("arm64", ["arm64"]))

    def test_a_function_without_an_archive(self):
        with self.assertRaisesRegex(PackageError, "has a function authorize, and the package has none"):
            package.packaged_template(MERGED, DOCUMENT, "arm64", {})

    def test_an_archive_without_a_function(self):
        with self.assertRaisesRegex(PackageError, "has no function whoami"):
            package.packaged_template(MERGED, DOCUMENT, "arm64", NAMES | {"whoami": "functions/whoami-0.zip"})

    def test_a_template_of_another_form(self):
        with self.assertRaisesRegex(PackageError, "0 places with: DefinitionBody"):
            package.packaged_template(MERGED.replace("Location: openapi", "Location: other"), DOCUMENT, "arm64", NAMES)

    def test_the_real_template_has_every_function(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            archives = {function: package.archive({"bootstrap": b""}) for function in package.function_names()}
            package.write_template(folder, "x86_64", archives)
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            self.assertEqual(len(manifest["functions"]), len(archives))
            for path in manifest["functions"].values():
                self.assertTrue((folder / path).is_file())


class Archives(unittest.TestCase):
    def test_the_same_files_make_the_same_bytes(self):
        one = package.archive({"bootstrap": b"a", "page/index.html": b"b"})
        self.assertEqual(one, package.archive({"page/index.html": b"b", "bootstrap": b"a"}))
        self.assertNotEqual(one, package.archive({"bootstrap": b"a"}))

    def test_the_program_is_executable(self):
        with zipfile.ZipFile(io.BytesIO(package.archive({"bootstrap": b"a", "page/index.html": b"b"}))) as file:
            modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in file.infolist()}
        self.assertEqual(modes, {"bootstrap": 0o755, "page/index.html": 0o644})

    def test_a_package_has_neither_times_nor_owners(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "keygate"
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "keygate").write_bytes(b"a")
            package.pack(folder, Path(name) / "one.tar.gz")
            (folder / "bin" / "keygate").touch()
            package.pack(folder, Path(name) / "two.tar.gz")
            self.assertEqual((Path(name) / "one.tar.gz").read_bytes(), (Path(name) / "two.tar.gz").read_bytes())
            with tarfile.open(Path(name) / "one.tar.gz") as file:
                self.assertEqual(
                    [(entry.name, entry.mtime, entry.uid, entry.uname) for entry in file],
                    [("keygate", 0, 0, ""), ("keygate/bin", 0, 0, ""), ("keygate/bin/keygate", 0, 0, "")],
                )


class Materials(unittest.TestCase):
    def texts(self, licence: str, files: dict[str, str]) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory() as name:
            for file, text in files.items():
                (Path(name) / file).write_text(text, encoding="utf-8")
            return bill_of_materials.texts(Path(name), "a", licence)

    def test_licence_files_are_passed_on(self):
        files = {"LICENSE-MIT": "one\r\n", "NOTICE": "two", "licences.rs": "no", "lib.rs": "no", "COPYING": "zero"}
        self.assertEqual(self.texts("MIT", files), ("zero", "one\n", "two"))

    def test_a_crate_without_a_file_gets_the_text_of_a_licence_that_it_allows(self):
        self.assertEqual(self.texts("MIT OR Apache-2.0", {}), (bill_of_materials.apache(),))
        (text,) = self.texts("MIT", {})
        self.assertIn("the authors of a", text)

    def test_a_crate_whose_licence_has_no_text(self):
        for licence in ("BSD-3-Clause", "Apache-2.0 AND ISC"):
            with self.assertRaises(MaterialsError):
                self.texts(licence, {})

    def test_documents(self):
        parts = [
            Component(
                "a", "1.0.0", "MIT", "pkg:cargo/a@1.0.0", ("text",), ("SHA-256", "0" * 64), needs=("pkg:cargo/b@2.0.0",)
            ),
            Component("b", "2.0.0", "MIT", "pkg:cargo/b@2.0.0", ("text",)),
        ]
        document = json.loads(bill_of_materials.bill("0.1.0", parts))
        self.assertEqual(
            document["dependencies"],
            [
                {"ref": "pkg:generic/keygate@0.1.0", "dependsOn": ["pkg:cargo/a@1.0.0", "pkg:cargo/b@2.0.0"]},
                {"ref": "pkg:cargo/a@1.0.0", "dependsOn": ["pkg:cargo/b@2.0.0"]},
                {"ref": "pkg:cargo/b@2.0.0", "dependsOn": []},
            ],
        )
        text = bill_of_materials.licences("0.1.0", parts)
        self.assertEqual(text.count("\ntext\n"), 1)
        self.assertIn("a 1.0.0\nb 2.0.0\n---", text)


if __name__ == "__main__":
    unittest.main()
