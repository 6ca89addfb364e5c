import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from magi_site.datadir import (
    MAX_SOCKET_PATH_BYTES,
    broker_url,
    ensure_secret_key,
    make_private_dir,
    runtime_dir,
)


def test_the_secret_key_is_made_once_and_for_our_eyes_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    key = ensure_secret_key(data_dir)

    assert len(key) >= 50
    assert ensure_secret_key(data_dir) == key
    assert stat.S_IMODE((data_dir / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_processes_that_start_together_agree_on_the_secret_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(ensure_secret_key, [tmp_path / "data"] * 8))

    assert len(keys) == 1


def test_a_data_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ImproperlyConfigured, match=r"file/data cannot be.*MAGI_DATA_DIR"):
        make_private_dir(tmp_path / "file" / "data")


def test_sockets_lie_in_the_data_folder_where_their_path_is_short() -> None:
    assert runtime_dir(Path("/srv/magi")) == Path("/srv/magi/run")


def test_sockets_of_a_deep_data_folder_lie_where_a_socket_can() -> None:
    deep = Path("/srv") / ("deep" * 30)

    run_dir = runtime_dir(deep)

    assert len(str(run_dir / "redis.sock")) <= MAX_SOCKET_PATH_BYTES
    assert run_dir == runtime_dir(deep)
    assert run_dir != runtime_dir(deep / "other")


@pytest.mark.parametrize(
    ("redis_url", "celery_url"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:secret@host:6380/1", "rediss://user:secret@host:6380/1"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/a%23b/redis.sock?db=2", "redis+socket:///run/a%23b/redis.sock?db=2"),
        ("redis://localhost", "redis://localhost"),
    ],
)
def test_celery_gets_the_redis_url_in_its_own_spelling(redis_url: str, celery_url: str) -> None:
    assert broker_url(redis_url) == celery_url


def test_a_url_that_is_not_redis_is_refused_by_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL begins with 'amqp'"):
        broker_url("amqp://localhost")


@pytest.mark.parametrize(
    "redis_url",
    [
        "redis://:secret@host:port/0",
        "redis://:secret@host:99999",
        "redis://:secret@[::1",
        "redis://:secret@host/first",
        "unix://:secret@",
    ],
)
def test_what_is_no_address_of_a_redis_is_refused_without_repeating_it(redis_url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^REDIS_URL cannot be read") as error:
        broker_url(redis_url)

    assert "secret" not in str(error.value)
