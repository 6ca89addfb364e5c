"""docker-compose.yml runs what `manage.py run` runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from magi_site.processes import beat_command, web_command, worker_command

ROOT = Path(settings.BASE_DIR)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
        "services"
    ]
    return services


def test_the_services_run_the_same_commands(services: dict[str, Any]) -> None:
    assert services["web"]["command"] == web_command("0.0.0.0", 8000)
    assert services["worker"]["command"] == worker_command("local")
    assert services["beat"]["command"] == beat_command()


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]

    assert published == ["127.0.0.1:8000:8000"]


def test_models_are_mounted_read_only(services: dict[str, Any]) -> None:
    mounts = [volume for volume in services["worker"]["volumes"] if ":/models" in volume]

    assert len(mounts) == 1
    assert mounts[0].endswith(":ro")


def test_the_image_starts_the_web_server_by_default() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    command = dockerfile.rsplit("CMD ", 1)[1]

    assert yaml.safe_load(command) == web_command("0.0.0.0", 8000)
