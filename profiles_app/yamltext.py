"""Profiles' YAML: read it strictly, write it, and change it without losing comments.

A file is one mapping of names to strings, numbers, booleans, nulls, lists and mappings.
What else YAML 1.1 has (anchors, tags, merge keys, several documents) is refused:
https://yaml.org/spec/1.1/
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any, NamedTuple, NoReturn

import yaml

from profiles_app.errors import Problem, YamlProblemError
from profiles_app.variables import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    UNPRINTABLE,
    Scalar,
    YamlPath,
    control_character,
    key_problem,
    path_text,
    read_scalar,
    shown,
    write_entry,
)

MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000  # PyYAML takes some 30 microseconds for each
_NO_COMMENT = 1 << 30  # a column that no comment begins at
_HINTS = {
    "mapping values are not allowed here": "put a value with ': ' in it in quotes, and "
    "indent the names of one mapping alike",
    "cannot start any token": "put a value that begins with it in quotes",
}


@dataclass(frozen=True, slots=True)
class YamlDocument:
    data: dict[str, Any]
    lines: Mapping[YamlPath, int]  # of each key and item, counted from 1; () is the top


def read_yaml(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> YamlDocument:
    """Read one YAML mapping.

    Booleans and integers are YAML 1.1's (`yes`, `0x1f`), and 1e3 is a number. `0777`,
    `1:30`, `1_000` and dates are the text as written; `.inf` is float infinity. Any
    text of 256 KiB, however hostile, takes less than two seconds.

    Raises:
        YamlProblemError: it is too large, not UTF-8 or not YAML, or has what a profile
            has no use for; each problem says on which line.
    """
    reader = _Reader(_decoded(text, max_bytes))
    return YamlDocument(reader.document(), reader.lines)


def _decoded(text: str | bytes, max_bytes: int) -> str:
    size = len(text)  # no more than the bytes
    if isinstance(text, str) and size <= max_bytes:
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise YamlProblemError([Problem(None, "", f"is larger than {max_bytes} bytes")])
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(line, "", "these bytes are not UTF-8; save the file as UTF-8")
        raise YamlProblemError([problem]) from error
    text = text.removeprefix("\ufeff")
    if UNPRINTABLE.search(text):
        messages = map(control_character, text.split("\n"))
        found = [Problem(n, "", said) for n, said in enumerate(messages, start=1) if said]
        raise YamlProblemError(found[:MAX_PROBLEMS])
    return text


class _Span(NamedTuple):
    """Where an entry of a block mapping stands; lines and columns are counted from 0."""

    start: int  # the key's line
    column: int
    stop: int  # the line behind the value's last
    stop_column: int  # where the value ends on that


class _Reader:
    """One document, from PyYAML's events, which expand nothing and do not recurse."""

    def __init__(self, text: str) -> None:
        self.lines: dict[YamlPath, int] = {}
        self.spans: dict[YamlPath, _Span] = {}
        self.stop: int | None = None  # the line of `...`, counted from 0
        self._problems: list[Problem] = []
        self._values = 0
        self._content_end = (0, 0)  # _Span's stop and stop_column, of what has been read
        self._parser = yaml.SafeLoader(text)

    def document(self) -> dict[str, Any]:
        """Read it all; raises YamlProblemError."""
        self._next()  # the stream's start
        root = self._next()
        if isinstance(root, yaml.DocumentStartEvent):
            root = self._next()
        line = self.lines[()] = _line(root)
        if getattr(root, "value", None) == "" or isinstance(root, yaml.StreamEndEvent):
            self._give_up(line, (), "there is nothing here; write lines such as 'name: value'")
        if not isinstance(root, yaml.MappingStartEvent):
            message = "the top level must be a mapping, of lines such as 'name: value'"
            self._problem(line, (), message)
        data: dict[str, Any] = self._value(root, ())
        end = self._next()
        if end.explicit:
            self.stop = end.start_mark.line
        if isinstance(after := self._next(), yaml.DocumentStartEvent):
            self._problem(_line(after), (), "a second document begins; a file holds one")
        if self._problems:
            raise YamlProblemError(self._problems)
        return data

    def _next(self) -> Any:
        try:
            event: Any = self._parser.get_event()  # type: ignore[no-untyped-call]  # stubs
        except yaml.MarkedYAMLError as error:
            self._give_up_at(error)
        except (ValueError, OverflowError) as error:
            # chr() of an escape such as "\UFFFFFFFF", int() of a version's 5000 digits.
            self._give_up(self._parser.line + 1, (), f"this is not YAML: {error}")
        end = event.end_mark
        if end.index > event.start_mark.index:  # what only closes a block has no length
            self._content_end = (end.line + (end.column > 0), end.column)
        return event

    def _give_up_at(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark, problem = error.problem_mark, error.problem or ""
        line = mark.line + 1 if mark else self._parser.line + 1
        if mark and "'\\t'" in problem:
            indentation = (mark.buffer or "")[: mark.pointer].rpartition("\n")[2]
            message = "a tab cannot stand here" if indentation.strip() else "tabs cannot indent"
            self._give_up(line, (), f"{message}; use spaces")
        message = f"this is not YAML: {problem[:200]}"
        if error.context and error.context_mark:
            began = error.context_mark.line + 1
            message += f" {error.context[:200]} that begins on line {began}"
        hints = [hint for words, hint in _HINTS.items() if words in problem]
        self._give_up(line, (), "; ".join([message, *hints]))

    def _give_up(self, line: int, path: YamlPath, message: str) -> NoReturn:
        raise YamlProblemError([*self._problems, Problem(line, path_text(path), message)])

    def _problem(self, line: int, path: YamlPath, message: str) -> None:
        self._problems.append(Problem(line, path_text(path), message))
        if len(self._problems) == MAX_PROBLEMS:
            raise YamlProblemError(self._problems)

    def _value(self, event: Any, path: YamlPath) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            self._give_up(_line(event), path, f"there are more than {MAX_VALUES} values")
        self._refuse_properties(event, path)
        if isinstance(event, yaml.AliasEvent):
            return None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= MAX_DEPTH:
            self._give_up(_line(event), path, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, is_block=not event.flow_style)
        return self._sequence(path)

    def _refuse_properties(self, event: Any, path: YamlPath) -> None:
        is_alias = isinstance(event, yaml.AliasEvent)
        if event.anchor is not None:
            what = "the alias *" if is_alias else "the anchor &"
            message = f"{what}{event.anchor:.40} is not accepted; write the value out"
            self._problem(_line(event), path, message)
        if not is_alias and event.tag is not None:
            tag = shown(event.tag.replace("tag:yaml.org,2002:", "!!", 1))
            self._problem(_line(event), path, f"the tag {tag} is not accepted; leave it out")

    def _scalar(self, event: yaml.ScalarEvent, path: YamlPath) -> Scalar:
        if not event.implicit[0]:  # it is in quotes, or a block
            if message := control_character(event.value):  # by an escape
                self._problem(_line(event), path, message)
            return event.value
        try:
            return read_scalar(event.value)
        except ValueError as error:
            self._problem(_line(event), path, str(error))
            return None

    def _sequence(self, path: YamlPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            inner = (*path, len(items))
            self.lines[inner] = _line(event)
            items.append(self._value(event, inner))
        return items

    def _mapping(self, path: YamlPath, *, is_block: bool) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line, column = _line(event), event.start_mark.column
            key = self._key(event, path)
            inner = (*path, key)
            if key in entries:
                message = f"is given twice; the first is on line {self.lines[inner]}"
                self._problem(line, inner, message)
            self.lines.setdefault(inner, line)
            entries.setdefault(key, self._value(self._next(), inner))
            if is_block:
                self.spans[inner] = _Span(line - 1, column, *self._content_end)
        return entries

    def _key(self, event: Any, path: YamlPath) -> str:
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent):
            message = "a key must be a string, not a list, a mapping or an alias"
            self._problem(line, path, message)
            key = f"the key on line {line}"
            self._value(event, (*path, key))
            return key
        self._refuse_properties(event, path)
        check = key_problem if event.implicit[0] else control_character
        if message := check(event.value):
            self._problem(line, path, message)
        return event.value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def write_yaml(document: Mapping[str, Any]) -> str:
    """Return `document` as YAML for people: in blocks, in its order, never wrapped.

    Raises:
        ValueError: something in it is not a string with printable characters, a finite
            number, infinity, a boolean, None, a list or a mapping with strings as
            keys, or is nested deeper than MAX_DEPTH.
    """
    lines: list[str] = []
    for key, value in document.items():
        _append(lines, write_entry(key, value).splitlines(keepends=True), "\n")
    return "".join(lines) or "{}\n"


def _append(lines: list[str], section: list[str], line_end: str) -> None:
    """Add a top-level section, a blank line before it if either has several lines."""
    last = lines[-1] if lines else "\n"
    if not last.isspace() and (len(section) > 1 or last.startswith(" ")):
        lines.append(line_end)
    lines += section


def rewrite_yaml(text: str, document: Mapping[str, Any]) -> str:
    """Return `text` changed to say `document`, with what can be kept of it as it was.

    Entries of block mappings whose values are the same keep their lines, comments and
    place. A changed entry is written anew there, entry by entry where it is a mapping,
    a new one behind the others. A removed one takes the comments right in front of it
    along, unless they begin the file.

    Raises:
        ValueError: as `write_yaml`. A `text` that cannot be read is written anew.
    """
    fresh = write_yaml(document)
    wanted = _fingerprint(document)
    try:
        reader = _Reader(_decoded(text, MAX_BYTES))
        old = reader.document()
    except YamlProblemError:
        return fresh
    if _fingerprint(old) == wanted:
        return text
    for is_deep in (True, False):
        candidate = _Rewriting(text, reader, is_deep=is_deep).text(old, document)
        # What it says may have changed, as where a `|+` took in the blank lines behind it.
        with suppress(YamlProblemError):
            if _fingerprint(read_yaml(candidate).data) == wanted:
                return candidate
    return fresh


def _fingerprint(value: object) -> str:
    return json.dumps(value, sort_keys=True)  # 1, 1.0 and True are equal, and not the same


class _Entry(NamedTuple):
    """The lines of an entry of a block mapping, with the comments that belong to it."""

    front: int  # the first comment right in front of the key
    start: int  # the key
    stop: int  # behind the value, and behind comments that are indented like it
    following: int  # the front of the next entry; blank lines and comments are between


class _Rewriting:
    def __init__(self, text: str, reader: _Reader, *, is_deep: bool) -> None:
        self._lines = text.splitlines(keepends=True)
        self._line_end = "\r\n" if self._lines[0].endswith("\r\n") else "\n"
        self._stop = len(self._lines) if reader.stop is None else reader.stop
        self._spans = reader.spans
        self._is_deep = is_deep

    def text(self, old: dict[str, Any], new: Mapping[str, Any]) -> str:
        if not self._is_block((), old):
            return ""
        lines = self._mapping((), old, new, range(self._stop))
        return "".join([*lines, *self._lines[self._stop :]])

    def _is_block(self, path: YamlPath, value: Any) -> bool:
        is_filled = isinstance(value, dict) and bool(value)
        return is_filled and all((*path, key) in self._spans for key in value)

    def _mapping(
        self, path: YamlPath, old: Mapping[str, Any], new: Mapping[str, Any], where: range
    ) -> list[str]:
        """Return the lines at `where`, all that `old` has there, made to say `new`."""
        entries = self._entries(path, old, where)
        lines = self._lines[where.start : entries[0].front]
        for (key, value), entry in zip(old.items(), entries, strict=True):
            between = self._lines[entry.stop : entry.following]
            if key not in new:
                if not lines or not lines[-1].strip():
                    between = [*dropwhile(str.isspace, between)]
            elif _fingerprint(value) == _fingerprint(new[key]):
                lines += self._lines[entry.front : entry.stop]
            else:
                lines += self._lines[entry.front : entry.start]
                lines += self._changed((*path, key), value, new[key], entry)
            lines += between
        if key not in new:  # the last one: what set it apart is not needed either
            while lines and lines[-1].isspace():
                lines.pop()
        pad = " " * self._spans[(*path, key)].column
        for key in [key for key in new if key not in old]:
            if lines and not lines[-1].endswith(("\n", "\r")):
                lines[-1] += self._line_end
            section = self._written(key, new[key], pad)
            if path:
                lines += section
            else:
                _append(lines, section, self._line_end)
        return lines

    def _changed(self, path: YamlPath, old: Any, new: Any, entry: _Entry) -> list[str]:
        span, line = self._spans[path], self._lines[entry.start]
        if self._is_deep and self._is_block(path, old) and isinstance(new, Mapping) and new:
            inner = range(entry.start + 1, entry.stop)
            return [line, *self._mapping(path, old, new, inner)]
        lines = self._written(path[-1], new, " " * span.column)
        comment = line[span.stop_column :].lstrip(" :").rstrip()
        if len(lines) == 1 and span.stop == span.start + 1 and comment.startswith("#"):
            lines = [f"{lines[0].rstrip()}  {comment}{self._line_end}"]
        return lines

    def _written(self, key: object, value: object, pad: str) -> list[str]:
        lines = write_entry(key, value).splitlines()
        return [f"{pad if line else ''}{line}{self._line_end}" for line in lines]

    def _entries(self, path: YamlPath, keys: Iterable[str], where: range) -> list[_Entry]:
        spans = [self._spans[(*path, key)] for key in keys]
        fronts, stops = [], []
        free = where.start  # the first line that may belong to the next entry
        for span, after in zip(spans, [*spans[1:], None], strict=True):
            front, stop = span.start, span.stop
            while front > free and self._comment_column(front - 1) <= span.column:
                front -= 1
            for number in range(stop, after.start if after else where.stop):
                if span.column < self._comment_column(number) < _NO_COMMENT:
                    stop = number + 1
            while stop > span.start + 1 and self._lines[stop - 1].isspace():
                stop -= 1  # behind a block of text
            free = stop
            fronts.append(front)
            stops.append(stop)
        if not path and all(self._comment_column(n) == _NO_COMMENT for n in range(fronts[0])):
            fronts[0] = spans[0].start  # the comment that begins the file stays there
        starts = [span.start for span in spans]
        return [*map(_Entry, fronts, starts, stops, [*fronts[1:], where.stop])]

    def _comment_column(self, number: int) -> int:
        line = self._lines[number]
        text = line.lstrip(" ")
        return len(line) - len(text) if text.startswith("#") else _NO_COMMENT
