import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers_app.gateway.bodies import read_model, with_model
from servers_app.gateway.errors import InvalidRequestError

# Names that a reader of one byte too many would trip over.
_names = st.sampled_from(["model", "stream", "mode", 'mod"el', "modèle", "\\model"]) | st.text()
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(_names, inner),
    max_leaves=12,
)  # fmt: skip


@given(
    around=st.tuples(st.dictionaries(_names, _values), st.dictionaries(_names, _values)),
    model=st.text(),
    new=st.text(),
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
)
def test_any_object_keeps_everything_but_its_model(
    around: tuple[dict[str, Any], dict[str, Any]],
    model: str,
    new: str,
    ensure_ascii: bool,
    indent: int | None,
) -> None:
    before, after = around
    content = {**before, "model": model, **after} | {"model": model}
    body = json.dumps(content, ensure_ascii=ensure_ascii, indent=indent).encode()

    field = read_model(body)

    assert field.value == model
    assert field.stream is (content.get("stream") is True)
    assert json.loads(with_model(body, field, new)) == {**content, "model": new}


def test_bytes_around_the_model_stay_as_they_were() -> None:
    body = b' {\t"n" : 1.50e0,\r\n "model"\n:\t"a" , "x":"\\u00e9\xc3\xa9"}\n'

    changed = with_model(body, read_model(body), "b")

    assert changed == b' {\t"n" : 1.50e0,\r\n "model"\n:\t"b" , "x":"\\u00e9\xc3\xa9"}\n'


def test_characters_of_several_bytes_before_the_model_do_not_shift_it() -> None:
    body = '{"messages": "né 漢 🙂", "model": "modèle", "z": "é"}'.encode()

    changed = with_model(body, read_model(body), "b")

    assert changed == '{"messages": "né 漢 🙂", "model": "b", "z": "é"}'.encode()


def test_a_model_inside_another_object_is_left_alone() -> None:
    body = b'{"metadata": {"model": "inner"}, "list": [{"model": 1}], "model": "outer"}'

    field = read_model(body)

    assert field.value == "outer"
    assert json.loads(with_model(body, field, "new"))["metadata"] == {"model": "inner"}


def test_a_key_written_with_escapes_is_still_the_model() -> None:
    body = rb'{"mod\u0065l": "a\"b"}'

    field = read_model(body)

    assert field.value == 'a"b'
    assert with_model(body, field, "c") == rb'{"mod\u0065l": "c"}'


def test_the_last_of_two_models_counts_and_both_are_replaced() -> None:
    body = b'{"model": 3, "stream": true, "model": "second", "stream": false}'

    field = read_model(body)

    assert (field.value, field.stream) == ("second", False)
    assert (
        with_model(body, field, "new")
        == b'{"model": "new", "stream": true, "model": "new", "stream": false}'
    )


def test_a_body_that_has_the_right_name_already_is_not_copied() -> None:
    body = b'{"model": "a"}'

    assert with_model(body, read_model(body), "a") is body


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"", "The body is not JSON: Expecting value", id="empty"),
        pytest.param(b"model=a", "The body is not JSON", id="a form"),
        pytest.param(
            b'{"model": "a"', "Expecting ',' delimiter at line 1, column 14", id="cut"
        ),
        pytest.param(b'{"model": "a",}', "Expecting property name", id="comma at the end"),
        pytest.param(b'{"model" "a"}', "Expecting ':'", id="no colon"),
        pytest.param(b'{"model": }', "Expecting value", id="no value"),
        pytest.param(b'{"model": "a"} {}', "Extra data", id="two objects"),
        pytest.param(b"{} x", "Extra data", id="text after an empty object"),
        pytest.param(b'{"model": "a", "n": NaN}', "NaN is not a JSON value", id="NaN"),
        pytest.param(b'{"model": "\xff"}', "The body is not UTF-8", id="not UTF-8"),
        pytest.param(b'{"a":' + b"[" * 100_000, "nested too deeply", id="a bomb of brackets"),
        pytest.param(b'["model"]', "must be a JSON object", id="a list"),
        pytest.param(b"null", "must be a JSON object", id="null"),
    ],
)
def test_what_is_not_a_json_object_is_refused_with_a_sentence(
    body: bytes, sentence: str
) -> None:
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        read_model(body)

    assert caught.value.param is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"{}", "has no `model`", id="empty object"),
        pytest.param(b'{"a": {"model": "x"}}', "has no `model`", id="only a nested one"),
        pytest.param(b'{"model": 3}', "must be a string", id="a number"),
        pytest.param(b'{"model": "a", "model": null}', "must be a string", id="last counts"),
    ],
)
def test_a_model_that_is_missing_or_not_a_string_is_named_as_the_fault(
    body: bytes, sentence: str
) -> None:
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        read_model(body)

    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            rb'{"mod\u0065l": "a", "user": "x\"model"}', id="a string that ends in it"
        ),
        pytest.param(
            rb'{"mod\u0065l": "a", "b": {"model": "x"}}', id="an inner one, spelt out"
        ),
        pytest.param(
            rb'{"\u006dodel": "a", "model\u0020": "x"}', id="a key that begins with it"
        ),
        pytest.param(rb'{"x": "\u00e9", "model" : "a"}', id="other letters escaped"),
    ],
)
def test_only_the_model_of_the_top_level_is_replaced(body: bytes) -> None:
    changed = with_model(body, read_model(body), "new")

    assert json.loads(changed) == json.loads(body) | {"model": "new"}


def test_what_was_parsed_is_there_for_others() -> None:
    field = read_model(b'{"model": "a", "messages": [{"role": "user"}], "n": 1, "n": 2}')

    assert field.values == {"model": "a", "messages": [{"role": "user"}], "n": 2}
    assert field.keys == {"model", "messages", "n"}


@pytest.mark.parametrize("name", ["n_discard", "id_slot"])
@pytest.mark.parametrize(
    "value", ["-5", "7", "2147483647", "0.0", "-1.0", "false", "null", '"0"', "[]"]
)
def test_a_field_that_endangers_a_server_or_its_other_users_is_refused(
    name: str, value: str
) -> None:
    body = f'{{"model": "a", "{name}": {value}}}'.encode()

    with pytest.raises(InvalidRequestError, match=f"`{name}` is not for clients") as caught:
        read_model(body)

    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize("field", ['"n_discard": 0', '"id_slot": -1'])
def test_what_llama_server_does_anyway_may_be_said(field: str) -> None:
    assert read_model(f'{{"model": "a", {field}}}'.encode()).value == "a"
