"""What a failed run says last."""

from __future__ import annotations

import contextlib
import io
import os
import unittest

from stack import run_and_remember_panics

PANIC = "thread 'keys::a_promise' (7) panicked at tests/keys.rs:12:5:"


class Panics(unittest.TestCase):
    def run_script(self, script: str) -> tuple[int, list[str], str]:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            code, panics = run_and_remember_panics(["bash", "-c", script], dict(os.environ))
        return code, panics, shown.getvalue()

    def test_the_messages_of_panics_are_remembered_without_their_backtraces(self) -> None:
        lines = ["before", PANIC, "left: 1", "stack backtrace:", "0: main"]
        script = "".join(f'echo "{line}" >&2; ' for line in lines) + "exit 3"
        code, panics, shown = self.run_script(script)
        self.assertEqual((code, panics), (3, [PANIC, "left: 1"]))
        self.assertEqual(shown.splitlines(), lines)

    def test_a_run_without_panics_has_its_status_alone(self) -> None:
        self.assertEqual(self.run_script("exit 1"), (1, [], ""))


if __name__ == "__main__":
    unittest.main()
