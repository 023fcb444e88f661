"""Checks the Markdown files: their links, the paths that they name, and the size of README.md.

check_docs.py [ROOT]

- A relative link leads to a file of the repository, and its anchor to a heading of that file.
- A path of the repository that is named in a Markdown file, such as tools/dev/check_docs.py, exists. The changelog
  is exempt, because it tells of the past.
- A page of docs/ that is named in any other file exists.
- A command such as `make lint` is a target of the Makefile.
- README.md has at most 8,192 bytes.

Links to other hosts are not followed, so the check needs no network.
"""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_README_BYTES = 8192

# The end of [text](target) and ![text](target), because the text can begin on the previous line. Then [name]: target.
INLINE_LINK = re.compile(r"\]\(\s*<?([^)<>\s]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$")
CODE_SPAN = re.compile(r"(`+)(.+?)\1")
FENCE = re.compile(r"^\s*(```+|~~~+)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")
HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)

# A file or a folder below one of the top folders, where no other path goes before it.
NAMED_PATH = re.compile(
    r"(?<![\w./$<{-])((?:bench|docs|functions|infra|shared|tests|tools)/(?:[\w.-]+/)*(?:[\w-]+\.[a-z]+|(?=[\s`|,.;:)]|$)))"
)
NAMED_PAGE = re.compile(r"(?<![\w./-])docs/[\w./-]+\.md\b")
# In a code span, and in a line of a code block.
MAKE_IN_PROSE = re.compile(r"`make (?:-s )?([a-z][a-z0-9-]*)")
MAKE_IN_BLOCK = re.compile(r"^\s*(?:\$ )?make (?:-s )?([a-z][a-z0-9-]*)")
MAKE_TARGET = re.compile(r"^([a-z][a-z0-9-]*(?: [a-z][a-z0-9-]*)*):", re.MULTILINE)
# It describes the past.
CHANGELOG = "CHANGELOG.md"
# They name pages that do not exist.
OWN_TESTS = "tools/dev/test_check_docs.py"


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    faults = sorted(find_faults(root, tracked_files(root)))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def tracked_files(root: Path) -> list[str]:
    """The files of the repository, including uncommitted files, without ignored ones."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (root / name).is_file()]


def find_faults(root: Path, names: list[str]) -> Iterator[str]:
    """A line for each fault: the file, the line, and what is wrong."""
    readme = (root / "README.md").stat().st_size
    if readme > MAX_README_BYTES:
        yield f"README.md: {readme} bytes, and at most {MAX_README_BYTES} are allowed: move something to docs/"
    pages = {name: (root / name).read_text(encoding="utf-8") for name in names if name.endswith(".md")}
    anchors = {name: set(headings(text)) for name, text in pages.items()}
    makefile = (root / "Makefile").read_text(encoding="utf-8") if "Makefile" in names else ""
    targets = {target for rule in MAKE_TARGET.findall(makefile) for target in rule.split()}
    for name, text in pages.items():
        for number, target in links(text):
            if fault := broken_link(root, name, target, anchors):
                yield f"{name}:{number}: {fault}"
        if name != CHANGELOG:
            for number, path in matches(NAMED_PATH, enumerate(text.splitlines(), 1)):
                if not (root / path).exists():
                    yield f"{name}:{number}: {path} does not exist"
            for number, target in make_commands(text):
                if target not in targets:
                    yield f"{name}:{number}: `make {target}` is no target of the Makefile"
    for name in names:
        if name in pages or name == OWN_TESTS:
            continue
        # Bytes that are not UTF-8, such as in an image, become replacement characters.
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        for number, page in matches(NAMED_PAGE, enumerate(text.splitlines(), 1)):
            if not (root / page).is_file():
                yield f"{name}:{number}: {page} does not exist"


def matches(expression: re.Pattern[str], lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The matches of an expression in numbered lines, with the numbers."""
    for number, line in lines:
        for found in expression.findall(line):
            yield number, found


def make_commands(text: str) -> Iterator[tuple[int, str]]:
    """The targets of the commands `make ...` of a page, with the numbers of their lines."""
    outside = dict(prose(text))
    inside = ((number, line) for number, line in enumerate(text.splitlines(), 1) if number not in outside)
    yield from matches(MAKE_IN_PROSE, outside.items())
    yield from matches(MAKE_IN_BLOCK, inside)


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside of code blocks, with their numbers."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        if marker := FENCE.match(line):
            if fence is None:
                fence = marker[1]
            elif marker[1].startswith(fence):
                fence = None
        elif fence is None:
            yield number, line


def links(text: str) -> Iterator[tuple[int, str]]:
    """The targets of all links, with the numbers of their lines."""
    for number, line in prose(text):
        # A text in a code span is not a link.
        line = CODE_SPAN.sub("code", line)
        for match in INLINE_LINK.finditer(line):
            yield number, match[1]
        if match := REFERENCE.match(line):
            yield number, match[1]


def headings(text: str) -> Iterator[str]:
    """The anchors that GitHub makes of the headings, and those written as HTML."""
    seen: dict[str, int] = {}
    for _, line in prose(text):
        yield from HTML_ANCHOR.findall(line)
        if match := HEADING.match(line):
            anchor = github_anchor(match[1])
            count = seen.get(anchor, 0)
            seen[anchor] = count + 1
            yield f"{anchor}-{count}" if count else anchor


def github_anchor(heading: str) -> str:
    """The anchor of a heading: lower case, without punctuation, with hyphens for spaces."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    kept = (char for char in heading if char in " -_" or unicodedata.category(char)[0] in "LNM")
    return "".join(kept).replace(" ", "-")


def broken_link(root: Path, page: str, target: str, anchors: dict[str, set[str]]) -> str | None:
    """The fault of a link of a page; None if the link is correct or leads to another host."""
    if SCHEME.match(target) or target.startswith("//"):
        return None
    path, _, anchor = target.partition("#")
    file = (root / page).parent / path if path else root / page
    if path.startswith("/"):
        return f"the link to {target} is not relative"
    if not file.exists():
        return f"the link to {target} leads nowhere"
    resolved = file.resolve()
    if not resolved.is_relative_to(root.resolve()):
        return f"the link to {target} leads out of the repository"
    name = resolved.relative_to(root.resolve()).as_posix()
    if anchor and name in anchors and anchor not in anchors[name]:
        return f"the link to {target} names no heading of {name}"
    return None


if __name__ == "__main__":
    sys.exit(main())
