"""GET /api/admin/system/info: what MAGI runs on, with no secret in it."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from magi_site.operations.settings_shown import SETTINGS
from models_app.errors import QueueUnavailableError
from models_app.models import ScanRoot
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key
from servers_app.models import EngineBuild, Node
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/admin/system/info"


@pytest.fixture(autouse=True)
def workers(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magi_site.operations.system_info.without_worker", lambda _names: {})


def setting(body: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each for each in body["environment"]["settings"] if each["name"] == name]
    return found


def test_it_says_what_magi_runs_on(client: Client) -> None:
    Node.objects.create(
        name="local", heartbeat_at=timezone.now(), hardware={"cpu": "a processor"}
    )

    body = client.get(URL).json()

    assert list(body) == ["python", "environment", "services", "hardware"]
    assert body["python"]["packages"]["Django"].startswith("5.2")
    assert body["environment"]["magi_version"]
    assert re.match(r"\d+\.\d+", body["services"]["database"]["version"])
    assert re.match(r"\d+\.\d+", body["services"]["redis"]["version"])
    assert body["services"]["workers"]["nodes"][0]["answers"] is True
    assert body["hardware"]["logical_cores"] >= 1
    assert body["hardware"]["nodes"] == {"local": {"cpu": "a processor"}}


def test_hardware_is_told_with_disks_flags_and_the_devices_of_engines(
    client: Client, tmp_path: Path
) -> None:
    ScanRoot.objects.create(node="local", path=str(tmp_path))
    EngineBuild.objects.create(
        node="local", path="/llama-server", version="b1", devices=[{"name": "CUDA0"}]
    )

    hardware = client.get(URL).json()["hardware"]

    assert hardware["disks"][0]["scan_roots"] == [str(tmp_path)]
    assert isinstance(hardware["cpu_flags"], list)
    assert hardware["memory_bandwidth_bytes_per_s"] is None
    assert hardware["devices"] == {"local": [{"name": "CUDA0", "engine": "b1"}]}


def test_a_service_that_is_away_is_said_to_be(
    client: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_names: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr("magi_site.operations.system_info.without_worker", refuse)
    Node.objects.create(name="local")
    redis_server.kill()

    services = client.get(URL).json()["services"]

    assert services["redis"]["is_available"] is False
    assert "REDIS_URL" in services["redis"]["problem"]
    assert services["database"]["is_available"] is True
    assert services["workers"]["nodes"][0]["answers"] is None


def test_each_variable_of_the_configuration_is_shown_or_known_to_be_secret(
    settings: Settings,
) -> None:
    code = (Path(settings.BASE_DIR) / "magi_site" / "settings.py").read_text()

    read = set(re.findall(r'(?:env_\w+|environ\.get)\(\s*"([A-Z_]+)"', code))

    assert set(SETTINGS) == read, "say in settings_shown.py whether it may be shown"


def test_a_setting_says_where_its_value_is_from(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("MAGI_PORT=8111\nMAGI_NODE=of-the-file\n")
    settings.MAGI_PORT = 8111
    monkeypatch.setenv("MAGI_ENV_FILE", str(file))
    monkeypatch.setenv("MAGI_PORT", "8111")  # as it is once the file was read
    monkeypatch.setenv("MAGI_NODE", "of-the-environment")
    monkeypatch.delenv("MAGI_HOST", raising=False)

    body = client.get(URL).json()

    assert setting(body, "MAGI_PORT") == {
        "name": "MAGI_PORT",
        "value": 8111,
        "is_hidden": False,
        "origin": ".env",
    }
    assert setting(body, "MAGI_NODE")["origin"] == "environment"
    assert setting(body, "MAGI_HOST")["origin"] == "default"


SECRETS = {
    "MAGI_SECRET_KEY": "hunter2-signing",
    "DATABASE_URL": "postgres://magi:hunter2-database@127.0.0.1:1/magi?sslpassword=hunter2-tls",
    "REDIS_URL": "rediss://magi:hunter2-redis@localhost:1/3?ssl_keyfile=hunter2-keyfile",
    "MAGI_OLLAMA_REGISTRY": "https://me:hunter2-mirror@mirror:5000/ollama",
    "LLAMA_API_KEY": "hunter2-llama",
    "HF_TOKEN": "hunter2-hub",
    "AWS_SECRET_ACCESS_KEY": "hunter2-cloud",
    "MAGI_NO_SUCH_SETTING": "hunter2-unknown",
}


def test_no_secret_of_the_environment_or_the_settings_is_in_it(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings.SECRET_KEY = SECRETS["MAGI_SECRET_KEY"]
    settings.REDIS_URL = SECRETS["REDIS_URL"]
    settings.MAGI_OLLAMA_REGISTRY = SECRETS["MAGI_OLLAMA_REGISTRY"]
    database = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "magi",
        "USER": "magi",
        "PASSWORD": "hunter2-database",
        "HOST": "127.0.0.1",
        "PORT": 1,
        "OPTIONS": {"sslpassword": "hunter2-tls"},
    }
    monkeypatch.setitem(connections.settings, "default", database)
    monkeypatch.setitem(settings.DATABASES, "default", database)

    response = client.get(URL)

    assert response.status_code == 200
    assert "hunter2" not in response.content.decode()
    shown = response.json()
    assert setting(shown, "MAGI_SECRET_KEY")["value"] is None
    assert setting(shown, "DATABASE_URL")["value"] == "postgresql://127.0.0.1:1/magi"
    assert setting(shown, "REDIS_URL")["value"] == "rediss://localhost:1/3"
    registry = setting(shown, "MAGI_OLLAMA_REGISTRY")
    assert registry["value"] == "https://mirror:5000/ollama"
    assert shown["services"]["database"] == {
        "is_available": False,
        "problem": "It cannot be asked (OperationalError).",
    }


@pytest.fixture
def closed(settings: Settings, tmp_path: Path) -> Path:
    """An API that is not open to everybody; return the folder whose name is looked for."""
    settings.MAGI_API_AUTH = "required"
    settings.MAGI_DATA_DIR = tmp_path
    EngineBuild.objects.create(
        node="local", path=str(tmp_path / "llama-server"), problem=f"{tmp_path} is no program"
    )
    ScanRoot.objects.create(node="local", path=str(tmp_path))
    ScanRoot.objects.create(node="local", path=str(tmp_path / "gone"))
    disk = {"path": str(tmp_path), "scan_roots": [str(tmp_path)], "downloads": []}
    notes = [f"The scan root {tmp_path} is not there."]
    Node.objects.create(name="attic", hardware={"disks": [disk], "disk_notes": notes})
    return tmp_path


@pytest.mark.parametrize(
    ("scopes", "sees_paths"),
    [([Scope.READ], False), ([Scope.MANAGE], True)],
    ids=["read", "manage"],
)
def test_where_things_lie_is_for_keys_that_may_manage(
    client: Client, closed: Path, scopes: list[Scope], sees_paths: bool
) -> None:
    secret = new_key("ci", scopes=scopes).secret

    response = client.get(URL, headers={"Authorization": f"Bearer {secret}"})

    assert response.status_code == 200
    assert (str(closed) in response.content.decode()) is sees_paths
    assert (response.json()["python"]["executable"] is not None) is sees_paths
    assert setting(response.json(), "MAGI_DATA_DIR")["is_hidden"] is not sees_paths


@pytest.mark.parametrize("sees_paths", [False, True], ids=["viewer", "operator"])
def test_where_things_lie_is_for_staff_who_may_change_servers(
    client: Client, closed: Path, sees_paths: bool
) -> None:
    user = User.objects.create_user("ada", is_staff=True)
    if sees_paths:
        user.user_permissions.add(Permission.objects.get(codename="change_server"))
    client.force_login(user)

    response = client.get(URL)

    assert (str(closed) in response.content.decode()) is sees_paths


def test_strangers_see_nothing(client: Client, closed: Path) -> None:
    assert client.get(URL).status_code == 401
