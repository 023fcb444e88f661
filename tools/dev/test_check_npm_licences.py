"""Tests of check_npm_licences.py.

python -m unittest discover -s tools/dev
"""

from __future__ import annotations

import unittest

from check_npm_licences import PAGE, find_faults


def faults(name: str, **packages: dict) -> list[str]:
    """The faults of a lock file with these packages."""
    entries = {f"node_modules/{package}": entry for package, entry in packages.items()}
    return list(find_faults(name, {"packages": {"": {"license": "UNLICENSED"}} | entries}))


class CheckNpmLicences(unittest.TestCase):
    def test_what_is_deployed_takes_fewer_licences_than_tools(self) -> None:
        mozilla = {"license": "MPL-2.0"}
        self.assertEqual(faults("tests/console/package-lock.json", axe=mozilla), [])
        self.assertEqual(faults(PAGE, axe=mozilla | {"dev": True}), [])
        self.assertEqual(faults(PAGE, axe=mozilla, lit={"license": "BSD-3-Clause"}), [f"{PAGE}: axe has MPL-2.0"])

    def test_a_package_without_a_licence_or_with_another_one_is_named(self) -> None:
        found = faults("a/package-lock.json", one={}, two={"license": "GPL-3.0-only"}, three={"license": "MIT"})
        expected = ["a/package-lock.json: one has no licence", "a/package-lock.json: two has GPL-3.0-only"]
        self.assertEqual(found, expected)

    def test_an_exception_is_one_of_a_tool(self) -> None:
        self.assertEqual(faults("tools/dev/oidc-provider/package-lock.json", only={}), [])
        self.assertEqual(faults(PAGE, only={}), [f"{PAGE}: only has no licence"])


if __name__ == "__main__":
    unittest.main()
