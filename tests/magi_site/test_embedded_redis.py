from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from magi_site import embedded_redis
from magi_site.embedded_redis import redis_argv


def test_it_listens_on_a_private_socket_and_on_no_port(tmp_path: Path) -> None:
    argv = redis_argv(tmp_path)

    flags = dict(zip(argv[1::2], argv[2::2], strict=True))
    assert flags["--port"] == "0"
    assert flags["--unixsocket"] == str(tmp_path / "redis.sock")
    assert flags["--unixsocketperm"] == "700"


def test_without_the_wheel_a_server_on_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o700)
    monkeypatch.setattr(embedded_redis, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert redis_argv(tmp_path)[0] == str(program)


def test_without_any_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_redis, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ImproperlyConfigured, match="install redis-server, or set REDIS_URL"):
        redis_argv(tmp_path)
