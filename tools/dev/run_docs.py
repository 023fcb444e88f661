"""Runs the commands that the documentation shows against a local stack, and compares the output that it shows.

run_docs.py [PAGE ...]

README.md, CONTRIBUTING.md, SECURITY.md and the pages of docs/, or the pages that are named. It takes the environment
of a stack that has just been started: a page must show what a reader gets who copies its blocks one after the other.

- A block `sh` has commands. A block `console` has commands after `$ ` with their output below them: of a request with
  curl the status, the headers that matter and the body. shown_output.py says how outputs are compared. All commands of
  a page run in one bash with `set -euo pipefail` and the variables of .local/env, in a folder that looks like the
  repository's.
- `json`, `yaml`, `python`, `javascript` and `regex` are parsed; cfn-lint checks the resources of CloudFormation.
- Any other block has a reason after its language, such as `sh no-run=aws`. REASONS has all reasons.
- `console numbers=vary` compares the numbers of an output by form.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import doc_snippets
from code_blocks import Block, Command, blocks, commands
from shown_output import HEADER, Comparison, NotComparable, Response, masked, secrets

# Why a block is not run.
REASONS = {
    "aws": "only a real AWS account runs it",
    "ci": "it starts or tests the stack itself, as CI does apart from this",
    "drawing": "it is a drawing, and no code",
    "release": "release_check.py runs it, in a package",
}
RUN = {"sh", "console"}
PARSED = {"json", "yaml", "python", "javascript", "regex"}
ATTRIBUTES = {"no-run", "numbers"}
TIMEOUT = 120
# This version of the AWS CLI sends the requests for SQS to AWS, whatever AWS_ENDPOINT_URL says.
AWS = """#!/bin/sh
if [ "$1" = sqs ]; then
    set -- --endpoint-url "$AWS_ENDPOINT_URL" "$@"
fi
exec {aws} "$@"
"""


class CommandFailed(Exception):
    """A command ended the shell of its page, or never ended."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class Session:
    """The bash in which the commands of one page run."""

    def __init__(self, root: Path, stack_environment: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="keygate-docs-"))
        self.folder = self.home / "repository"
        self.headers, self.command = self.home / "headers", self.home / "command"
        imitate(root, self.folder, stack_environment)
        # curl reads it. The headers go to a file, because the command may keep its output in a variable.
        (self.home / ".curlrc").write_text(
            f'no-progress-meter\nmax-time = 60\ndump-header = "{self.headers}"\n', encoding="utf-8"
        )
        tools = self.home / "bin"
        tools.mkdir()
        aws = tools / "aws"
        aws.write_text(AWS.format(aws=Path(sys.executable).with_name("aws")), encoding="utf-8")
        aws.chmod(0o700)
        (tools / "keygate").symlink_to(root / "target" / "debug" / "keygate")
        # Nothing of the user's but the path, so that a page has to say what its commands need.
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        self.run("set -euo pipefail; set -a; . .local/env; set +a")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.home)

    def run(self, command: str) -> tuple[str, Response | None]:
        """Runs a command, and returns its output and the HTTP response that curl received last."""
        self.headers.unlink(missing_ok=True)
        self.command.write_text(f"{command}\n", encoding="utf-8")
        assert self.process.stdin is not None
        # The command ends the shell if it fails. The NUL says that it has ended.
        self.process.stdin.write(f". {self.command} </dev/null; printf '\\0'\n".encode())
        self.process.stdin.flush()
        output = self.read_output()
        return output, read_response(self.headers)

    def read_output(self) -> str:
        stream = self.process.stdout
        assert stream is not None
        received, deadline = b"", time.monotonic() + TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not received.endswith(b"\0"):
                if not selector.select(deadline - time.monotonic()):
                    raise CommandFailed(f"the command does not end within {TIMEOUT} s", decode(received))
                chunk = os.read(stream.fileno(), 65536)
                if not chunk:
                    code = self.process.wait()
                    raise CommandFailed(f"the command fails with status {code}", decode(received))
                received += chunk
        return decode(received.removesuffix(b"\0"))


def imitate(root: Path, folder: Path, stack_environment: Path) -> None:
    """Makes a folder that looks like the repository's with a stack's `.local/env`: commands leave their files there."""
    (folder / ".local").mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name != ".local":
            (folder / entry.name).symlink_to(entry)
    (folder / ".local" / "tools").symlink_to(root / ".local" / "tools")
    (folder / ".local" / "env").symlink_to(stack_environment)


def decode(output: bytes) -> str:
    return output.decode(errors="replace")


def read_response(headers: Path) -> Response | None:
    """The last response of a file in which curl left headers; None if there is none."""
    if not headers.is_file():
        return None
    last = headers.read_text(encoding="utf-8", errors="replace").strip().split("\n\n")[-1].splitlines()
    if not last:
        return None
    found = (HEADER.match(line) for line in last[1:])
    return Response(int(last[0].split()[1]), {match[1].lower(): match[2] for match in found if match})


class Run:
    """The check of several pages: its faults, and what it did."""

    def __init__(self, root: Path, stack_environment: Path, secrets_file: Path | None = None) -> None:
        self.root = root
        self.stack_environment = stack_environment
        # Where to note the secrets that were shown, for the check that no log has them.
        self.secrets_file = secrets_file
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.parsed: list[Block] = []

    def check(self, page: str) -> None:
        """Checks one page, and runs its commands until one fails."""
        text = (self.root / page).read_text(encoding="utf-8")
        self.faults += doc_snippets.faults_of_aws_commands_in_prose(page, text)
        to_run: list[Block] = []
        for block in blocks(page, text):
            self.counts["blocks"] += 1
            place = f"{block.page}:{block.line}"
            reason = block.attributes.get("no-run")
            if unknown := block.attributes.keys() - ATTRIBUTES:
                self.faults.append(f"{place}: {', '.join(sorted(unknown))} is no attribute of a block")
            if reason is not None:
                if reason not in REASONS:
                    self.faults.append(f"{place}: {reason} is no reason; the reasons are {', '.join(REASONS)}")
                self.counts[f"blocks not run: {reason}"] += 1
                if block.language in RUN:
                    self.faults += doc_snippets.faults_of_commands_not_run(self.root, block)
            elif block.language in RUN:
                self.counts["blocks run"] += 1
                to_run.append(block)
            elif block.language in PARSED:
                self.counts["blocks parsed"] += 1
                self.parsed.append(block)
            else:
                self.faults.append(
                    f"{place}: a block of {block.language or 'no language'} is not checked: give it one of "
                    f"{', '.join(sorted(RUN | PARSED))}, or a reason such as no-run=aws"
                )
        if to_run:
            self.run(page, to_run)

    def run(self, page: str, to_run: list[Block]) -> None:
        comparison = Comparison()
        with Session(self.root, self.stack_environment) as session:
            for block in to_run:
                comparison.numbers_vary = block.attributes.get("numbers") == "vary"
                try:
                    for command in commands(block):
                        if not self.run_command(session, block, command, comparison):
                            return
                except ValueError as error:
                    self.faults.append(str(error))
                    return

    def run_command(self, session: Session, block: Block, command: Command, comparison: Comparison) -> bool:
        """Runs a command and compares its output. Returns whether the page can go on."""
        self.counts["commands run"] += 1
        try:
            real, response = session.run(command.text)
        except CommandFailed as failure:
            self.report(block.page, command, [str(failure)], failure.output)
            return False
        self.remember(real)
        if command.output is None:
            if response is not None and response.status >= 400:
                self.report(block.page, command, [f"the response has the status {response.status}"], real)
            return True
        self.counts["outputs compared"] += 1
        try:
            differences = list(comparison.differences(command.output, real, response))
        except NotComparable as error:
            differences = [str(error)]
        if differences:
            status = f"HTTP {response.status}\n" if response else ""
            self.report(block.page, command, differences, status + real)
        return True

    def report(self, page: str, command: Command, differences: list[str], real: str) -> None:
        """Notes a fault: the place, the command, the differences, the shown output and the real one."""

        def indented(text: str) -> str:
            return "".join(f"    {line}\n" for line in text.rstrip().splitlines())

        shown = "" if command.output is None else f"  shown:\n{indented(chr(10).join(command.output))}"
        self.faults.append(
            f"{page}:{command.line}: {differences[0]}\n"
            + "".join(f"  and {difference}\n" for difference in differences[1:])
            + f"  command:\n{indented(command.text)}{shown}  real:\n{indented(masked(real))}"
        )

    def remember(self, output: str) -> None:
        if self.secrets_file and (found := list(secrets(output))):
            self.secrets_file.parent.mkdir(exist_ok=True)
            descriptor = os.open(self.secrets_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.writelines(f"{secret}\n" for secret in found)

    def finish(self) -> None:
        self.faults += doc_snippets.faults(self.root, self.parsed)


def pages(root: Path) -> Iterator[str]:
    """The pages that are checked, in the order in which they run."""
    yield from ("README.md", "CONTRIBUTING.md", "SECURITY.md")
    yield from sorted(path.relative_to(root).as_posix() for path in (root / "docs").glob("*.md"))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    chosen = parser.parse_args().pages
    root = Path(__file__).resolve().parents[2]
    if not (calls := os.environ.get("KEYGATE_CALLS_LOG")):
        print("run_docs: it takes the environment of a stack; `make doc-commands` starts one", file=sys.stderr)
        return 1
    stack = Path(calls).resolve().parent
    run = Run(root, stack / "env", stack / "tests" / "secrets")
    for page in chosen or pages(root):
        run.check(page)
    run.finish()
    print(", ".join(f"{count} {what}" for what, count in sorted(run.counts.items())))
    for fault in run.faults:
        print(fault, file=sys.stderr)
    return 1 if run.faults else 0


if __name__ == "__main__":
    sys.exit(main())
