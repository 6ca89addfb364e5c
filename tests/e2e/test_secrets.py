"""What is secret is where it has to be, and nowhere else."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.magi import PATIENCE_S, Magi

pytestmark = pytest.mark.e2e

PAGES = [
    "/api/models/registry",
    "/api/models/servers?all=true",
    "/api/models/profiles",
    "/api/models/profile",
    "/api/admin/system/info",
    "/api/admin/health/detailed",
    "/api/schema/?format=json",
    "/v1/models",
    "/health",
]
BAD = ["/no-such-page", "/api/no-such-call", "/api/models/no-such-model", "/v1/no-such-call"]
# Where a secret has to be, and where others cannot look: the folder has mode 0700.
KEPT = {"secret_key", "admin_password"}


@pytest.fixture(scope="module")
def secrets(magi: Magi) -> dict[str, str]:
    """Every secret that this MAGI holds, by what it is."""
    data = Path(magi.environment["MAGI_DATA_DIR"])
    made = magi.run_command("apikey", "new", "e2e-secrets", "--scope", "read")
    (api_key,) = re.findall(r"magi_\S+", made.stdout)
    return {
        "the secret key": (data / "secret_key").read_text().strip(),
        "the admin's password": (data / "admin_password").read_text().strip(),
        "an API key": api_key,
        **{f"the key of {pid}": key for pid, key in server_keys(magi)},
    }


def server_keys(magi: Magi) -> Iterator[tuple[int, str]]:
    """Yield the pid and the key of each llama-server, which is in its environment."""
    for process in magi.processes():
        try:
            key = process.environ().get("LLAMA_API_KEY", "")
        except psutil.Error:
            continue
        if key:
            yield process.pid, key


def found_in(text: str, secrets: dict[str, str]) -> list[str]:
    return [what for what, secret in secrets.items() if secret in text]


def test_there_are_secrets_to_look_for(secrets: dict[str, str]) -> None:
    assert any(what.startswith("the key of ") for what in secrets)
    assert all(len(secret) >= 16 for secret in secrets.values())


def test_no_secret_is_where_others_look(magi: Magi, secrets: dict[str, str]) -> None:
    """In no command line, which every user of the machine reads, and in no log."""
    for process in magi.processes():
        assert found_in(" ".join(process.cmdline()), secrets) == [], process

    data = Path(magi.environment["MAGI_DATA_DIR"])
    logs = [*data.glob("logs/*"), *data.glob("servers/*/*.log*")]
    assert logs
    for log in logs:
        assert found_in(log.read_text(errors="replace"), secrets) == [], log


def test_no_answer_has_a_secret_in_it(magi: Magi, secrets: dict[str, str]) -> None:
    for path in PAGES:
        assert found_in(str(magi.get(path)), secrets) == [], path
    model_id = magi.get("/api/models/servers")["servers"][0]["model_id"]
    for path in (
        f"/api/models/{model_id}",
        f"/api/models/servers/{model_id}",
        f"/api/models/servers/{model_id}/logs?lines=10000",
    ):
        assert found_in(text_at(magi, path), secrets) == [], path


@pytest.mark.parametrize("path", BAD)
def test_an_error_tells_nothing_of_the_inside(
    magi: Magi, secrets: dict[str, str], path: str
) -> None:
    text = text_at(magi, path)

    assert found_in(text, secrets) == []
    assert "Traceback" not in text
    assert magi.environment["MAGI_DATA_DIR"] not in text


def test_the_database_holds_no_secret_in_clear(magi: Magi, secrets: dict[str, str]) -> None:
    dumped = magi.run_command("dumpdata")

    assert '"auth.user"' in dumped.stdout
    assert found_in(dumped.stdout, secrets) == []


def test_what_is_kept_is_the_owners_alone(magi: Magi, secrets: dict[str, str]) -> None:
    data = Path(magi.environment["MAGI_DATA_DIR"])

    assert data.stat().st_mode & 0o077 == 0
    for name in KEPT:
        assert (data / name).stat().st_mode & 0o077 == 0
    # A database keeps what it was told in pages and logs of its own.
    files = [file for file in data.rglob("*") if file.is_file() and file.name not in KEPT]
    for file in files:
        assert found_in(file.read_bytes().decode("latin-1"), secrets) == [], file


def text_at(magi: Magi, path: str) -> str:
    """Return an answer as it is, an error's too."""
    try:
        with urllib.request.urlopen(magi.base_url + path, timeout=PATIENCE_S) as answer:  # noqa: S310
            text: bytes = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    return text.decode()
