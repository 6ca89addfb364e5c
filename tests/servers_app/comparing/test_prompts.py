"""Prompt sets: what is read from text, what ships, what is refused."""

import json

import pytest

from models_app.task_kinds import TaskKind
from servers_app.comparing.prompts import (
    MAX_PROMPT_CHARS,
    MAX_PROMPTS,
    MAX_TEXT_CHARS,
    Prompt,
    parts_of,
    read_prompts,
    shipped,
)
from servers_app.errors import ComparisonInvalidError


def test_typed_prompts_are_one_a_line() -> None:
    assert read_prompts("  Say hello. \n\r\n\nCount to 3.\r\n", task="coding") == [
        Prompt("Say hello.", "coding"),
        Prompt("Count to 3.", "coding"),
    ]


def test_lines_of_json_may_hold_several_lines_and_a_task() -> None:
    text = '{"prompt": "a\\nb", "task": "creative"}\n\n{"prompt": "c"}\n'

    assert read_prompts(text) == [Prompt("a\nb", "creative"), Prompt("c", "general")]


@pytest.mark.parametrize("task", TaskKind.values)
def test_a_set_ships_for_each_kind_of_task(task: str) -> None:
    prompts = shipped(task)

    assert len(prompts) == 5
    assert len(set(prompts)) == 5
    assert {prompt.task for prompt in prompts} == {task}
    assert all(bool(parts_of(prompt.text)[1]) == (task == "vision") for prompt in prompts)


def test_what_ships_can_be_sent_in_as_a_file() -> None:
    lines = [
        json.dumps({"prompt": prompt.text, "task": prompt.task})
        for task in TaskKind.values
        for prompt in shipped(task)
    ]

    assert read_prompts("\n".join(lines)) == [
        p for task in TaskKind.values for p in shipped(task)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "There is no prompt", id="nothing"),
        pytest.param(" \n\n", "There is no prompt", id="empty lines"),
        pytest.param("a\n" * (MAX_PROMPTS + 1), "There are 101 prompts", id="too many"),
        pytest.param("a" * (MAX_PROMPT_CHARS + 1), "Prompt 1", id="a long one"),
        pytest.param("a" * (MAX_TEXT_CHARS + 1), "too long together", id="far too long"),
        pytest.param("a\0b", "no text", id="a NUL"),
        pytest.param("a\ud800b", "no text", id="half a character"),
        pytest.param('{"prompt": "a"}\nb', "Line 2 is no JSON", id="a line that is no JSON"),
        pytest.param('{"text": "a"}', 'Line 1 has no "prompt"', id="no prompt"),
        pytest.param('{"prompt": 1}', 'Line 1 has no "prompt"', id="a number"),
        pytest.param('{"prompt": " "}', "Prompt 1", id="an empty one"),
        pytest.param('{"prompt": "a", "task": "x"}', "its task is one of", id="no task"),
        pytest.param('{"prompt":' * 2000, "no JSON", id="deep"),
    ],
)
def test_what_is_no_prompt_set_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ComparisonInvalidError, match=said):
        read_prompts(text)


def test_no_set_ships_for_what_is_no_task() -> None:
    with pytest.raises(ComparisonInvalidError, match="general, coding"):
        shipped("juggling")


def test_an_image_is_one_only_if_it_is_there_itself() -> None:
    there = "![a](data:image/png;base64,AAAA) What is it?"
    elsewhere = "![a](https://example.com/a.png) What is it?"

    assert parts_of(there) == ("What is it?", ["data:image/png;base64,AAAA"])
    assert parts_of(elsewhere) == (elsewhere, [])
