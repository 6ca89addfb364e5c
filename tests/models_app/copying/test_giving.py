"""The server that gives the files of one model away: to whom, what, and nothing else."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from models_app.downloads import giving
from models_app.downloads.giving import Giver
from models_app.downloads.manifest import Manifest
from models_app.errors import UnsupportedDownloadError

TOKEN = "f" * 64
BODY = bytes(range(256)) * 40
PORTS = range(21190, 21200)


@pytest.fixture
def giver(tmp_path: Path) -> Iterator[Giver]:
    (tmp_path / "model.gguf").write_bytes(BODY)
    (tmp_path / "secret.txt").write_text("nobody's business")
    with Giver("127.0.0.1", PORTS, TOKEN, [tmp_path / "model.gguf"]) as server:
        server.manifest = b'{"files": []}'
        yield server


def ask(
    giver: Giver, path: str, method: str = "GET", token: str = TOKEN, **headers: str
) -> httpx2.Response:
    with httpx2.Client(trust_env=False) as client:
        return client.request(
            method,
            f"http://127.0.0.1:{giver.port}{path}",
            headers={"Authorization": f"Bearer {token}", **headers},
        )


def say(giver: Giver, raw: bytes) -> bytes:
    """Send bytes as they are; return all that comes back."""
    with socket.create_connection(("127.0.0.1", giver.port), timeout=10) as connection:
        connection.sendall(raw)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def test_what_there_is_and_a_file_by_its_place(giver: Giver) -> None:
    assert ask(giver, "/").content == b'{"files": []}'
    whole = ask(giver, "/0")
    assert (whole.status_code, whole.content) == (200, BODY)


def test_hashes_that_are_being_reckoned_are_waited_for(giver: Giver) -> None:
    giver.manifest = None

    assert ask(giver, "/").status_code == 202


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-", 0, 10240), ("bytes=100-199", 100, 200), ("bytes=10239-99999", 10239, 10240)],
)
def test_a_part_is_given(giver: Giver, asked: str, start: int, end: int) -> None:
    answer = ask(giver, "/0", Range=asked)

    assert answer.status_code == 206
    assert answer.content == BODY[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/10240"


@pytest.mark.parametrize(
    "asked", ["bytes=10240-", "bytes=9-8", "bytes=-5", "bytes=0-1,5-6", "lines=1-2", "bytes=x-"]
)
def test_a_part_that_is_none_is_416(giver: Giver, asked: str) -> None:
    answer = ask(giver, "/0", Range=asked)

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */10240"


@pytest.mark.parametrize("token", ["", "0" * 64, TOKEN[:-1], f"{TOKEN}f", "ü"])
@pytest.mark.parametrize("path", ["/", "/0", "/1", "/secret.txt"])
def test_without_the_token_all_is_the_same_401(giver: Giver, path: str, token: str) -> None:
    raw = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    status, _, body = say(giver, raw).partition(b"\r\n\r\n")

    assert b" 401 " in status
    assert json.loads(body) == {"detail": "No token, or a wrong one."}


@pytest.mark.parametrize(
    "path",
    [
        "/1", "/-1", "/00000000", "/0/", "/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt",
        "//0", "/0?x=../secret.txt", "/model.gguf", "/./0",
    ],
)  # fmt: skip
def test_nothing_is_had_by_a_path(giver: Giver, path: str) -> None:
    raw = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()

    answer = say(giver, raw)

    assert b" 404 " in answer.splitlines()[0]
    assert b"secret" not in answer
    assert b"model.gguf" not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_gives(giver: Giver, method: str) -> None:
    assert ask(giver, "/0", method).status_code == 405


def test_a_file_that_has_gone_is_410_without_its_path(giver: Giver) -> None:
    Path(giver.files[0]).unlink()

    answer = ask(giver, "/0")

    assert answer.status_code == 410
    assert str(giver.files[0].parent) not in answer.text


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
        b"\x16\x03\x01\x02\x00" * 2000,
        b"A" * 20_000 + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_too_long_gets_no_file(giver: Giver, raw: bytes) -> None:
    answer = say(giver, raw)

    assert answer == b"" or b" 401 " in answer.splitlines()[0]
    assert ask(giver, "/0").content == BODY


def test_who_sends_a_byte_now_and_then_is_cut(
    giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving, "HEAD_S", 0.3)
    has_ended = False
    with socket.create_connection(("127.0.0.1", giver.port), timeout=10) as connection:
        while not has_ended:
            try:
                connection.sendall(b"G")
            except OSError:
                has_ended = True
            time.sleep(0.05)

    assert ask(giver, "/0").content == BODY


def test_there_are_so_many_connections_and_no_more(
    giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [
        socket.create_connection(("127.0.0.1", giver.port)) for _ in range(giving.MAX_AT_ONCE)
    ]
    try:
        deadline = time.monotonic() + 5
        while len(giver._open) < giving.MAX_AT_ONCE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert say(giver, b"") == b""
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 5
    while giver._open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ask(giver, "/0").content == BODY


def test_two_servers_take_two_ports_and_a_range_that_is_taken_is_told_of(
    giver: Giver, tmp_path: Path
) -> None:
    with Giver("127.0.0.1", PORTS, TOKEN, []) as other:
        assert other.port != giver.port
    with pytest.raises(OSError):  # noqa: PT011 - the system's words
        Giver("127.0.0.1", [giver.port], TOKEN, [])


def test_its_end_ends_what_is_being_sent(tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.truncate(2**30)
    with Giver("127.0.0.1", PORTS, TOKEN, [large]) as giver:
        connection = socket.create_connection(("127.0.0.1", giver.port), timeout=10)
        head = f"GET /0 HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        assert giver.idle_s == 0
    came = 0
    with connection:
        try:
            while chunk := connection.recv(2**20):
                came += len(chunk)
        except OSError:
            pass
    assert came < 2**30
    assert not [one for one in threading.enumerate() if one.name == "giver"]


def test_strangers_do_not_keep_it_open(giver: Giver) -> None:
    giver._asked_at -= 100

    ask(giver, "/0", token="wrong")

    assert giver.idle_s > 90
    ask(giver, "/0")
    assert giver.idle_s < 90


_FILE = {
    "name": "a.gguf",
    "size_bytes": 1,
    "sha256": "0" * 64,
    "blob": "",
    "is_gguf": True,
}
_MANIFEST = {"files": [_FILE], "commit": "", "refs": [], "ollama": ""}


@pytest.mark.parametrize(
    "told",
    [
        {"files": []},
        {"files": [{**_FILE, "name": "../a.gguf"}]},
        {"files": [{**_FILE, "name": "/etc/passwd"}]},
        {"files": [{**_FILE, "size_bytes": -1}]},
        {"files": [{**_FILE, "size_bytes": True}]},
        {"files": [{**_FILE, "sha256": "../../x"}]},
        {"files": [{**_FILE, "blob": "../x"}]},
        {"files": [{**_FILE, "blob": "1" * 64}]},
        {"files": [None]},
        {"commit": "../main"},
        {"refs": ["../../x"]},
        {"ollama": 1},
    ],
)
def test_a_manifest_that_leads_out_of_a_folder_is_none(told: dict[str, object]) -> None:
    assert Manifest.of_json(json.dumps(_MANIFEST).encode()).files[0].name == "a.gguf"

    with pytest.raises(UnsupportedDownloadError):
        Manifest.of_json(json.dumps({**_MANIFEST, **told}).encode())
