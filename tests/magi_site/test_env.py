from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from magi_site.env import (
    env_bool,
    env_choice,
    env_int,
    env_path,
    env_paths,
    env_programs,
    env_time_zone,
    env_url,
)


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False), ("off", False)],
)
def test_boolean_words_are_understood(
    monkeypatch: pytest.MonkeyPatch, word: str, value: bool
) -> None:
    monkeypatch.setenv("MODEL_CONCURRENT_STARTS", word)

    assert env_bool("MODEL_CONCURRENT_STARTS", default=not value) is value


def test_a_word_that_is_no_boolean_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_CONCURRENT_STARTS", "maybe")

    with pytest.raises(ImproperlyConfigured, match="MODEL_CONCURRENT_STARTS='maybe'"):
        env_bool("MODEL_CONCURRENT_STARTS", default=True)


@pytest.mark.parametrize("raw", ["eighty", "80.5", "0", "65536", "-1"])
def test_a_number_that_is_no_port_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, raw: str
) -> None:
    monkeypatch.setenv("MAGI_PORT", raw)

    with pytest.raises(ImproperlyConfigured, match=f"MAGI_PORT='?{raw}"):
        env_int("MAGI_PORT", 8000, minimum=1, maximum=65535)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGI_PORT", "")

    assert env_int("MAGI_PORT", 8000, minimum=1, maximum=65535) == 8000


def test_a_choice_that_is_not_offered_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAGI_API_AUTH", "sometimes")

    with pytest.raises(ImproperlyConfigured, match="use one of auto, required, off"):
        env_choice("MAGI_API_AUTH", "auto", choices=("auto", "required", "off"))


def test_paths_are_absolute_with_the_home_folder_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MAGI_DATA_DIR", "~/magi")
    monkeypatch.setenv("MODEL_SCAN_PATH", "/models::~/more")

    assert env_path("MAGI_DATA_DIR", Path("data")) == Path("/home/me/magi")
    assert env_paths("MODEL_SCAN_PATH", []) == [Path("/models"), Path("/home/me/more")]


def test_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("LLAMA_SERVER_BUILDS", " old = ~/b6000/llama-server ,cuda_12=/opt/a=b,")

    assert env_programs("LLAMA_SERVER_BUILDS", reserved="embedded") == {
        "old": Path("/home/me/b6000/llama-server"),
        "cuda_12": Path("/opt/a=b"),
    }


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("/opt/llama-server", "'/opt/llama-server' is not NAME=PATH"),
        ("old=", "'old=' is not NAME=PATH"),
        ("=/opt/llama-server", "letters, digits, - and _"),
        ("my build=/opt/llama-server", "letters, digits, - and _"),
        (f"{'a' * 65}=/opt/llama-server", "up to 64"),
        ("älter=/opt/llama-server", "letters, digits, - and _"),
        ("old=/a,old=/b", "'old=/b' is the second of that name"),
        ("embedded=/a", "embedded is always there"),
    ],
)
def test_programs_that_are_not_named_well_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, raw: str, words: str
) -> None:
    monkeypatch.setenv("LLAMA_SERVER_BUILDS", raw)

    with pytest.raises(ImproperlyConfigured, match=f"^LLAMA_SERVER_BUILDS: .*{words}"):
        env_programs("LLAMA_SERVER_BUILDS", reserved="embedded")


def test_an_address_of_a_site_ends_without_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGI_OLLAMA_REGISTRY", "http://mirror:5000/ollama/")

    assert env_url("MAGI_OLLAMA_REGISTRY", "") == "http://mirror:5000/ollama"


@pytest.mark.parametrize(
    "value",
    [
        "mirror:5000",
        "ftp://mirror",
        "http://",
        "file:///etc",
        "http://mirror/?a=b",
        "http://[::1",
        "http://mirror:port",
        "http://me:secret@mirror:0",
    ],
)
def test_what_is_no_address_of_a_site_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MAGI_OLLAMA_REGISTRY", value)

    told = r"MAGI_OLLAMA_REGISTRY=.*such as https://x"
    with pytest.raises(ImproperlyConfigured, match=told) as error:
        env_url("MAGI_OLLAMA_REGISTRY", "https://x")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("value", ["Mars/Olympus", "../UTC", "Europe", "\u017d"])
def test_what_is_no_time_zone_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MAGI_TIME_ZONE", value)

    with pytest.raises(ImproperlyConfigured, match=r"MAGI_TIME_ZONE=.* is no time zone"):
        env_time_zone("MAGI_TIME_ZONE", "UTC")


def test_the_home_folder_of_nobody_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGI_DATA_DIR", "~nobody-of-that-name/data")

    with pytest.raises(ImproperlyConfigured, match=r"^MAGI_DATA_DIR: '~nobody-of-that-name"):
        env_path("MAGI_DATA_DIR", Path("/data"))
    with pytest.raises(ImproperlyConfigured, match=r"^MAGI_DATA_DIR: "):
        env_paths("MAGI_DATA_DIR", [])
