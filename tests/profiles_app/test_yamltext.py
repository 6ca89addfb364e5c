"""What is read of YAML and what is refused, and that nothing is lost in writing."""

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.errors import YamlProblemError
from profiles_app.variables import MAX_DEPTH, MAX_PROBLEMS
from profiles_app.yamltext import (
    MAX_BYTES,
    MAX_VALUES,
    read_yaml,
    rewrite_yaml,
    write_yaml,
)

SHIPPED = sorted(Path(django_settings.BASE_DIR, "config", "profiles").glob("*.yaml"))

# What other readers of YAML take for a number, a boolean, a date or the end of a document.
AWKWARD = ["null", "yes", "on", "1e3", "~", "0x1f", "0777", "1:30", "1_000", "2024-01-01"]
AWKWARD += ["inf", "-Infinity", ".inf", ".nan", "", " lead", "trail ", "a: b", "a:", "# no"]
AWKWARD += ["a #b", "- a", "? a", "<<", "=", "---", "...", "%YAML", "[", "}", "!x", "&a", "*a"]
AWKWARD += ["é", "🙂", "\ufeff", "\x85", "\u2028", "\xa0a", "\t", "a\tb", "\r\n", "\n", "a\n"]
AWKWARD += ["a\nb", "a\n\n", "\na", "a\n b\n", " a\nb", "a\n\nb", "a \nb", "# a\n# b\n"]
AWKWARD += ["'", '"', "\\n", "${X}", "a\n\tb", "a" * 2000, "---\n...\n", "1e999", "9" * 40]
PRINTABLE = st.text(
    st.sampled_from("ab :#-\n'\"\t\r\\")
    | st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
    max_size=20,
)
STRINGS = st.sampled_from(AWKWARD) | PRINTABLE
FLOATS = st.floats(allow_nan=False).filter(lambda number: number != -math.inf)
SCALARS = STRINGS | FLOATS | st.integers(1 - 10**30, 10**30 - 1) | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(STRINGS, VALUES, max_size=5)


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(YamlProblemError) as caught:
        read_yaml(text)
    return [str(problem) for problem in caught.value.problems]


def json_of(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_is_read_and_written_as_it_is(path: Path) -> None:
    text = path.read_text()
    data = read_yaml(text).data

    assert data["profile"]["name"]
    assert data["tier_config"][-1]["max_score"] == math.inf
    assert rewrite_yaml(text, data) == text
    assert read_yaml(write_yaml(data)).data == data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: there is nothing here"),
        ("# only this\n", "line 2: there is nothing here"),
        ("---\n", "line 2: there is nothing here"),
        ("- a\n", "line 1: the top level must be a mapping"),
        ("word", "line 1: the top level must be a mapping"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document begins"),
        ("a: 1\nb:\n\tc: 2\n", "line 3: tabs cannot indent; use spaces"),
        ("a:\t1\n", "line 1: a tab cannot stand here; use spaces"),
        ("a: 1\nb: @x\n", "line 2: this is not YAML: found character '@'"),
        ("a: b: c\n", "line 1: this is not YAML: mapping values are not allowed here; put"),
        ('a: "b\n\n', "line 3: this is not YAML: found unexpected end of stream while"),
        ("a: 1\nb: \a\nc: \x7f\n", "line 2: the control character U+0007 is not accepted"),
        (b"a: 1\nb: \xff\n", "line 2: these bytes are not UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: these bytes are not UTF-8"),
        ("a: \ud800", "line 1: the control character U+D800 is not accepted"),
        ("a: 1\na: 2\n", "line 2: a: is given twice; the first is on line 1"),
        ('a: "\\UFFFFFFFF"', "line 1: this is not YAML: "),
        (f"%YAML 1.{'1' * 9999}\n---\na: 1", "line 1: this is not YAML: "),
        ("a: " + "[" * MAX_DEPTH, "line 1: a[0]"),
    ],
)
def test_a_text_is_refused_with_its_line(text: str | bytes, problem: str) -> None:
    assert problems_of(text)[0].startswith(problem)


def test_every_problem_is_found_at_once() -> None:
    text = "a: &x 1\nb: *x\nlist:\n  - !t {c: 1, c: 2}\n  - inf\na: 2\non: 3\n<<: *x\nd: [\n"

    assert [problem.partition(": ")[0] for problem in problems_of(text)] == [
        "line 1", "line 2", "line 4", "line 4", "line 5", "line 6", "line 7", "line 8",
        "line 8", "line 10",
    ]  # fmt: skip


def test_no_more_problems_are_listed_than_anyone_reads() -> None:
    assert len(problems_of("a: 1\n" * 1000)) == MAX_PROBLEMS
    assert len(problems_of("\a\n" * 1000)) == MAX_PROBLEMS


def test_a_text_may_be_as_large_as_the_limit_in_bytes() -> None:
    assert read_yaml("a: é", max_bytes=5).data == {"a": "é"}
    with pytest.raises(YamlProblemError, match="is larger than 4 bytes"):
        read_yaml("a: é", max_bytes=4)
    with pytest.raises(YamlProblemError, match="is larger than 4 bytes"):
        read_yaml("a: é".encode(), max_bytes=4)


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert read_yaml("\ufeffa: 1\nb: 2\n").data == {"a": 1, "b": 2}
    assert read_yaml("a: 1\nb: 2\n".encode("utf-8-sig")).data == {"a": 1, "b": 2}


def test_collections_nest_to_the_limit() -> None:
    inside = MAX_DEPTH - 1
    text = "a: " + "[" * inside + "]" * inside

    assert write_yaml(read_yaml(text).data).startswith("a:\n  - - - -")
    with pytest.raises(ValueError, match="nested deeper than 20 levels"):
        write_yaml({"a": read_yaml(text).data})


def test_lines_are_those_of_keys_and_items() -> None:
    text = "# top\n\na: 1\nb:\n  - x\n  -\n    c: 2\nd: {e: 1,\n  f: 2}\n"

    assert read_yaml(text).lines == {
        (): 3,
        ("a",): 3,
        ("b",): 4,
        ("b", 0): 5,
        ("b", 1): 7,
        ("b", 1, "c"): 7,
        ("d",): 8,
        ("d", "e"): 8,
        ("d", "f"): 9,
    }


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param("[" * 100_000, id="brackets"),
        pytest.param("{" * MAX_BYTES, id="braces"),
        pytest.param("[{" * (MAX_BYTES // 2), id="both"),
        pytest.param("? " * (MAX_BYTES // 2), id="keys of keys"),
        pytest.param("- " * (MAX_BYTES // 2), id="dashes"),
        pytest.param("a: [" + "a," * (MAX_BYTES // 2 - 4) + "]", id="items"),
        pytest.param("a:\n" + "- a\n" * (MAX_BYTES // 4 - 1), id="lines"),
        pytest.param("a: [" + "[]," * (MAX_BYTES // 3 - 4) + "]", id="lists"),
        pytest.param("".join(f"k{n}:\n" for n in range(MAX_VALUES)), id="keys"),
        pytest.param("%F\n" * (MAX_BYTES // 3), id="directives"),
        pytest.param("a: &a x\nb: [" + "*a," * (MAX_BYTES // 3 - 9) + "]", id="aliases"),
        pytest.param('a: "' + "\\n" * (MAX_BYTES // 2 - 4) + '"', id="escapes"),
        pytest.param("a: |\n" + " x\n" * (MAX_BYTES // 3 - 4), id="block"),
        pytest.param("a: " + "1" * (MAX_BYTES - 4), id="digits"),
        pytest.param("a: " + "1" * (MAX_BYTES - 8) + ".0", id="float"),
        pytest.param("a: !" + "%41" * (MAX_BYTES // 3 - 4), id="tag"),
        pytest.param("? " + "k" * 100_000 + "\n:\n" + "  ? \n" * 20_000, id="long path"),
    ],
)
def test_a_hostile_text_costs_less_than_two_seconds(hostile: str) -> None:
    started = time.process_time()

    with contextlib.suppress(YamlProblemError):
        read_yaml(hostile)

    assert time.process_time() - started < 2


@given(st.text("ab:-?[]{},&*!|>'\"%@`# \n\t\\\r0~<\x85\ufeffU", max_size=60))
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(YamlProblemError):
        data = read_yaml(text).data
        assert rewrite_yaml(text, data) == text
        assert read_yaml(write_yaml(data)).data == data


@given(st.binary(max_size=40))
def test_whatever_bytes_are_given_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(YamlProblemError):
        read_yaml(raw)


@given(DOCUMENTS)
def test_what_is_written_is_read_as_it_was(document: dict[str, Any]) -> None:
    read = read_yaml(write_yaml(document)).data

    assert repr(read) == repr(document)  # the order, 1 and 1.0, -0.0


def test_what_is_written_is_for_people() -> None:
    document = {
        "name": "Fast Only",
        "extends": "yes",
        "enabled_models": ["qwen3_4p0b", {"model_id": "7b", "run_settings": {"ctx": 8192}}],
        "limits": {"max_score": math.inf, "none": None, "words": [], "by": {}},
        "description": "First line.\n\n  # indented\n",
        "note": ["a\nb", "a\nb"],
        "last": 1.0,
    }

    assert write_yaml(document) == (
        "name: Fast Only\n"
        'extends: "yes"\n'
        "\n"
        "enabled_models:\n"
        "  - qwen3_4p0b\n"
        '  - model_id: "7b"\n'
        "    run_settings:\n"
        "      ctx: 8192\n"
        "\n"
        "limits:\n"
        "  max_score: .inf\n"
        "  none: null\n"
        "  words: []\n"
        "  by: {}\n"
        "\n"
        "description: |\n"
        "  First line.\n"
        "\n"
        "    # indented\n"
        "\n"
        "note:\n"
        "  - |-\n"
        "    a\n"
        "    b\n"
        "  - |-\n"
        "    a\n"
        "    b\n"
        "\n"
        "last: 1.0\n"
    )


COMMENTED = """\
# What this file is for.
profile:
  name: "Fast"  # shown in lists
  # Said in full.
  description: "old"

# Which models run.
# They must be there.
enabled_models: [a_fast]  # ids

# ---- Limits ----

tier_config:
  - name: fast
    max_score: .inf
  # - name: powerful

two_stage:
  # On for reasoning.
  enabled: true
  stage1_tier: fast
"""


def rewritten(change: tuple[str, str], **new: Any) -> None:
    """Check that `new` entries change the text in this place and in no other."""
    document = {**read_yaml(COMMENTED).data, **new}
    document = {key: value for key, value in document.items() if value != "removed"}
    assert COMMENTED.count(change[0]) == 1
    expected = COMMENTED.replace(*change)

    assert rewrite_yaml(COMMENTED, document) == expected
    with_crlf = rewrite_yaml(COMMENTED.replace("\n", "\r\n"), document)
    assert with_crlf == expected.replace("\n", "\r\n")


def test_one_changed_value_changes_one_line() -> None:
    rewritten(
        ('description: "old"', "description: new"),
        profile={"description": "new", "name": "Fast"},
    )


def test_a_comment_behind_a_value_stays_there() -> None:
    rewritten(('name: "Fast"', "name: Slow"), profile={"name": "Slow", "description": "old"})


def test_a_changed_list_keeps_the_comments_in_front_of_it() -> None:
    rewritten(
        ("enabled_models: [a_fast]  # ids\n", "enabled_models:\n  - a_fast\n  - b\n"),
        enabled_models=["a_fast", "b"],
    )


def test_a_list_written_anew_takes_the_comments_inside_along() -> None:
    rewritten(
        ("  - name: fast\n    max_score: .inf\n  # - name: powerful\n", "  - name: b\n"),
        tier_config=[{"name": "b"}],
    )


def test_a_removed_section_takes_its_own_comments_along() -> None:
    rewritten(
        (
            "# Which models run.\n# They must be there.\nenabled_models: [a_fast]  # ids\n\n",
            "",
        ),
        enabled_models="removed",
    )
    rewritten(
        ("\ntwo_stage:\n  # On for reasoning.\n  enabled: true\n  stage1_tier: fast\n", ""),
        two_stage="removed",
    )


def test_the_comment_that_begins_the_file_stays() -> None:
    start, end = COMMENTED.index("profile:"), COMMENTED.index("\n# Which")

    rewritten((COMMENTED[start:end], ""), profile="removed")


def test_a_removed_entry_of_a_mapping_takes_its_comment_along() -> None:
    rewritten(
        ("  # On for reasoning.\n  enabled: true\n", ""), two_stage={"stage1_tier": "fast"}
    )


def test_new_entries_come_last_in_their_order() -> None:
    rewritten(
        ("  stage1_tier: fast\n", "  stage1_tier: fast\n  b: 1\n\nz: 1\n\nqueue:\n  a: 1\n"),
        two_stage={"b": 1, "enabled": True, "stage1_tier": "fast"},
        z=1,
        queue={"a": 1},
    )


@pytest.mark.parametrize(
    ("text", "document", "expected"),
    [
        pytest.param("a: 1 #\nb: 1.0\n", {"a": True, "b": 1}, "a: true  #\nb: 1\n", id="types"),
        pytest.param("a: {b: 1, c: 2}", {"a": {"c": 2, "b": 1}}, "a: {b: 1, c: 2}", id="order"),
        pytest.param("", {"a": 1}, "a: 1\n", id="empty"),
        pytest.param("a:\n  b: 1 # c\n", {"a": {}}, "a: {}\n", id="empty mapping"),
        pytest.param("a: [", {"a": 1}, "a: 1\n", id="unreadable"),
        pytest.param("# top\n{a: 1, b: 2}\n", {"a": 1}, "a: 1\n", id="flow"),
        pytest.param("a: 1", {"a": 1, "b": 2}, "a: 1\nb: 2\n", id="no end of line"),
        pytest.param("a: 1\n...\n", {"a": 1, "b": 2}, "a: 1\nb: 2\n...\n", id="end marker"),
        pytest.param("a: |+\n  x\n\nb: 1\n", {"a": "x\n\n"}, 'a: "x\\n\\n"\n', id="kept lines"),
        pytest.param("a: |\n  x\n  # y\nb: 1\n", {"b": 1}, "b: 1\n", id="no comment"),
        pytest.param("a: |\n  x\n  # y\nb: 1\n", {"a": "x\n# y\n"}, "a: |\n  x\n  # y\n",
                     id="text like a comment"),
        pytest.param("a:  # why\nb: 1\n", {"a": 1, "b": 1}, "a: 1  # why\nb: 1\n", id="null"),
        pytest.param("---\n# top\na: 1\n\n# b\nb: 2\n", {"b": 2}, "---\n# top\n\n# b\nb: 2\n",
                     id="begin marker"),
        pytest.param("# t\n\n# a\na: 1\nb: 2\n", {"b": 2}, "# t\n\nb: 2\n", id="own comment"),
        pytest.param("a:\n" + " " * 60 + "b: 1 #\n", {"a": {"b": {"c": [{}]}}},
                     "a:\n" + " " * 60 + "b:\n" + " " * 62 + "c:\n" + " " * 64 + "- {}\n",
                     id="deep indentation"),
    ],
)  # fmt: skip
def test_a_text_is_rewritten(text: str, document: dict[str, Any], expected: str) -> None:
    assert rewrite_yaml(text, document) == expected


LAYOUTS = st.sampled_from(["", "\n", "# c\n", "\n# c\n\n", "  # deep\n", "\n\n"])


@given(DOCUMENTS, st.dictionaries(STRINGS, VALUES, max_size=3), st.data())
def test_a_rewritten_text_says_what_it_is_to_say(
    old: dict[str, Any], new: dict[str, Any], data: st.DataObject
) -> None:
    lines = write_yaml(old).splitlines(keepends=True)
    text = "".join(data.draw(LAYOUTS) + line for line in lines)
    kept = data.draw(st.sets(st.sampled_from([*old]))) if old else set()
    document = {**{key: old[key] for key in kept}, **new}

    assert json_of(read_yaml(rewrite_yaml(text, document)).data) == json_of(document)


@given(st.text("ab:- #\n|+'\"&~1?.{},", max_size=60), st.sampled_from("abc"), VALUES)
def test_any_text_is_rewritten_to_say_what_it_is_to_say(
    text: str, key: str, value: Any
) -> None:
    data: dict[str, Any] = {}
    with contextlib.suppress(YamlProblemError):
        data = read_yaml(text).data
    document = {**data, key: value}

    assert read_yaml(rewrite_yaml(text, document)).data == document
