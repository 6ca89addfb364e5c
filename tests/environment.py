"""The environment that the tests run in, set before Django reads its settings.

Loaded with `-p` (pyproject.toml), because pytest-django imports the settings before
any conftest.py. The tests write nowhere but in a folder of their own, and whoever
runs them chooses nothing but DATABASE_URL and REDIS_URL, which ends with a database's number.
"""

import atexit
import os
import shutil
import tempfile

import pytest

DATABASE_FIXTURES = frozenset({"db", "transactional_db"})
DATA_DIR = tempfile.mkdtemp(prefix="magi-")
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)

for name in [*os.environ]:
    if name.startswith(("MAGI_", "MODEL_", "LLAMA_", "HF_", "OTEL_")):
        del os.environ[name]
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and "REDIS_URL" in os.environ:
    # Those who share a Redis would hear of each other: a database for each.
    server, _, database = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{server}/{int(database) + int(worker.removeprefix('gw'))}"
os.environ.update(
    MAGI_DATA_DIR=DATA_DIR,
    MAGI_ENV_FILE=os.devnull,
    LLAMA_SERVER_PATH="embedded",
    HF_HUB_CACHE=os.path.join(DATA_DIR, "no-such-cache"),  # noqa: PTH118
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seconds", type=float, default=90, help="of tests/chaos")
    parser.addoption("--chaos-seed", type=int, default=0, help="0: another one each time")
    parser.addoption("--api-cases", type=int, default=300, help="of tests/api, each caller")
    parser.addoption("--api-seed", type=int, default=1, help="of tests/api")
    parser.addoption("--pictures", help="of tests/browser: a folder for those in docs/")
    parser.addoption(
        "--with-database", action="store_true", help="only the tests that use the database"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what no other database could change, where that is asked for."""
    if not config.getoption("--with-database"):
        return
    left_out = [item for item in items if not _uses_database(item)]
    items[:] = [item for item in items if _uses_database(item)]
    config.hook.pytest_deselected(items=left_out)


def _uses_database(item: pytest.Item) -> bool:
    if any(f"tests/{folder}/" in item.nodeid for folder in ("api", "browser")):
        return False  # about HTTP, and long
    folders = ("e2e", "chaos", "magi_site")  # these run whole processes
    return (
        item.get_closest_marker("django_db") is not None
        or not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or any(f"tests/{folder}/" in item.nodeid for folder in folders)
    )
