"""Tests of the smoke test: its output, its exit status, and the texts and values that it computes."""

from __future__ import annotations

import contextlib
import io
import unittest
from types import SimpleNamespace

import smoke
from smoke_doubts import resolved
from smoke_run import CONFIRMED, REFUTED, UNCONFIRMED, CallFailed, Key, Run

SECRET = "003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1uQGQy"
KEY = f"kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_{SECRET}"
TOKEN = f"kg_tok_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_{SECRET}"
SESSION = TOKEN.replace("_tok_", "_ses_")


def new_run(is_emulated: bool = False) -> Run:
    return Run(SimpleNamespace(parameters={}), SimpleNamespace(parameters={}), {}, is_emulated, 0)


def reported(run: Run) -> tuple[int, str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = smoke.report(run)
    return status, printed.getvalue()


class SmokeTest(unittest.TestCase):
    def test_no_secret_is_printed(self):
        run = new_run()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            with run.section(f"with {KEY}"):
                raise CallFailed(f"{TOKEN} and {SESSION}")
            run.decide(f"of {run.mask(KEY)}", True, f"{KEY}, {TOKEN}, {SESSION}")
        shown = printed.getvalue() + reported(run)[1] + repr(Key("id", KEY, "user"))
        self.assertNotIn(SECRET, shown)
        self.assertIn("kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_…", shown)

    def test_it_fails_for_a_refuted_doubt_and_for_a_failed_call_alone(self):
        run = new_run()
        run.find("a", CONFIRMED, "")
        run.find("b", UNCONFIRMED, "not configured")
        self.assertEqual(reported(run)[0], 0)
        run.failures.append("GET /me: 500")
        self.assertEqual(reported(run)[0], 1)
        run.failures.clear()
        run.find("c", REFUTED, "")
        self.assertEqual(reported(run)[0], 1)

    def test_the_emulator_neither_confirms_nor_refutes_a_property_that_it_lacks(self):
        run = new_run(is_emulated=True)
        for holds in (True, False):
            run.decide("a", holds, "seen", "differs")
        run.decide("b", False, "seen")
        self.assertEqual([finding.verdict for finding in run.findings], [UNCONFIRMED, UNCONFIRMED, REFUTED])

    def test_intrinsic_functions_are_resolved_as_by_cloudformation(self):
        run = new_run()
        has_origin = {"Fn::Not": [{"Fn::Equals": [{"Ref": "Origin"}, ""]}]}
        run.stack.template = {"Conditions": {"HasOrigin": has_origin}}
        run.stack.parameters = {"Origin": ""}
        run.stack.pseudo_parameters = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "1"}
        run.stack.resources = lambda: {"Echo": "stack-echo"}
        value = {
            "origin": {"Fn::If": ["HasOrigin", {"Fn::Sub": "'${Origin}'"}, {"Ref": "AWS::NoValue"}]},
            "uri": {"Fn::Sub": "${AWS::Region}/${Echo.Arn}"},
            "list": [{"Ref": "Echo"}, {"Fn::Join": ["-", ["a", "b"]]}],
        }
        arn = "arn:aws:lambda:eu-west-1:1:function:stack-echo"
        self.assertEqual(resolved(run, value), {"uri": f"eu-west-1/{arn}", "list": ["stack-echo", "a-b"]})
        run.stack.parameters["Origin"] = "https://a"
        self.assertEqual(resolved(run, value)["origin"], "'https://a'")
        with self.assertRaises(ValueError):
            resolved(run, {"Fn::ImportValue": "a"})
        with self.assertRaises(ValueError):
            resolved(run, {"Fn::Sub": "${Echo.Version}"})


if __name__ == "__main__":
    unittest.main()
