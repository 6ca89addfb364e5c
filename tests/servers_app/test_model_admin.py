"""The list of models: what it shows, what is edited in it, and what it leaves alone."""

from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from models_app.models import ModelKind, ScanRoot
from models_app.rules import override_tier
from servers_app.models import Server, ServerState
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]

LIST = "admin:models_app_discoveredmodel_changelist"


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


def save(client: Client, **sent: Any) -> str:
    """Press SAVE in the list; return the page that follows."""
    data = {"_save": "SAVE", **{name.replace("__", "-"): each for name, each in sent.items()}}
    return unescape(client.post(reverse(LIST), data, follow=True).content.decode())


def shown(client: Client, query: str = "") -> list[str]:
    """Return the ids of the models in the list, in their order."""
    changelist = client.get(f"{reverse(LIST)}{query}").context["cl"]
    return [model.model_id for model in changelist.result_list]


# -- what it shows


def test_a_row_says_what_a_model_is_for_and_how_its_server_is(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model("m", is_coder=True, kind=ModelKind.VISION, tier_override="powerful")
    make_server(model, state=ServerState.READY, port=8123)

    page = admin_client.get(reverse(LIST)).content.decode()

    assert ">CODER</span>" in page
    assert ">VISION</span>" in page
    assert ">INSTRUCT</span>" not in page
    assert '<td class="field-port_shown">8123</td>' in page
    assert "Ready</span>" in page
    assert 'title="Set by a person; by the rules: fast">*</span>' in page


def test_of_several_servers_the_most_alive_says_how_a_model_is(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    model = make_model("m")
    make_server(model, state=ServerState.FAILED, replica=0)
    make_server(model, state=ServerState.READY, replica=1)

    page = admin_client.get(reverse(LIST)).content.decode()

    assert "Ready</span> +1</span>" in page


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("?tier=powerful", ["b"]),
        ("?tier=none", ["c"]),
        ("?enabled=yes", ["a"]),
        ("?enabled=no", ["b", "c", "d"]),
        ("?state=ready", ["a"]),
        ("?state=none", ["b", "c", "d"]),
        ("?files=missing", ["d"]),
        ("?files=broken", []),
        ("?override=tier", ["b"]),
        ("?family=llama", ["d"]),
        ("?quantization=Q8_0", ["c"]),
        ("?q=llama", []),
    ],
)
def test_it_is_filtered(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
    query: str,
    ids: list[str],
) -> None:
    make_server(make_model("a"), state=ServerState.READY)
    make_model("b", tier_override="powerful")
    make_model("c", kind=ModelKind.EMBEDDING, quantization="Q8_0")
    make_model("d", is_missing=True, family="llama")
    make_profile("mine", "a", is_active=True)

    assert sorted(shown(admin_client, query)) == ids


def test_a_tier_is_sorted_by_its_power(admin_client: Client, make_model: MakeModel) -> None:
    make_model("a", assigned_tier="powerful")
    make_model("b", assigned_tier="balanced")
    make_model("c", assigned_tier="fast")
    column = list(admin_client.get(reverse(LIST)).context["cl"].list_display).index(
        "tier_field"
    )

    assert shown(admin_client, f"?o={column}") == ["c", "b", "a"]


def test_a_list_of_many_costs_as_much_as_one_of_few(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    make_profile("mine", "model-0", is_active=True)
    make_server(make_model("model-0"), port=9000)
    with django_assert_max_num_queries(40) as of_one:
        admin_client.get(reverse(LIST))

    for number in range(1, 50):
        make_server(make_model(f"model-{number}"), port=9000 + number)
    with django_assert_max_num_queries(len(of_one)):
        answer = admin_client.get(reverse(LIST))

    assert len(answer.context["cl"].result_list) == 50


def test_a_full_page_of_long_names_is_small(
    admin_client: Client, make_model: MakeModel
) -> None:
    for number in range(51):
        make_model(
            f"{'a-rather-long-id-' * 5}{number}",
            display_name=f"{'A rather long name ' * 5}{number}",
            is_coder=True,
            is_instruct=True,
            metadata={"chat_template": "x" * 20_000},
        )

    assert len(admin_client.get(reverse(LIST)).content) < 200_000


def test_an_empty_list_says_what_to_do_first(admin_client: Client) -> None:
    without_a_root = admin_client.get(reverse(LIST)).content.decode()
    ScanRoot.objects.create(node="local", path="/models")
    with_a_root = admin_client.get(reverse(LIST)).content.decode()

    assert "MODEL_SCAN_PATH" in without_a_root
    assert "press RE-SCAN" in with_a_root


# -- what is edited in it


def test_a_tier_is_set_and_taken_off_again(admin_client: Client, make_model: MakeModel) -> None:
    model = make_model("m")

    page = save(admin_client, **{f"tier__{model.pk}": "auto>powerful"})
    model.refresh_from_db()
    assert model.tier == "powerful"
    assert "Saved the overrides of" in page
    assert '<option value="powerful>powerful" selected>powerful</option>' in page

    save(admin_client, **{f"tier__{model.pk}": "powerful>auto"})
    model.refresh_from_db()
    assert model.tier_override == ""


def test_thinking_is_set_and_taken_off_again(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m")

    save(admin_client, **{f"thinking__{model.pk}": "auto>on"})
    model.refresh_from_db()
    assert model.is_thinking
    assert model.assigned_tier == "powerful"  # the rules follow

    save(admin_client, **{f"thinking__{model.pk}": "on>auto"})
    model.refresh_from_db()
    assert model.thinking_override is None


def test_what_nobody_touched_is_not_saved(admin_client: Client, make_model: MakeModel) -> None:
    model = make_model("m")
    before = model.updated_at
    override_tier("m", "balanced")  # after the page was shown

    page = save(
        admin_client,
        **{f"tier__{model.pk}": "auto>auto", f"thinking__{model.pk}": "auto>auto"},
    )

    model.refresh_from_db()
    assert model.tier_override == "balanced"
    assert model.updated_at == before
    assert "Nothing was changed." in page


def test_what_somebody_else_has_set_meanwhile_stays(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m")
    override_tier("m", "balanced")

    page = save(admin_client, **{f"tier__{model.pk}": "auto>powerful"})

    model.refresh_from_db()
    assert model.tier_override == "balanced"
    assert "somebody else has set it to balanced meanwhile" in page


def test_a_model_that_has_no_tier_gets_none(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m", kind=ModelKind.EMBEDDING)

    page = save(admin_client, **{f"tier__{model.pk}": "auto>powerful"})

    model.refresh_from_db()
    assert model.tier_override == ""
    assert "has no tier: its kind is embedding" in page


@pytest.mark.parametrize(
    "sent",
    [
        {"tier-1": "auto>huge"},
        {"tier-one": "auto>fast"},
        {"tier-99999999999999999999999": "auto>fast"},
        {"port-1": "auto>1"},
        {"enabled": ["none", "99999999999999999999999"]},
    ],
)
def test_what_no_page_of_ours_sends_changes_nothing(
    admin_client: Client, make_model: MakeModel, sent: dict[str, Any]
) -> None:
    make_model("m", pk=1)

    page = save(admin_client, **sent)

    assert "Nothing was changed." in page


def test_models_are_enabled_and_disabled_by_their_checkboxes(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    a, b, c = (make_model(name) for name in "abc")
    profile = make_profile("mine", "a", "b", is_active=True)

    page = save(admin_client, enabled=[b.pk, c.pk], was_enabled=[a.pk, b.pk])

    assert sorted(each.model_id for each in profile.members.all()) == ["b", "c"]
    assert "Enabled in Mine: C." in page
    assert "Disabled in Mine: A." in page
    assert Server.objects.get().model == c  # b, which nobody touched, was not started


def test_who_is_quicker_need_not_be_repeated(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    model = make_model("m")
    make_profile("mine", "m", is_active=True)  # somebody has enabled it since

    page = save(admin_client, enabled=[model.pk])

    assert "Nothing was changed." in page
    assert not Server.objects.exists()


def test_a_list_of_another_profile_enables_nothing(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    model = make_model("m")
    profile = make_profile("mine", is_active=True)

    page = save(admin_client, enabled=[model.pk], active_profile="another")

    assert "Mine has been activated meanwhile" in page
    assert not profile.members.exists()


def test_without_an_active_profile_it_says_so(
    admin_client: Client, make_model: MakeModel
) -> None:
    assert "No profile is active" in save(admin_client, enabled=[make_model("m").pk])


def test_a_model_that_cannot_run_cannot_be_checked(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m", problem="incomplete: shard 2 of 3 is missing")

    page = admin_client.get(reverse(LIST)).content.decode()

    field = page[page.index(f'id="enabled-{model.pk}"') :].partition(">")[0]
    assert 'disabled title="It cannot be enabled: incomplete' in field
