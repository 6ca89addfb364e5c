"""Values in a profile's YAML: what they mean, how they are written, and `${NAME}` in them.

What text without quotes means is YAML 1.1 (https://yaml.org/type/) without its surprises.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

MAX_DEPTH = 20  # collections inside each other; the top-level mapping is the first
MAX_PROBLEMS = 100
MAX_SUBSTITUTED_CHARS = 256 * 1024  # in one document; a short file can name a long value often

YamlPath = tuple[str | int, ...]
Scalar = str | int | float | bool | None

_PLAIN_KEY = re.compile(r"[\w-]{1,64}")
_LONGEST_SIMPLE_KEY = 1000  # YAML looks 1024 characters ahead for the colon
_MAX_INTEGER = 10**30
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0b[01]+)")
# With an exponent the point may be missing: 1e3, which PyYAML takes for a string.
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_INFINITY = (".inf", ".Inf", ".INF")
_NAN = (".nan", ".NaN", ".NAN")
_MEANINGS: dict[str, bool | None] = {
    "null": None,
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_WORDS = {"": None, "~": None} | {
    form: meaning
    for word, meaning in _MEANINGS.items()
    for form in (word, word.capitalize(), word.upper())
}
# All but c-printable of the YAML 1.1 specification, lone surrogates among it.
UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Printable, but folded into a line feed, skipped or not to be seen where they stand raw.
ODD_SPACES = re.compile("[\r\x85\xa0\u2028\u2029\ufeff]")
# Text begins with a letter, so that no other reader of YAML sees a number or a date either.
_PLAIN = re.compile(r"(?:[^\W\d]|/)(?:[\w ./+@=,()'-]|:(?=[\w/]))*(?<! )")
# A literal `$${`, a variable, or what only begins like one. A default ends at the next `${`,
# which keeps the work linear when nothing is closed.
_VARIABLE = re.compile(
    r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:[^}$]|\$(?!\{))*))?\}|\$\{"
)


def path_text(path: Iterable[str | int]) -> str:
    """Return `path` as people write it; a key that is no simple name is in quotes.

    >>> path_text(("tier_config", 1, "max_score"))
    'tier_config[1].max_score'
    """
    text = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{shown(step) if isinstance(step, str) else step}]"
    return text


def shown(text: str) -> str:
    """Return `text` in quotes, short enough for a message."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def control_character(text: str) -> str:
    """Return why YAML cannot carry `text`, or an empty string."""
    if not (found := UNPRINTABLE.search(text)):
        return ""
    return f"the control character U+{ord(found[0]):04X} is not accepted; remove it"


def read_scalar(text: str) -> Scalar:
    """Return what `text` means where it stands as a value without quotes.

    Raises:
        ValueError: with a sentence that says what to write instead.
    """
    value = _resolved(text)
    if isinstance(value, str) and value.lower().lstrip("+-") in ("inf", "infinity"):
        msg = f"{value} is only a word in YAML; write .inf for no limit, or put it in quotes"
        raise ValueError(msg)
    return value


def _resolved(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if text.removeprefix("+") in _INFINITY:
        return float("inf")
    if text.lstrip("+-") in (*_INFINITY, *_NAN):
        msg = f"{text} is not accepted; write a number, or .inf for no limit"
        raise ValueError(msg)
    if _INTEGER.fullmatch(text):
        # The length first, because Python refuses int() of more than 4300 digits.
        if len(text) > 128 or abs(int(text, 0)) >= _MAX_INTEGER:
            msg = f"{shown(text)} is too long; an integer has at most 30 digits"
            raise ValueError(msg)
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            msg = f"{shown(text)} is too large for a number; write .inf for no limit"
            raise ValueError(msg)
        return number
    return text


def key_problem(text: str) -> str:
    """Return why `text` without quotes is no key, or an empty string."""
    if text == "<<":
        return "the merge key << is not accepted; write its entries here"
    try:
        meaning = _resolved(text)
    except ValueError:
        meaning = 0
    if isinstance(meaning, str):
        return ""
    if meaning is None:
        return f"a key must be a string, not {text or 'empty'}; give it a name"
    if isinstance(meaning, bool):
        return (
            f"a key must be a string, and {text} is a boolean in YAML 1.1 (as are on, off, "
            f'yes, no, true and false); write "{text}"'
        )
    return f"a key must be a string, and {shown(text)} is a number; put it in quotes"


def write_scalar(value: object) -> str:
    """Return `value` on one line, in quotes where it would be read as something else.

    Raises:
        ValueError: YAML, or what `read_scalar` accepts of it, cannot carry the value.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) >= _MAX_INTEGER:
            msg = "an integer has at most 30 digits"
            raise ValueError(msg)
        return str(int(value))
    if isinstance(value, float):
        if not value > float("-inf"):  # nor is NaN
            msg = f"{value} is not accepted; write a number, or .inf for no limit"
            raise ValueError(msg)
        return ".inf" if value == float("inf") else repr(float(value))
    if not isinstance(value, str):
        msg = f"a {type(value).__name__} cannot be written as YAML"
        raise ValueError(msg)  # noqa: TRY004  # as for every value that YAML cannot carry
    if problem := control_character(value):
        raise ValueError(problem)
    if _PLAIN.fullmatch(value) and _means_itself(value):
        return value
    # JSON's escapes are YAML's.
    quoted = json.dumps(value, ensure_ascii=False)
    return ODD_SPACES.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _means_itself(text: str) -> bool:
    try:
        return read_scalar(text) == text
    except ValueError:
        return False


def write_entry(key: object, value: object, pad: str = "") -> str:
    """Return the lines of `key: value`, each indented by `pad` and more.

    Raises:
        ValueError: as `write_scalar`, or it is nested deeper than MAX_DEPTH.
    """
    if not isinstance(key, str):
        msg = f"a key must be a string, not {key!r}"
        raise ValueError(msg)  # noqa: TRY004  # as for every value that YAML cannot carry
    name = write_scalar(key)
    if len(name) > _LONGEST_SIMPLE_KEY:
        name = f"? {name}\n{pad}"
    return f"{pad}{name}:{_written(value, pad)}"


def _written(value: object, pad: str) -> str:
    """Return what follows the `key:` or the `-` at the indentation `pad`."""
    deeper = f"{pad}  "
    if isinstance(value, Mapping | list | tuple) and len(deeper) // 2 >= MAX_DEPTH:
        msg = f"the document is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)
    if isinstance(value, Mapping):
        entries = [write_entry(key, inner, deeper) for key, inner in value.items()]
        return "\n" + "".join(entries) if entries else " {}\n"
    if isinstance(value, list | tuple):
        # A collection begins on the line of its dash: "- name: fast".
        items = [_written(item, deeper) for item in value]
        items = [f" {item[len(deeper) + 3 :]}" if item[0] == "\n" else item for item in items]
        return "\n" + "".join(f"{deeper}-{item}" for item in items) if items else " []\n"
    scalar = write_scalar(value)
    if not isinstance(value, str) or not _is_literal(value):
        return f" {scalar}\n"
    lines = value.removesuffix("\n").split("\n")
    body = "".join(f"{deeper}{line}\n" if line else "\n" for line in lines)
    return (" |\n" if value.endswith("\n") else " |-\n") + body


def _is_literal(text: str) -> bool:
    """Tell whether a `|` block carries `text`, and its reader sees every character."""
    lines = text.removesuffix("\n").split("\n")
    is_visible = bool(lines[0]) and not lines[0][0].isspace() and bool(lines[-1])
    is_visible = is_visible and all(line == line.rstrip() for line in lines)
    return "\n" in text and is_visible and not ODD_SPACES.search(text)


class Unresolved(NamedTuple):
    """Why a string's variables could not be put in."""

    path: YamlPath
    message: str


def substitute(
    data: Any,
    *,
    allowed: Collection[str],
    environ: Mapping[str, str],
) -> tuple[Any, list[Unresolved]]:
    """Put the environment's values where `data` says `${NAME}` or `${NAME:-default}`.

    A string that is one variable and nothing else means what the value means as a
    scalar: a number, a boolean, null if it is empty. As in a shell, the default is also
    taken for a variable that is empty. `$${` is the characters `${`. Keys are left alone.

    Args:
        data: mappings, lists and scalars; it is not changed.
        allowed: the names that may be asked for.

    Returns:
        The data, and at most MAX_PROBLEMS of what is wrong; a string that something is
        wrong with stays as written.
    """
    work = _Substitution(allowed, environ)
    return work.value(data, ()), work.problems


def has_variables(data: Any) -> bool:
    """Tell whether `substitute` would change a value; `$${` counts too."""
    if isinstance(data, dict):
        return any(map(has_variables, data.values()))
    if isinstance(data, list):
        return any(map(has_variables, data))
    return isinstance(data, str) and "${" in data


def keep_variables(written: Any, resolved_before: Any, now: Any) -> Any:
    """Return `now` with the variables of `written` where their values have not changed.

    Args:
        written: the document with `${…}`.
        resolved_before: what `substitute` made of it.
        now: the document as it is to be. Items of a list are compared by their place,
            and only if the list is as long as it was.
    """
    three = (written, resolved_before, now)
    if all(isinstance(each, dict) for each in three):
        return {
            key: keep_variables(written[key], resolved_before[key], value)
            if key in written and key in resolved_before
            else value
            for key, value in now.items()
        }
    if all(isinstance(each, list) for each in three):
        if len(written) == len(resolved_before) == len(now):
            return list(map(keep_variables, written, resolved_before, now))
        return now
    # 5 and 5.0 are the same, for a number field makes one of the other; 1 and True are not.
    is_unchanged = resolved_before == now and (
        isinstance(resolved_before, bool) == isinstance(now, bool)
    )
    return written if is_unchanged and has_variables(written) else now


class _Substitution:
    def __init__(self, allowed: Collection[str], environ: Mapping[str, str]) -> None:
        self.problems: list[Unresolved] = []
        self._allowed = frozenset(allowed)
        self._those = ", ".join(sorted(self._allowed)) or "none"
        self._environ = environ
        self._chars_left = MAX_SUBSTITUTED_CHARS

    def value(self, value: Any, path: YamlPath) -> Any:
        if isinstance(value, dict):
            return {key: self.value(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, (*path, index)) for index, inner in enumerate(value)]
        if not has_variables(value):
            return value
        messages: list[str] = []
        result = self._resolved(value, messages)
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += [Unresolved(path, message) for message in messages[:room]]
        return value if messages else result

    def _resolved(self, text: str, messages: list[str]) -> Scalar:
        def put_in(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            value, message = self._asked_for(found)
            if message and len(messages) < MAX_PROBLEMS:
                messages.append(message)
            return value

        result = _VARIABLE.sub(put_in, text)
        only = _VARIABLE.fullmatch(text)
        if messages or not only or only[1] is None:
            return result
        try:
            return read_scalar(result)
        except ValueError as error:
            messages.append(f"the variable {only[1]}: {error}")
            return None

    def _asked_for(self, found: re.Match[str]) -> tuple[str, str]:
        """Return the variable's value and an empty string, or anything and why not."""
        name, default = found[1], found[2]
        if name is None:
            begun = shown(found.string[found.start() : found.start() + 41])
            return "", (
                f"{begun} is no variable; write ${{NAME}} or ${{NAME:-default}} with its "
                "closing brace and no variable in the default, or $${ for the characters ${"
            )
        if name not in self._allowed:
            return "", f"the variable {shown(name)} is not allowed; allowed: {self._those}"
        value = self._environ.get(name)
        if not value and default is not None:
            value = default
        if value is None:
            way_out = f"set it, or give a default: ${{{name}:-…}}"
            return "", f"the variable {name} is not set; {way_out}"
        self._chars_left -= len(value)
        if self._chars_left < 0:
            return "", f"the variables hold more than {MAX_SUBSTITUTED_CHARS} characters"
        problem = control_character(value)
        return value, f"the variable {name}: {problem}" if problem else ""
