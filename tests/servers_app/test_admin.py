from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


@pytest.mark.parametrize(
    "page",
    [
        "index",
        "models_app_discoveredmodel_changelist",
        "models_app_scanroot_changelist",
        "models_app_scanroot_add",
        "profiles_app_profile_changelist",
        "profiles_app_profile_add",
        "servers_app_server_changelist",
    ],
)
def test_every_page_opens(
    admin_client: Client, make_server: MakeServer, make_profile: MakeProfile, page: str
) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.READY)
    make_profile("development", "qwen3_4p0b_q4km_fast", is_active=True)

    assert admin_client.get(reverse(f"admin:{page}")).status_code == 200


def test_each_rows_page_opens(
    admin_client: Client, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    server = make_server(state=ServerState.FAILED, last_error="error: <b>unknown flag</b>")
    profile = make_profile("development")

    pages = {
        name: admin_client.get(reverse(f"admin:{name}_change", args=[pk]))
        for name, pk in (
            ("models_app_discoveredmodel", server.model.pk),
            ("servers_app_server", server.pk),
            ("profiles_app_profile", profile.pk),
        )
    }

    assert {page.status_code for page in pages.values()} == {200}
    assert "&lt;b&gt;unknown flag" in pages["servers_app_server"].content.decode()


def test_the_dashboard_counts(
    admin_client: Client, make_server: MakeServer, make_model: MakeModel
) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.READY)
    make_server(make_model("b"), wanted=Wanted.RUNNING, state=ServerState.STARTING, port=8081)

    tiles = admin_client.get(reverse("admin:index")).context["tiles"]

    counts = {tile.label: tile.count for tile in tiles}
    assert counts == {"discovered": 2, "enabled": 0, "running": 2, "ready": 1}


def test_the_stop_action_asks_for_a_stop(admin_client: Client, make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY)

    response = admin_client.post(
        reverse("admin:servers_app_server_changelist"),
        {"action": "stop_selected", "_selected_action": [server.pk], "confirmed": "yes"},
        follow=True,
    )

    assert "Stopping QWEN3" in response.content.decode()
    assert Server.objects.get().wanted == Wanted.STOPPED


def test_the_start_action_of_a_broken_model_says_what_is_wrong(
    admin_client: Client, make_server: MakeServer, make_model: MakeModel
) -> None:
    server = make_server(make_model(problem="shard 2 of 3 is missing"))

    response = admin_client.post(
        reverse("admin:servers_app_server_changelist"),
        {"action": "start_selected", "_selected_action": [server.pk]},
        follow=True,
    )

    assert "shard 2 of 3 is missing" in response.content.decode()


def act(client: Client, page: str, action: str, *rows: Any) -> str:
    """Run an action of a list in the admin; return the page that follows."""
    response = client.post(
        reverse(f"admin:{page}_changelist"),
        {"action": action, "_selected_action": [row.pk for row in rows]},
        follow=True,
    )
    return response.content.decode()


def test_a_model_is_enabled_and_disabled_in_the_active_profile_from_its_list(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    model = make_model("here")
    page = act(admin_client, "models_app_discoveredmodel", "enable_selected", model)
    assert "No profile is active" in page
    profile = make_profile("mine", is_active=True)

    page = act(admin_client, "models_app_discoveredmodel", "enable_selected", model)
    assert "Enabled in Mine" in page
    assert [member.model_id for member in profile.members.all()] == ["here"]

    act(admin_client, "models_app_discoveredmodel", "disable_selected", model)
    assert not profile.members.exists()


def test_people_change_what_is_theirs_of_a_model_and_nothing_else(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model()

    admin_client.post(
        reverse("admin:models_app_discoveredmodel_change", args=[model.pk]),
        {
            "tier_override": "powerful",
            "thinking_override": "unknown",
            "notes": "good",
            "file_path": "/etc/passwd",
        },
    )

    model.refresh_from_db()
    assert (model.tier_override, model.notes) == ("powerful", "good")
    assert model.file_path == "/models/qwen3_4p0b_q4km_fast.gguf"


@pytest.mark.parametrize("page", ["servers_app_server_changelist"])
def test_a_list_costs_the_same_with_more_rows(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    page: str,
) -> None:
    for number, name in enumerate("abcdef"):
        make_server(make_model(name), port=8080 + number)

    with django_assert_max_num_queries(9):
        admin_client.get(reverse(f"admin:{page}"))


def test_a_plan_shows_each_command_line_with_where_its_values_come_from(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here", context_length=8192)
    profile = make_profile("mine", "here", run_settings={"parallel": 3})

    page = admin_client.get(reverse("admin:profiles_app_profile_plan", args=[profile.pk]))

    text = page.content.decode()
    assert '<td class="magi-mono">--parallel 3</td><td>profile mine</td>' in text
    assert "the model was trained for 8192" in text
