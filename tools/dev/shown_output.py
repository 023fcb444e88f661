"""Compares the output that a page shows with the real one.

Both are the same, except for parts that vary by nature. These are compared by form: an id stands for an id, a time for
a time, a UUID for a UUID, and `••••` for the secret of a credential. An id that is shown twice stands for the same id.
`…` in a text stands for any text; in the place of a member of an object, for further members; at the end of a list, for
further items; alone in the last line, for further lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

ELLIPSIS = "…"
SECRET = "[0-9A-Za-z]{49}"
# Parts that vary, each with the expression for the real one. The first name of a group is the kind.
FORMS = {
    "ulid": (r"(?<![0-9A-Za-z])[0-7][0-9A-HJKMNP-TV-Z]{25}(?![0-9A-Za-z])", r"[0-7][0-9A-HJKMNP-TV-Z]{25}"),
    "uuid": (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",) * 2,
    "milliseconds": (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",) * 2,
    "seconds": (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",) * 2,
    "secret": ("••••", SECRET),
    "any": (ELLIPSIS, ".*"),
}
NUMBER = (r"(?<![\w.-])\d+(?![\w.-])", r"\d+")
CREDENTIAL = re.compile(r"\b([a-z][a-z0-9]{1,9}_[a-z]{3}_[0-9A-Z_]+_)([0-9A-Za-z]{49})\b")
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|…|[\[\]{}]|[^"…\[\]{}]+', re.DOTALL)
STATUS = re.compile(r"^HTTP (\d{3})$")
HEADER = re.compile(r"^([A-Za-z][A-Za-z-]*): (.*)$")


class NotComparable(Exception):
    """The page shows an output in a form that cannot be compared."""


@dataclass
class Response:
    """The status and the headers of an HTTP response, the names in lower case."""

    status: int
    headers: dict[str, str]


@dataclass
class Comparison:
    """The comparisons of one page, which share the ids."""

    numbers_vary: bool = False
    # The real id for each one that is shown.
    ids: dict[str, str] = field(default_factory=dict)

    def differences(self, shown: list[str], real: str, response: Response | None) -> Iterator[str]:
        """What is different in a real output, whose response was read apart if the command was a request."""
        shown = "\n".join(shown).strip().split("\n")
        if status := STATUS.match(shown[0]):
            if response is None:
                yield "the page shows an HTTP status, and the command sent no request with curl"
                return
            if response.status != int(status[1]):
                yield f"status: the page shows {status[1]}, and the response has {response.status}"
            shown = shown[1:]
            while shown and (header := HEADER.match(shown[0])):
                yield from self.header_differences(header[1], header[2], response.headers)
                shown = shown[1:]
        text = "\n".join(shown).strip()
        if text.startswith(("{", "[")):
            yield from self.json_differences(text, real)
        else:
            yield from self.text_differences(text, real.strip())

    def header_differences(self, name: str, shown: str, headers: dict[str, str]) -> Iterator[str]:
        real = headers.get(name.lower())
        if real is None or not self.is_same_text(shown, real):
            yield f"header {name}: the page shows {shown!r}, and the response has {real!r}"

    def json_differences(self, shown: str, real: str) -> Iterator[str]:
        expected = parse_shown(shown)
        try:
            actual = json.loads(real)
        except ValueError:
            yield "the page shows JSON, and the real output is none"
            return
        yield from self.value_differences("", expected, actual)

    def value_differences(self, place: str, shown: object, real: object) -> Iterator[str]:
        if isinstance(shown, dict) and isinstance(real, dict):
            names = shown.keys() - {ELLIPSIS}
            for name in sorted(names - real.keys()):
                yield f"{place}.{name}: the page shows it, and the real output does not have it"
            for name in sorted(real.keys() - names) if ELLIPSIS not in shown else ():
                yield f"{place}.{name}: the real output has it, and the page neither shows it nor has a `…` there"
            for name in (name for name in shown if name in real):
                yield from self.value_differences(f"{place}.{name}", shown[name], real[name])
        elif isinstance(shown, list) and isinstance(real, list):
            is_open = shown[-1:] == [ELLIPSIS]
            items = shown[:-1] if is_open else shown
            if len(real) < len(items) or len(real) > len(items) and not is_open:
                yield f"{place}: the page shows {len(items)} items, and the real output has {len(real)}"
            for index, (item, actual) in enumerate(zip(items, real, strict=False)):
                yield from self.value_differences(f"{place}[{index}]", item, actual)
        elif isinstance(shown, str) and isinstance(real, str):
            if not self.is_same_text(shown, real):
                yield f"{place}: the page shows {as_json(shown)}, and the real output has {as_json(real)}"
        elif type(shown) is not type(real) or shown != real:
            yield f"{place}: the page shows {as_json(shown)}, and the real output has {as_json(real)}"

    def text_differences(self, shown: str, real: str) -> Iterator[str]:
        expected, actual = shown.split("\n"), real.split("\n")
        is_open = expected[-1].strip() == ELLIPSIS
        expected = expected[:-1] if is_open else expected
        if len(actual) < len(expected) or len(actual) > len(expected) and not is_open:
            yield f"the page shows {len(expected)} lines, and the real output has {len(actual)}"
        for number, (line, other) in enumerate(zip(expected, actual, strict=False), 1):
            # The width of a column is that of its longest value.
            if not self.is_same_text(" ".join(line.split()), " ".join(other.split())):
                yield f"line {number}: the page shows {line.strip()!r}, and the real output has {other.strip()!r}"

    def is_same_text(self, shown: str, real: str) -> bool:
        """Whether a text is the shown one, by form where it varies. Learns which ids the shown ones stand for."""
        forms = FORMS | ({"number": NUMBER} if self.numbers_vary else {})
        alternatives = re.compile("|".join(f"(?P<{kind}>{form})" for kind, (form, _) in forms.items()))
        expression, end, ids = "", 0, []
        for part in alternatives.finditer(shown):
            kind = str(part.lastgroup)
            expression += re.escape(shown[end : part.start()])
            expression += f"({forms[kind][1]})" if kind == "ulid" else f"(?:{forms[kind][1]})"
            end = part.end()
            if kind == "ulid":
                ids.append(part[0])
        found = re.fullmatch(expression + re.escape(shown[end:]), real, re.DOTALL)
        return found is not None and all(self.is_same_id(*pair) for pair in zip(ids, found.groups(), strict=True))

    def is_same_id(self, shown: str, real: str) -> bool:
        if shown not in self.ids and real in self.ids.values():
            return False
        return self.ids.setdefault(shown, real) == real


def parse_shown(text: str) -> object:
    """Parses JSON in which `…` can stand for members or items."""
    standard, open_brackets = "", [""]
    for token in JSON_TOKEN.findall(text):
        if token in "{[":
            open_brackets.append(token)
        elif token in "]}":
            open_brackets.pop()
        elif token == ELLIPSIS:
            token = '"…": null' if open_brackets[-1] == "{" else '"…"'
        standard += token
    try:
        return json.loads(standard)
    except ValueError as error:
        raise NotComparable(f"what the page shows is not JSON with `…` for members or items: {error}") from None


def as_json(value: object) -> str:
    return masked(json.dumps(value, ensure_ascii=False))


def masked(text: str) -> str:
    """The text without the secrets of credentials."""
    return CREDENTIAL.sub(r"\1••••", text)


def secrets(text: str) -> Iterator[str]:
    """The secrets of the credentials in a text, without their checksums."""
    for _, secret in CREDENTIAL.findall(text):
        yield secret[:43]
