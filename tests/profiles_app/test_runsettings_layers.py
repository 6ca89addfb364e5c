"""Which layer's word counts, and what may lower it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.runsettings import FIELDS, MAGI, Setting, check, resolve


def resolved(*layers: tuple[str, dict[str, Any]], **limits: Any) -> dict[str, Setting]:
    return resolve(layers, **{"model_context": None, "cores": 64, **limits})


def test_without_layers_it_is_what_the_guide_has() -> None:
    settings = resolved()

    assert {name: setting.value for name, setting in settings.items()} == {
        "ctx_size": 32768,
        "n_gpu_layers": 99,
        "threads": 8,
        "threads_batch": None,
        "batch_size": 512,
        "ubatch_size": 256,
        "parallel": 1,
        "kv_unified": False,
        "flash_attn": "auto",
        "cache_type_k": None,
        "cache_type_v": None,
        "load_mode": "auto",
        "mmproj": "auto",
        "lora": [],
        "model_draft": None,
        "jinja": "auto",
        "extra_args": [],
    }
    assert {(setting.origin, setting.note) for setting in settings.values()} == {(MAGI, "")}


def test_the_last_layer_that_says_it_has_it() -> None:
    settings = resolved(
        ("base", {"ctx_size": 1024, "threads": 2, "parallel": 2}),
        ("model", {"ctx_size": 2048, "threads": 3}),
        ("profile production", {"ctx_size": 4096}),
    )

    assert settings["ctx_size"].value == 4096
    assert [settings[name].origin for name in ("ctx_size", "threads", "parallel")] == [
        "profile production",
        "model",
        "base",
    ]


def test_lists_are_replaced_and_not_joined() -> None:
    settings = resolved(
        ("base", {"extra_args": ["--escape"]}), ("model", {"extra_args": ["--swa-full"]})
    )

    assert settings["extra_args"] == Setting(["--swa-full"], "model")


def test_null_takes_off_what_a_layer_below_says() -> None:
    settings = resolved(("base", {"ctx_size": 1024}), ("model", {"ctx_size": None}))

    assert settings["ctx_size"] == Setting(32768, MAGI, "model takes off what base says")


def test_null_over_nothing_is_nothing() -> None:
    assert resolved(("base", {"ctx_size": None})) == resolved()


def test_a_layer_over_null_counts() -> None:
    settings = resolved(
        ("base", {"jinja": "on"}), ("model", {"jinja": None}), ("profile p", {"jinja": "off"})
    )

    assert settings["jinja"] == Setting("off", "profile p")


@pytest.mark.parametrize(
    ("context", "slots", "value", "note"),
    [
        pytest.param(8192, 1, 8192, "32768 asked for; the model was trained for 8192", id="1"),
        pytest.param(32768, 1, 32768, "", id="just as long"),
        pytest.param(None, 1, 32768, "", id="nobody knows"),
        pytest.param(0, 1, 32768, "", id="the header says 0"),
        pytest.param(
            8192,
            2,
            16384,
            "32768 asked for; the model was trained for 8192 in each of 2 slots; "
            "8192 for each of 2 slots",
            id="two slots",
        ),
        pytest.param(131072, 4, 32768, "8192 for each of 4 slots", id="shared by four slots"),
    ],
)
def test_the_context_is_no_longer_than_what_the_model_was_trained_for(
    context: int | None, slots: int, value: int, note: str
) -> None:
    settings = resolved(("base", {"parallel": slots}), model_context=context)

    assert settings["ctx_size"] == Setting(value, MAGI, note)


def test_slots_on_one_cache_have_no_parts_of_it() -> None:
    settings = resolved(("base", {"parallel": 4, "kv_unified": True}))

    assert settings["ctx_size"].note == ""


@pytest.mark.parametrize(
    ("context", "note"), [(8192, "the model's own 8192"), (None, "")], ids=["known", "unknown"]
)
def test_a_context_of_0_is_left_to_the_model(context: int | None, note: str) -> None:
    settings = resolved(("base", {"ctx_size": 0}), model_context=context)

    assert settings["ctx_size"] == Setting(0, "base", note)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (6, 5), (9, 8), (64, 8)])
def test_a_core_is_left_for_the_others(cores: int, threads: int) -> None:
    assert resolved(cores=cores)["threads"].value == threads


def test_threads_that_a_person_asked_for_are_fewer_than_the_cores_too() -> None:
    settings = resolved(("model", {"threads": 16, "threads_batch": 32}), cores=8)

    why = "asked for; one core of 8 is left to everything else"
    assert settings["threads"] == Setting(7, "model", f"16 {why}")
    assert settings["threads_batch"] == Setting(7, "model", f"32 {why}")


def test_a_micro_batch_is_no_larger_than_the_batch_of_another_layer() -> None:
    settings = resolved(("base", {"ubatch_size": 1024}), ("model", {"batch_size": 128}))

    assert settings["ubatch_size"] == Setting(128, "base", "1024 asked for; batch_size is 128")


def test_the_v_cache_is_not_quantized_where_another_layer_has_flash_attention_off() -> None:
    settings = resolved(("base", {"cache_type_v": "q8_0"}), ("model", {"flash_attn": "off"}))

    note = "q8_0 asked for; it needs flash_attn"
    assert settings["cache_type_v"] == Setting(None, "base", note)


def test_what_a_layer_may_not_say_counts_for_nothing() -> None:
    settings = resolved(
        ("base", {"threads": 4, "extra_args": ["--escape"]}),
        ("model", {"threads": "all", "extra_args": ["--tools", "all"], "nonsense": 1}),
    )

    assert (settings["threads"].value, settings["extra_args"].value) == (4, ["--escape"])
    assert settings["threads"].origin == "base"
    assert settings["threads"].note.startswith("what model says is left out: Give a whole num")
    assert "--tools" in settings["extra_args"].note


NUMBERS = {
    "ctx_size": st.integers(0, 10_000_000),
    "n_gpu_layers": st.integers(0, 200) | st.sampled_from(["auto", "all"]),
    "threads": st.integers(1, 512),
    "batch_size": st.integers(1, 4096),
    "ubatch_size": st.integers(1, 4096),
    "parallel": st.integers(1, 64),
}
LAYER = st.fixed_dictionaries(
    {}, optional={name: st.none() | values for name, values in NUMBERS.items()}
)


@given(
    layers=st.lists(LAYER, max_size=4),
    context=st.none() | st.integers(0, 2**40),
    cores=st.integers(1, 128),
)
def test_the_last_word_counts_and_nothing_raises_it(
    layers: list[dict[str, Any]], context: int | None, cores: int
) -> None:
    taken = [(f"layer {index}", check(layer)[0]) for index, layer in enumerate(layers)]

    settings = resolve(taken, model_context=context, cores=cores)

    assert list(settings) == list(FIELDS)
    for name in NUMBERS:
        said = [(layer[name], origin) for origin, layer in taken if name in layer]
        value, origin = said[-1] if said else (None, MAGI)
        if value is None:
            value, origin = FIELDS[name].base, MAGI
        setting = settings[name]
        assert setting.origin == origin
        assert setting.value == value or setting.value < value
        assert setting.value == value or f"{value} asked for" in setting.note
        assert check({name: setting.value}) == ({name: setting.value}, [])
