"""Tests of check_docs.py.

python -m unittest discover -s tools/dev
"""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import check_docs


def faults(files: dict[str, str]) -> list[str]:
    """The faults in a repository with these files, by their paths."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in ({"README.md": "# A\n"} | files).items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return list(check_docs.find_faults(Path(folder), sorted({"README.md", *files})))


class CheckDocs(unittest.TestCase):
    def test_links_to_files_headings_and_other_hosts_are_right(self) -> None:
        page = "# `GET /a/*` and more!\n\n## Twice\n\n## Twice\n\n```sh\n# No heading [a](b)\n```\n"
        links = "[a](b.md) [`b`](b.md#get-a-and-more) [c](b.md#twice-1) [d](https://a.example/b) [e](#own)\n\n# Own\n"
        self.assertEqual(faults({"docs/a.md": f"{links}\n[f]: b.md\n", "docs/b.md": page}), [])

    def test_a_broken_link_is_named_with_its_place(self) -> None:
        for link, fault in (
            ("[a](c.md)", "docs/a.md:1: the link to c.md leads nowhere"),
            ("[a\nb](c.md)", "docs/a.md:2: the link to c.md leads nowhere"),
            ("![a](c.svg)", "docs/a.md:1: the link to c.svg leads nowhere"),
            ("[a]: c.md", "docs/a.md:1: the link to c.md leads nowhere"),
            ("[a](../README.md#b)", "docs/a.md:1: the link to ../README.md#b names no heading of README.md"),
            ("[a](#no-heading)", "docs/a.md:1: the link to #no-heading names no heading of docs/a.md"),
            ("[a](../../)", "docs/a.md:1: the link to ../../ leads out of the repository"),
            ("[a](/README.md)", "docs/a.md:1: the link to /README.md is not relative"),
        ):
            with self.subTest(link):
                self.assertEqual(faults({"docs/a.md": f"{link}\n"}), [fault])

    def test_a_path_that_is_named_exists(self) -> None:
        self.assertEqual(faults({"docs/a.md": "`tools/b.py`\n"}), ["docs/a.md:1: tools/b.py does not exist"])
        self.assertEqual(faults({"docs/a.md": "in `tools/b/`\n"}), ["docs/a.md:1: tools/b/ does not exist"])
        self.assertEqual(faults({"CHANGELOG.md": "tools/b.py\n"}), [])
        self.assertEqual(faults({"a.py": "# docs/b.md says why.\n"}), ["a.py:1: docs/b.md does not exist"])

    def test_a_command_is_a_target(self) -> None:
        files = {
            "Makefile": "a b-c: d\n",
            "docs/a.md": "`make a` to\nmake keys\n\n```sh\nmake b-c\n$ make e X=1\n```\n",
        }
        self.assertEqual(faults(files), ["docs/a.md:6: `make e` is no target of the Makefile"])

    def test_a_readme_that_is_too_long_is_refused(self) -> None:
        self.assertEqual(faults({"README.md": "a" * check_docs.MAX_README_BYTES}), [])
        self.assertIn("README.md: 8193 bytes", faults({"README.md": "a" * (check_docs.MAX_README_BYTES + 1)})[0])


if __name__ == "__main__":
    unittest.main()
