"""What could be fetched: the hub is asked rarely, and nobody waits long for it."""

import threading
from collections.abc import Sequence

import pytest

from models_app.errors import UnavailableError
from models_app.hubsearch.searching import FoundRepo
from servers_app.manager.available import KEPT_S, QUIET_S, Hub, fetchable, size_text

REPO = FoundRepo(
    repo="org/Tiny-GGUF",
    downloads=4321,
    likes=5,
    updated_at=None,
    is_gated=True,
    parameter_count=7_240_000_000,
    architecture="llama",
    context_length=32_768,
)


class Search:
    """Takes the place of the hub's search; counts who asks."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_away = False

    def __call__(self, _words: str, *, limit: int) -> Sequence[FoundRepo]:
        self.asked += 1
        self.may_answer.wait(30)
        if self.is_away:
            msg = "The hub does not answer."
            raise UnavailableError(msg)
        return [REPO][:limit]


def test_what_the_hub_says_is_shown_as_it_says_it_and_kept_for_a_day() -> None:
    now = 0.0
    search = Search()
    hub = Hub(search, clock=lambda: now)

    (found,) = fetchable(set(), hub=hub)

    assert found == {
        "name": "org/Tiny-GGUF",
        "size": "7.2B",
        "description": "llama model, a context of 32,768 tokens, gated: it needs HF_TOKEN",
        "popularity": 4321,
        "source": "huggingface",
        "listed_by": "hub",
    }
    assert fetchable({"org/tiny-gguf"}, hub=hub) == []  # it is here
    assert search.asked == 1
    now = KEPT_S
    hub.models()
    assert search.asked == 2


def test_a_hub_that_is_away_is_left_alone_for_a_while() -> None:
    now = 0.0
    search = Search()
    search.is_away = True
    hub = Hub(search, clock=lambda: now)

    for _ in range(3):
        assert {each["listed_by"] for each in fetchable(set(), hub=hub)} == {"catalogue"}
    assert search.asked == 1
    search.is_away, now = False, QUIET_S
    assert hub.models()[0].name == "org/Tiny-GGUF"


def test_nobody_waits_for_a_slow_hub_and_the_next_one_has_its_answer() -> None:
    search = Search()
    search.may_answer.clear()
    hub = Hub(search)

    assert hub.models(wait_s=0.01) == []
    search.may_answer.set()

    assert hub.models(wait_s=30)[0].popularity == 4321
    assert search.asked == 1


@pytest.mark.parametrize(
    ("billions", "text"),
    [(4.0, "4B"), (0.135, "135M"), (0.5, "500M"), (30.5, "30.5B"), (None, None)],
)
def test_a_size_is_written_as_people_do(billions: float | None, text: str | None) -> None:
    assert size_text(billions) == text
