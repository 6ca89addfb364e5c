import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from models_app.models import ScanRoot
from servers_app.models import ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db


def test_the_registry_shows_models_under_the_guides_names(
    client: Client, make_model: MakeModel
) -> None:
    root = ScanRoot.objects.create(node="local", path="/models", last_scan_at=timezone.now())
    make_model(root=root, port=8080, context_length=40960)

    registry = client.get("/api/models/registry").json()

    assert registry["scan_path"] == "/models"
    assert registry["last_scan"].endswith(("Z", "+00:00"))
    assert registry["port_range"] == [8080, 8099]
    assert registry["tier_thresholds"] == {"powerful_min": 14.0, "fast_max": 7.0}
    model = registry["models"]["qwen3_4p0b_q4km_fast"]
    promised = (
        "model_id file_path filename family version size_params quantization is_thinking_model "
        "thinking_override is_instruct is_coder assigned_tier tier_override tier port enabled "
        "display_name kind context_length parameter_count size_bytes memory_bytes repo_id state"
    )
    assert set(promised.split()) <= set(model)
    assert (model["tier_override"], model["thinking_override"]) == (None, None)
    assert (model["enabled"], model["state"]) == (False, "stopped")


def test_a_model_is_enabled_where_the_active_profile_says_so(
    client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("a")
    make_model("b")
    make_profile("active", "a", is_active=True)
    make_profile("another", "b")

    models = client.get("/api/models/registry").json()["models"]

    assert {name: model["enabled"] for name, model in models.items()} == {"a": True, "b": False}


def test_a_tier_override_is_the_effective_tier(client: Client, make_model: MakeModel) -> None:
    make_model(tier_override="powerful")

    model = client.get("/api/models/registry").json()["models"]["qwen3_4p0b_q4km_fast"]

    assert (model["assigned_tier"], model["tier_override"], model["tier"]) == (
        "fast",
        "powerful",
        "powerful",
    )


def test_the_registry_costs_the_same_with_more_models(
    client: Client, make_model: MakeModel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for name in "abcdef":
        make_model(name)

    with django_assert_max_num_queries(7):
        client.get("/api/models/registry")


def test_servers_that_run_or_should_are_listed(client: Client, make_server: MakeServer) -> None:
    now = timezone.now()
    make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.READY,
        pid=4242,
        launched_at=now,
        ready_at=now,
        engine="embedded llama.cpp",
        build="b11434",
        memory_mib=900,
    )

    status = client.get("/api/models/servers").json()

    assert (status["total_servers"], status["ready_servers"]) == (1, 1)
    assert status["servers"] == [
        {
            "model_id": "qwen3_4p0b_q4km_fast",
            "display_name": "QWEN3_4P0B_Q4KM_FAST",
            "port": 8080,
            "pid": 4242,
            "replica": 0,
            "wanted": "running",
            "on_request": False,
            "note": "",
            "load_progress": None,
            "engine": "embedded llama.cpp",
            "build": "b11434",
            "memory_mib": 900,
            "is_ready": True,
            "is_running": True,
            "is_reachable": True,
            "unreachable_since": None,
            "uptime_seconds": 0,
            "state": "ready",
            "node": "local",
            "restarts": 0,
            "last_error": None,
        }
    ]


def test_a_failed_server_says_why(client: Client, make_server: MakeServer) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.FAILED, last_error="out of memory")

    (server,) = client.get("/api/models/servers").json()["servers"]

    assert (server["is_running"], server["uptime_seconds"]) == (False, 0)
    assert server["last_error"] == "out of memory"


def test_a_server_at_rest_is_not_listed(client: Client, make_server: MakeServer) -> None:
    make_server()

    assert client.get("/api/models/servers").json() == {
        "total_servers": 0,
        "ready_servers": 0,
        "servers": [],
    }


def test_profiles_are_listed_by_the_stems_of_their_files(
    client: Client, make_profile: MakeProfile
) -> None:
    make_profile("production")
    make_profile("development")

    assert client.get("/api/models/profiles").json() == ["development", "production"]


@pytest.mark.parametrize("path", ["registry", "servers", "profiles"])
def test_beyond_loopback_the_api_is_for_staff(
    client: Client, admin_client: Client, settings: Settings, path: str
) -> None:
    settings.MAGI_HOST = "0.0.0.0"

    refused = client.get(f"/api/models/{path}")

    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")
    assert "API key" in refused.json()["detail"]
    assert admin_client.get(f"/api/models/{path}").status_code == 200
