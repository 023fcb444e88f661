"""The code blocks of a Markdown page, and the commands in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

# The indentation, the marks and the information of a line that begins a block.
FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(.*?)\s*$")
PROMPT = "$ "
# What bash says of a command that goes on in the next line.
INCOMPLETE = re.compile(r"unexpected EOF|unexpected end of file|here-document")


@dataclass(frozen=True)
class Block:
    """A code block. `line` is the number of the first line in it."""

    page: str
    line: int
    language: str
    # The words `name=value` after the language.
    attributes: dict[str, str]
    lines: list[str]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True)
class Command:
    """A command, the number of its first line, and the output that the page shows: None if it shows commands only."""

    line: int
    text: str
    output: list[str] | None


def blocks(page: str, text: str) -> Iterator[Block]:
    """The code blocks of a page, in order. Blocks in a list lose the indentation of the list."""
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if not (begin := FENCE.match(line)):
            continue
        indentation, marks, information = begin.groups()
        content: list[str] = []
        for _, inner in lines:
            if inner.strip().startswith(marks) and not inner.strip().strip(marks[0]):
                break
            content.append(inner.removeprefix(indentation))
        language, *words = information.split() or [""]
        attributes = {name: value for name, _, value in (word.partition("=") for word in words)}
        yield Block(page, number + 1, language, attributes, content)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block: of `sh` all lines, of `console` those after a prompt, each with the output below it."""
    if block.language == "console":
        yield from console_commands(block)
        return
    begin, buffer = 0, ""
    for number, line in enumerate(block.lines, block.line):
        if not buffer and (not line.strip() or line.startswith("#")):
            continue
        begin = begin if buffer else number
        buffer += f"{line}\n"
        if is_complete(buffer):
            yield Command(begin, buffer.rstrip("\n"), None)
            buffer = ""
    if buffer:
        yield Command(begin, buffer.rstrip("\n"), None)


def console_commands(block: Block) -> Iterator[Command]:
    lines = list(enumerate(block.lines, block.line))
    while lines:
        number, line = lines.pop(0)
        if not line.startswith(PROMPT):
            raise ValueError(f"{block.page}:{number}: a console block begins with `$ ` and a command")
        command = line.removeprefix(PROMPT) + "\n"
        while lines and not is_complete(command):
            command += lines.pop(0)[1] + "\n"
        output: list[str] = []
        while lines and not lines[0][1].startswith(PROMPT):
            output.append(lines.pop(0)[1])
        yield Command(number, command.rstrip("\n"), output)


def is_complete(command: str) -> bool:
    """Whether bash would run these lines, instead of waiting for another one."""
    return not command.endswith("\\\n") and not INCOMPLETE.search(syntax_errors(command))


def syntax_errors(command: str) -> str:
    """What bash says of the syntax of a command, without running it."""
    return subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False).stderr.strip()
