"""PostgreSQL is killed, and hangs: the gateway goes on by what it knows, and recovers."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import psutil
import psycopg
import pytest
from django.conf import settings

from tests.ports import free_port
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer
from tests.servers_app.gateway.wire import HELLO, always, serving
from tests.web_process import PATIENCE_S, WebProcess

# In a process of its own: this one's settings name another database.
FILL = """
from models_app.models import DiscoveredModel
from profiles_app.models import Profile, ProfileMember
from servers_app import apikeys
from servers_app.models import Server

model = DiscoveredModel.objects.create(
    model_id="qwen", identity="/m", file_path="/m", blob_path="/m", filename="m.gguf",
    family="qwen", display_name="Q", size_params=4.0, quantization="Q4_K_M", size_bytes=2**30,
)
Server.objects.create(model=model, node="local", port={port}, wanted="running", state="ready")
profile = Profile.objects.create(slug="p", name="P", is_active=True)
ProfileMember.objects.create(profile=profile, model_id="qwen", position=0)
print("SECRET", apikeys.new_key("tests").secret)
"""
WRITTEN = "SELECT count(*) FROM servers_app_requestrecord WHERE status = 200"


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path, free_port())
    server.start()
    yield server
    server.kill()


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Have it answer nobody, as when its disk or its network does not."""
    assert server.process is not None
    parent = psutil.Process(server.process.pid)
    stopped = [parent, *parent.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


def _manage(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Site:
    def __init__(self, web: WebProcess, key: str, client: aiohttp.ClientSession) -> None:
        self.web, self._key, self._client = web, key, client

    async def ask(self, web: WebProcess | None = None, key: str = "") -> tuple[int, str]:
        url = f"{(web or self.web).url}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {key or self._key}"}
        body = {"model": "qwen", "messages": []}
        async with self._client.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    def threads(self) -> int:
        assert self.web.process is not None
        count: int = psutil.Process(self.web.process.pid).num_threads()
        return count


@asynccontextmanager
async def running(
    postgres: PostgresServer, redis: RedisServer, folder: Path, engine_url: str
) -> AsyncIterator[Site]:
    environment = {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis.url,
        "MAGI_API_AUTH": "required",
        "MAGI_DATA_DIR": str(folder / "web"),
    }
    await asyncio.to_thread(_manage, environment, "migrate", "--verbosity", "0")
    fill = FILL.format(port=engine_url.rpartition(":")[2])
    said = await asyncio.to_thread(_manage, environment, "shell", "-c", fill)
    key = said.rpartition("SECRET ")[2].split()[0]
    web = WebProcess(folder / "web", environment)
    try:
        await asyncio.to_thread(web.start)
        async with aiohttp.ClientSession() as client:
            yield Site(web, key, client)
    finally:
        web.terminate()
        web.wait()


async def test_the_gateway_goes_on_while_postgres_is_away_and_knows_it_when_it_is_back(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        serving(always(HELLO)) as engine,
        running(postgres, redis_server, tmp_path, engine.url) as site,
    ):
        assert await site.ask() == (200, "hello")
        postgres.kill()

        for _ in range(30):
            assert await site.ask() == (200, "hello")
            await asyncio.sleep(0.1)
        assert (await site.ask(key="magi_" + "0" * 64))[0] == 401
        assert site.web.readiness() == 200

        # One that starts meanwhile says so, and comes by itself.
        late = WebProcess(tmp_path / "late", {**site.web.environment})
        late.environment["MAGI_DATA_DIR"] = str(late.folder)
        late.launch()
        try:
            await asyncio.to_thread(late.until_ready, 503)
            status, said = await site.ask(late)
            assert (status, "has not been able to read" in said) == (503, True)

            redis_server.kill()
            assert await site.ask() == (200, "hello")

            await asyncio.to_thread(postgres.start)
            await asyncio.to_thread(late.until_ready, 200)
            assert await site.ask(late) == (200, "hello")
            await _until_written(postgres, 30)
        finally:
            late.kill()


async def test_a_postgres_that_hangs_stops_nothing_and_piles_up_no_threads(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        serving(always(HELLO)) as engine,
        running(postgres, redis_server, tmp_path, engine.url) as site,
    ):
        assert await site.ask() == (200, "hello")
        with hanging(postgres):
            for _ in range(50):
                assert await site.ask() == (200, "hello")
            await asyncio.sleep(8)  # longer than a read of the table is waited for
            first = site.threads()
            for _ in range(50):
                assert await site.ask() == (200, "hello")
            await asyncio.sleep(8)

            assert site.threads() <= first
            assert site.web.readiness() == 200

        await _until_written(postgres, 101)


async def _until_written(postgres: PostgresServer, requests: int) -> None:
    """Wait until the request log has what was asked while it could not be written."""

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE_S
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            while (connection.execute(WRITTEN).fetchone() or (0,))[0] < requests:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    await asyncio.to_thread(wait)
