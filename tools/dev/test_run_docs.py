"""Tests of run_docs.py: its shell and curl are real, and so is the HTTP server; its pages are made here.

python -m unittest discover -s tools/dev
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import code_blocks
import run_docs
from shown_output import Comparison, NotComparable, Response

REPOSITORY = Path(__file__).resolve().parents[2]
ID, OTHER_ID = "01M81B0E10KE2P1TGS1FTDF5KQ", "01M81AZ4SGK4B3RN6S3A0DZ2KM"
KEY = f"kg_key_{ID}_{'a' * 49}"


class Server(BaseHTTPRequestHandler):
    """Answers POST with 201 and a key, and everything else with 404."""

    def do_POST(self) -> None:
        self.answer(201, {"id": ID, "created_at": "2026-11-26T18:00:00Z", "key": KEY})

    def do_GET(self) -> None:
        self.answer(404, {"code": "not_found"})

    def answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


class RunDocs(unittest.TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name in ("infra", "Makefile"):
            (self.root / name).symlink_to(REPOSITORY / name)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        (self.root / "env").write_text(f"URL=http://127.0.0.1:{server.server_port}\n", encoding="utf-8")

    def check(self, text: str) -> run_docs.Run:
        """Checks a page."""
        (self.root / "page.md").write_text(text, encoding="utf-8")
        run = run_docs.Run(self.root, self.root / "env", self.root / "tests" / "secrets")
        run.check("page.md")
        run.finish()
        return run

    def test_a_page_that_shows_what_happens_is_right(self) -> None:
        run = self.check(
            '```sh\nsend() {\n    curl -s "$URL" -d x\n}\n```\n\n```console\n$ CREATED=$(send | tee /dev/stderr)\n'
            'HTTP 201\nETag: "1"\n'
            '{ "id": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E", …, "key": "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_••••" }\n'
            '$ jq -r .id <<<"$CREATED"\n01JD3V6Y4N8Q2Z5X7W9B0C1D2E\n```\n'
        )
        self.assertEqual(run.faults, [])
        self.assertEqual(run.counts, {"blocks": 2, "blocks run": 2, "commands run": 3, "outputs compared": 2})
        self.assertEqual((self.root / "tests" / "secrets").read_text(encoding="utf-8"), "a" * 43 + "\n")

    def test_another_response_is_told_with_its_place_the_command_and_both_outputs(self) -> None:
        run = self.check('# A\n\n```console\n$ curl "$URL"\nHTTP 200\n{ "code": "found", "more": 1 }\n```\n')
        (fault,) = run.faults
        self.assertEqual(
            fault,
            "page.md:4: status: the page shows 200, and the response has 404\n"
            "  and .more: the page shows it, and the real output does not have it\n"
            '  and .code: the page shows "found", and the real output has "not_found"\n'
            '  command:\n    curl "$URL"\n'
            '  shown:\n    HTTP 200\n    { "code": "found", "more": 1 }\n'
            '  real:\n    HTTP 404\n    {"code": "not_found"}\n',
        )

    def test_no_fault_tells_a_secret(self) -> None:
        (fault,) = self.check('```console\n$ curl "$URL" -d x\nHTTP 201\n{}\n```\n').faults
        self.assertIn(f"kg_key_{ID}_••••", fault)
        self.assertNotIn("aaa", fault)

    def test_a_command_that_fails_ends_the_page(self) -> None:
        for command, fault in (
            ("echo said; false", "the command fails with status 1"),
            ("false | true", "the command fails with status 1"),
            ("echo $UNKNOWN", "the command fails with status 1"),
            ("exit 7", "the command fails with status 7"),
            ('curl "$URL"', "the response has the status 404"),
        ):
            with self.subTest(command):
                (told,) = self.check(f"```sh\ntrue\n\n# Then\n{command}\n```\n").faults
                self.assertTrue(told.startswith(f"page.md:5: {fault}\n  command:\n    {command}\n"), told)
        (told,) = self.check("```sh\nfalse\n```\n\n```console\n$ echo a\nb\n```\n").faults
        self.assertTrue(told.startswith("page.md:2: "), told)

    def test_files_of_a_page_stay_out_of_the_repository(self) -> None:
        self.assertEqual(self.check("```sh\necho a >file\n[[ -f Makefile ]]\n```\n").faults, [])
        self.assertFalse((self.root / "file").exists())

    def test_a_block_that_is_not_run_has_a_known_reason(self) -> None:
        for block, fault in (
            ("```\na\n```", "page.md:2: a block of no language is not checked: "),
            ("```bash\na\n```", "page.md:2: a block of bash is not checked: "),
            ("```sh no-run=later\ntrue\n```", "page.md:2: later is no reason; "),
            ("```sh norun=aws\ntrue\n```", "page.md:2: norun is no attribute "),
            (
                '```sh no-run=aws\nmake deploy PARAMETERS="Brand=a Bland=b"\n```',
                "page.md:2: the stack has no parameter Bland",
            ),
            ("```sh no-run=aws\nmake deploy STUCK=a\n```", "page.md:2: the Makefile has no variable STUCK"),
            ("```sh no-run=aws\necho '\n```", "page.md:2: bash: line 1: unexpected EOF"),
            ("`aws kms disable-kee`", "page.md:1: kms has no operation disable-kee"),
            ("`aws kms disable-key\n--key-it …`", "page.md:1: kms disable-key has no option --key-it"),
        ):
            with self.subTest(block):
                (told,) = self.check(f"{block}\n").faults
                self.assertTrue(told.startswith(fault), told)
        self.assertEqual(self.check("```text no-run=drawing\n->\n```\n\n`aws kms disable-key --key-id …`\n").faults, [])

    def test_code_that_is_no_command_is_parsed(self) -> None:
        rule = (
            "A:\n  Type: AWS::Events::Rule\n  Properties:\n    EventPattern: {{ source: [keygate] }}\n    {}: !Ref {}"
        )
        for language, right, wrong in (
            ("json", '{"a": [1, …], …}', '{"a": 1,}'),
            ("json", '{"a": 1}\n{"a": 2}', '{"a": 1}\n{"a": 2'),
            ("python", "a = 1", "a = = 1"),
            ("javascript", "const a = 1;", "const a = = 1;"),
            ("regex", "[ab]", "[ab"),
            ("yaml", "a: [b]", "a: [b"),
            ("yaml", "a: !Ref MyTopic", "a: !Ref NoTopic"),
            ("yaml", rule.format("EventBusName", "MyBus"), rule.format("EventBus", "MyBus")),
        ):
            with self.subTest(right):
                self.assertEqual(self.check(f"```{language}\n{right}\n```\n").faults, [])
                told = self.check(f"```{language}\n{wrong}\n```\n").faults
                self.assertTrue(told and all(fault.startswith("page.md:") for fault in told), told)


class Blocks(unittest.TestCase):
    def test_a_block_in_a_list_loses_the_indentation_of_the_list(self) -> None:
        (block,) = code_blocks.blocks("a.md", "1. a\n\n   ```sh no-run=aws\n   a\n     b\n   ```\n")
        self.assertEqual(block, code_blocks.Block("a.md", 4, "sh", {"no-run": "aws"}, ["a", "  b"]))

    def test_commands_end_where_bash_ends_them(self) -> None:
        text = "```console\n$ a \\\n    b\nout\n\n$ c '\n$ '\n$ cat <<END\n1\nEND\nout\n```\n"
        (block,) = code_blocks.blocks("a.md", text)
        self.assertEqual(
            [(command.line, command.text, command.output) for command in code_blocks.commands(block)],
            [(2, "a \\\n    b", ["out", ""]), (6, "c '\n$ '", []), (8, "cat <<END\n1\nEND", ["out"])],
        )


class Comparing(unittest.TestCase):
    def differences(self, shown: str, real: str, numbers_vary: bool = False) -> list[str]:
        comparison = Comparison(numbers_vary)
        return list(comparison.differences(shown.split("\n"), real, Response(200, {"etag": '"2"'})))

    def test_parts_that_vary_are_compared_by_form(self) -> None:
        for shown, real, wrong in (
            (f'{{"id": "{ID}"}}', f'{{"id": "{OTHER_ID}"}}', '{"id": "01M8"}'),
            ('{"at": "2026-01-01T00:00:00Z"}', '{"at": "2027-02-02T11:11:11Z"}', '{"at": null}'),
            ('{"at": "2026-01-01T00:00:00Z"}', '{"at": "2027-02-02T11:11:11Z"}', '{"at": "2027-02-02T11:11:11.123Z"}'),
            (f'{{"key": "kg_key_{ID}_••••"}}', f'{{"key": "{KEY}"}}', f'{{"key": "{KEY[:-1]}"}}'),
            ('{"detail": "No. …"}', '{"detail": "No. Never."}', '{"detail": "Yes. Always."}'),
            ('{"a": 1, …}', '{"b": 2, "a": 1}', '{"b": 2}'),
            ('{"a": 1}', '{"a": 1}', '{"a": 1, "b": 2}'),
            ("[1, …]", "[1, 2, 3]", "[2, 1]"),
            ("[1]", "[1]", "[1, 2]"),
            ('{"a": 1}', '{"a": 1}', '{"a": true}'),
            ("a  b\n…", "a b\nc\nd", "a c\nc\nd"),
            ("a", "a", "a\nb"),
            ('HTTP 200\nETag: "2"', "", '{"a": 1}'),
            ('{"a": 1}', '{"a": 1}', "a"),
        ):
            with self.subTest(shown):
                self.assertEqual(self.differences(shown, real), [])
                self.assertNotEqual(self.differences(shown, wrong), [])
        self.assertNotEqual(self.differences('HTTP 200\nETag: "1"', ""), [])
        self.assertNotEqual(self.differences("HTTP 201", ""), [])
        self.assertNotEqual(self.differences("1 a", "2 a"), [])
        self.assertEqual(self.differences("1 a", "2 a", numbers_vary=True), [])
        with self.assertRaises(NotComparable):
            self.differences('{"a": 1 …}', '{"a": 1}')

    def test_an_id_that_is_shown_twice_stands_for_one_id_and_another_for_another(self) -> None:
        pair = '{{"id": "{}", "other": "{}"}}'
        self.assertEqual(self.differences(pair.format(ID, OTHER_ID), pair.format(OTHER_ID, ID)), [])
        self.assertNotEqual(self.differences(pair.format(ID, ID), pair.format(ID, OTHER_ID)), [])
        self.assertNotEqual(self.differences(pair.format(ID, OTHER_ID), pair.format(ID, ID)), [])


if __name__ == "__main__":
    unittest.main()
