"""
Reads YAML 1.2 into plain values, and remembers the line of every key.

libyaml parses (several times faster than a pure Python parser on a catalogue of 10,000 products) and the values are built
here from its events, because only so are repeated keys, alias loops, endless nesting and line numbers all seen in time.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import DeclarationError, Fault

KeyPath = tuple[str | int, ...]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

MAX_BYTES = 10_000_000
MAX_DEPTH = 20
MAX_VALUES = 2_000_000  # with what aliases repeat

# The core schema of YAML 1.2.2, section 10.3.2: `no`, `on` and dates stay text. So do, against its letter, digits with a
# leading zero and numbers of over 18 digits: in a shop they are ids, and as numbers they would lose what sets them apart.
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Value]], ...] = (
    (re.compile(r"(?:|~|null|Null|NULL)\Z"), lambda _: None),
    (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text[0] in "tT"),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), int),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?\Z"), float),
    (re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+\Z"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z"), lambda text: -math.inf if text[0] == "-" else math.inf),
    (re.compile(r"\.(?:nan|NaN|NAN)\Z"), lambda _: math.nan),
)


@dataclass(frozen=True)
class Source:
    """
    The values of one YAML file, and where each of them stands.

    Attributes:
        file: The file as the caller named it.
        value: Plain Python values; mappings keep their order.
        lines: 1-based line of every path in `value`; what an alias repeats has the line of its anchor's parent.
        faults: What is wrong with the file as YAML, but did not stop the reading; `validate` adds its own.
    """

    file: str
    value: Value
    lines: dict[KeyPath, int] = field(repr=False)
    faults: tuple[Fault, ...] = ()

    def line(self, path: KeyPath) -> int:
        """Return the line of a path, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(path: Path) -> Source:
    """
    Read one YAML file.

    Raises:
        DeclarationError: The file cannot be read, is empty, is not YAML, or grows out of bounds.
    """
    text = read_text(path)
    builder = _Builder(str(path), text)
    try:
        value = builder.document()
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise _fault(path, line, f"the control character U+{int(error.character):04X}", "printable text") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_fault(path, text, error) from None
    return Source(str(path), value, builder.lines, tuple(builder.faults))


def read_text(path: Path) -> str:
    """
    Read a file of declarations as text.

    Raises:
        DeclarationError: It cannot be read, is too large, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _fault(path, 0, f"a file of {size:,} bytes", f"at most {MAX_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise _fault(path, 0, f"no readable file ({error.strerror})", "a YAML file") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _fault(path, line, f"the byte {content[error.start]:#04x}", "UTF-8 text") from None


def _fault(path: Path, line: int, found: str, wanted: str) -> DeclarationError:
    return DeclarationError([Fault(str(path), line, "", found, wanted)])


def _syntax_fault(path: Path, text: str, error: yaml.MarkedYAMLError) -> DeclarationError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    content = text.splitlines()[line - 1 : line]
    if content and "\t" in content[0][: len(content[0]) - len(content[0].lstrip())]:
        return _fault(path, line, "a tab in the indentation", "spaces: YAML does not allow tabs there")
    return _fault(path, line, f"text that is not YAML ({error.problem})", "well-formed YAML")


def _scalar(event: yaml.ScalarEvent) -> Value:
    text = str(event.value)
    if not event.style:  # quoted and block scalars are text, whatever they look like
        for pattern, convert in _CORE:
            if pattern.match(text):
                return convert(text)
    return text


class _Builder:
    """Builds values out of parser events; collects the faults on its way, and stops only where it cannot go on."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.parser = yaml.CSafeLoader(text)
        self.faults: list[Fault] = []
        self.lines: dict[KeyPath, int] = {}
        self.anchors: dict[str, tuple[Value, int]] = {}  # value and how many values it holds
        self.count = 0

    def document(self) -> Value:
        self.parser.get_event()  # the stream's start
        if self.parser.check_event(yaml.StreamEndEvent):
            raise DeclarationError([Fault(self.file, 1, "", "an empty file", "a declaration")])
        self.parser.get_event()  # the document's start
        value = self._value(self._next(), ())
        self.parser.get_event()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise DeclarationError([self._fault(after, (), "a second document", "one document a file")])
        return value

    def _next(self) -> Any:
        return self.parser.get_event()

    def _value(self, event: Any, path: KeyPath) -> Value:
        self.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) > MAX_DEPTH:
            raise DeclarationError([self._fault(event, path[:3], "nesting without end", f"at most {MAX_DEPTH} levels")])
        before = self.count
        self._add(1, event, path)
        if event.tag is not None:
            self.faults.append(self._fault(event, path, f"the tag {event.tag}", "plain YAML without tags"))
        value: Value
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                value.append(self._value(item, (*path, len(value))))
        else:
            value = _scalar(event)
        if event.anchor is not None:  # only now: an alias inside its own anchor finds nothing
            self.anchors[event.anchor] = value, self.count - before
        return value

    def _mapping(self, path: KeyPath) -> dict[str, Value]:
        built: dict[str, Value] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise DeclarationError([self._fault(event, path, "a key that is no plain text", "plain text")])
            key = str(event.value)
            here = (*path, key)
            if key in built:
                wanted = f"each key once; it stands in line {self.lines[here]} already"
                self.faults.append(self._fault(event, here, f"the key `{key}` a second time", wanted))
                self._value(self._next(), (*path, f"{key} again"))
                continue
            self.lines[here] = line
            built[key] = self._value(self._next(), here)
        return built

    def _alias(self, event: Any, path: KeyPath) -> Value:
        if event.anchor not in self.anchors:
            self.faults.append(self._fault(event, path, f"the alias *{event.anchor}", "an anchor that ends before it"))
            return None
        value, size = self.anchors[event.anchor]
        self._add(size, event, path)
        return value

    def _add(self, size: int, event: Any, path: KeyPath) -> None:
        self.count += size
        if self.count > MAX_VALUES:
            found = "aliases that multiply without end" if size > 1 else "a file without end"
            raise DeclarationError([self._fault(event, path[:3], found, f"at most {MAX_VALUES:,} values")])

    def _fault(self, event: Any, path: KeyPath, found: str, wanted: str) -> Fault:
        return Fault(self.file, event.start_mark.line + 1, ".".join(map(str, path)), found, wanted)
