"""What values mean, and that `${NAME}` among them is put in and is not lost."""

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.errors import YamlProblemError
from profiles_app.variables import (
    MAX_PROBLEMS,
    MAX_SUBSTITUTED_CHARS,
    Scalar,
    has_variables,
    keep_variables,
    path_text,
    substitute,
    write_entry,
)
from profiles_app.yamltext import read_yaml

ENVIRON = {"CTX": "8192", "NAME": "fast", "EMPTY": "", "NESTED": "${NAME}", "LIST": "[a, b]"}
ALLOWED = [*ENVIRON, "UNSET", "WORD", "BELL"]


def result_of(text: str, **more: str) -> Any:
    data, problems = substitute({"a": text}, allowed=ALLOWED, environ={**ENVIRON, **more})
    assert problems == []
    return data["a"]


def messages_of(data: Any, **more: str) -> list[str]:
    kept, problems = substitute(data, allowed=ALLOWED, environ={**ENVIRON, **more})
    assert kept == data
    return [f"{path_text(path)}: {message}" for path, message in problems]


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(YamlProblemError) as caught:
        read_yaml(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("yes", True),
        ("Off", False),
        ("12", 12),
        ("-0x1F", -31),
        ("1e3", 1000.0),
        ("+1.5E-1", 0.15),
        (".5", 0.5),
        ("08.5", 8.5),
        (".inf", math.inf),
        ("+.INF", math.inf),
        ("0777", "0777"),
        ("0o17", "0o17"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("<<", "<<"),
        ("=", "="),
        ("information", "information"),
        ("'inf'", "inf"),
        ('"-Infinity"', "-Infinity"),
        ("'12'", "12"),
        ("|-\n  12", "12"),
    ],
)
def test_a_scalar_means_what_stands_there(written: str, value: Scalar) -> None:
    read = read_yaml(f"a: {written}\n").data["a"]

    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("word", ["inf", "Infinity", "infinity", "+inf", "-inf", "INF"])
def test_infinity_without_its_point_is_refused(word: str) -> None:
    assert problems_of(f"a:\n  - {word}") == [
        f"line 2: a[0]: {word} is only a word in YAML; write .inf for no limit, "
        "or put it in quotes"
    ]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (".nan", ".nan is not accepted; write a number, or .inf for no limit"),
        ("-.inf", "-.inf is not accepted; write a number, or .inf for no limit"),
        ("1e999", "'1e999' is too large for a number; write .inf for no limit"),
        ("1" * 31, f"'{'1' * 31}' is too long; an integer has at most 30 digits"),
        ("1" * 5000, f"'{'1' * 40}…' is too long; an integer has at most 30 digits"),
        ('"\\a"', "the control character U+0007 is not accepted; remove it"),
        ('"\\ud800"', "the control character U+D800 is not accepted; remove it"),
        ("!!python/object:os.x 1", "the tag '!!python/object:os.x' is not accepted"),
        ("!!binary aGk=", "the tag '!!binary' is not accepted"),
        ("!x 1", "the tag '!x' is not accepted"),
        ("! 1", "the tag '!' is not accepted"),
        ("&x 1", "the anchor &x is not accepted"),
        ("*x", "the alias *x is not accepted"),
    ],
)
def test_a_value_is_refused_by_name(written: str, message: str) -> None:
    [problem] = problems_of(f"a: {written}")

    assert problem.startswith(f"line 1: a: {message}")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("1", "a key must be a string, and '1' is a number; put it in quotes"),
        (".nan", "a key must be a string, and '.nan' is a number; put it in quotes"),
        ("on", "a key must be a string, and on is a boolean in YAML 1.1 (as are on, off, "
         'yes, no, true and false); write "on"'),
        ("null", "a key must be a string, not null; give it a name"),
        ("? \n", "a key must be a string, not empty; give it a name"),
        ("<<", "the merge key << is not accepted; write its entries here"),
        ("? [a, b]\n", "a key must be a string, not a list, a mapping or an alias"),
        ('"\\0"', "the control character U+0000 is not accepted; remove it"),
    ],
)  # fmt: skip
def test_a_key_must_be_a_string(key: str, message: str) -> None:
    assert problems_of(f"{key}: x") == [f"line 1: {message}"]


def test_keys_that_only_look_odd_are_strings() -> None:
    data = read_yaml("'on': 1\n\"1\": 2\n2024-01-01: 3\ninf: 4\n'<<': 5\n").data

    assert data == {"on": 1, "1": 2, "2024-01-01": 3, "inf": 4, "<<": 5}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("\a", "U\\+0007 is not accepted"),
        ("\ud800", "U\\+D800 is not accepted"),
        (math.nan, "nan is not accepted"),
        (-math.inf, "-inf is not accepted"),
        (10**30, "at most 30 digits"),
        (b"", "a bytes cannot be written"),
        ({1: 2}, "a key must be a string, not 1"),
    ],
)
def test_what_yaml_cannot_carry_is_not_written(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_entry("a", [value])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${CTX}", 8192),
        ("${UNSET:-8192}", 8192),
        ("${UNSET:-true}", True),
        ("${UNSET:-.inf}", math.inf),
        ("${UNSET:-}", None),
        ("${EMPTY}", None),
        ("${EMPTY:-x}", "x"),
        ("${CTX:-1}", 8192),
        ("${UNSET:-$5 a day}", "$5 a day"),
        ("a ${NAME} b", "a fast b"),
        ("${CTX}${CTX}", "81928192"),
        (" ${CTX}", " 8192"),
        ("$${CTX}", "${CTX}"),
        ("$${CTX", "${CTX"),
        ("$CTX $$ {CTX}", "$CTX $$ {CTX}"),
        ("${NESTED}", "${NAME}"),
        ("${LIST}", "[a, b]"),
    ],
)
def test_a_variable_is_put_in(text: str, value: object) -> None:
    result = result_of(text)

    assert (type(result), result) == (type(value), value)


def test_variables_are_found_at_any_depth_but_not_in_keys() -> None:
    data = {"${NAME}": [{"b": "${CTX}"}, 1, None]}

    resolved, problems = substitute(data, allowed=ALLOWED, environ=ENVIRON)

    assert resolved == {"${NAME}": [{"b": 8192}, 1, None]}
    assert problems == []
    assert data == {"${NAME}": [{"b": "${CTX}"}, 1, None]}


def test_a_variable_that_is_not_allowed_is_named_with_those_that_are() -> None:
    data = {"tiers": [{"name": "x${HOME}"}]}

    resolved, problems = substitute(data, allowed=["B", "A"], environ={"HOME": "/root"})

    assert resolved == data
    assert problems == [
        (("tiers", 0, "name"), "the variable 'HOME' is not allowed; allowed: A, B")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET}", "the variable UNSET is not set; set it, or give a default: ${UNSET:-…}"),
        ("${CTX", "'${CTX' is no variable; write ${NAME} or ${NAME:-default} with its"),
        ("a ${1X}", "'${1X}' is no variable"),
        ("${UNSET:-${CTX}}", "'${UNSET:-${CTX}}' is no variable"),
        ("${WORD}", "the variable WORD: inf is only a word in YAML; write .inf"),
        ("a${BELL}", "the variable BELL: the control character U+0007 is not accepted"),
    ],
)
def test_what_cannot_be_put_in_is_a_problem(text: str, message: str) -> None:
    messages = messages_of({"a": text}, WORD="inf", BELL="\a")

    assert messages[0].startswith(f"a: {message}")


def test_all_problems_of_a_document_are_told() -> None:
    assert [message[:24] for message in messages_of({"a": "${X}${Y}", "b": ["${UNSET}"]})] == [
        "a: the variable 'X' is n",
        "a: the variable 'Y' is n",
        "b[0]: the variable UNSET",
    ]
    assert len(messages_of({"a": "${X}" * 1000})) == MAX_PROBLEMS


def test_a_short_text_does_not_become_a_huge_one() -> None:
    [first, *_] = messages_of({"a": "${NAME}" * 300}, NAME="x" * 1000)

    assert first == f"a: the variables hold more than {MAX_SUBSTITUTED_CHARS} characters"


@pytest.mark.parametrize("hostile", ["${A:-", "${", "${A", "$", "${" + "A" * 100, "$${"])
def test_the_work_grows_with_the_text(hostile: str) -> None:
    text = hostile * (256 * 1024 // len(hostile))
    started = time.process_time()

    substitute({"a": text}, allowed=(), environ={})

    assert time.process_time() - started < 2


def test_a_document_has_variables_or_not() -> None:
    assert has_variables({"a": [{"b": "x ${CTX}"}]})
    assert has_variables("$${")
    assert not has_variables({"${CTX}": ["$CTX", 1, None]})


WRITTEN = {
    "a": "${CTX:-8192}",
    "b": ["${NAME}", "x"],
    "c": {"d": "n-${NAME}", "e": 1},
    "f": "${UNSET:-1}",
}
BEFORE = {"a": 8192, "b": ["fast", "x"], "c": {"d": "n-fast", "e": 1}, "f": 1}


def test_what_has_not_changed_keeps_its_variables() -> None:
    assert keep_variables(WRITTEN, BEFORE, BEFORE) == WRITTEN
    assert keep_variables(WRITTEN, BEFORE, {**BEFORE, "a": 8192.0})["a"] == "${CTX:-8192}"


def test_what_has_changed_is_as_it_is_now() -> None:
    now = {"a": 4096, "b": ["fast", "y"], "c": {"d": "n-fast", "g": 2}, "f": True, "h": 3}

    assert keep_variables(WRITTEN, BEFORE, now) == {
        "a": 4096,
        "b": ["${NAME}", "y"],
        "c": {"d": "n-${NAME}", "g": 2},
        "f": True,
        "h": 3,
    }


@pytest.mark.parametrize("now", [["fast"], {"b": 1}, "fast", None])
def test_a_list_of_another_length_or_kind_is_as_it_is_now(now: object) -> None:
    assert keep_variables(["${NAME}", "x"], ["fast", "x"], now) == now


@given(
    st.recursive(
        st.sampled_from(["${CTX}", "x${NAME}", "${UNSET:-true}", "a", 1, None]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc"), inner),
        max_leaves=10,
    )
)
def test_kept_variables_come_to_the_same_document(written: Any) -> None:
    resolved, problems = substitute(written, allowed=ALLOWED, environ=ENVIRON)

    assert problems == []
    assert keep_variables(written, resolved, resolved) == written


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("tier_config", 1, "max_score"), "tier_config[1].max_score"),
        (("a", "b.c", 0), "a['b.c'][0]"),
        (("x" * 100,), f"['{'x' * 40}…']"),
    ],
)
def test_a_path_is_written_as_people_do(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text
