import pytest

from servers_app.figures import memory, span
from servers_app.models import Server


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.042, "0.04 s"),
        (1.96, "2 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3725, "1 h 2 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_time_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("counted", "seen", "text"),
    [(None, None, "-"), (1900, None, "1,900 / ?"), (1900, 1234, "1,900 / 1,234")],
)
def test_memory_is_what_was_counted_and_what_was_seen(
    counted: int | None, seen: int | None, text: str
) -> None:
    assert memory(Server(memory_mib=counted, peak_mib=seen)) == text
