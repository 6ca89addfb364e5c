"""The page of a model: what it says, what is asked on it, and what it leaves alone."""

from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.models import DiscoveredModel
from models_app.rules import override_thinking, override_tier
from servers_app.admission import Machine
from servers_app.models import Server, ServerState, Wanted
from servers_app.request_models import UsageMinute
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


def page_of(client: Client, model: DiscoveredModel) -> str:
    url = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    return unescape(client.get(url).content.decode())


def test_a_page_says_what_it_takes_by_the_length_of_its_context(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model(
        "m",
        context_length=8192,
        size_bytes=2**30,
        metadata={
            "block_count": 32, "head_count": 32, "head_count_kv": 8, "key_length": 128,
            "value_length": 128, "embedding_length": 4096, "vocab_size": 32000,
        },
    )  # fmt: skip

    memory = admin_client.get(
        reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    ).context["memory"]

    assert [row.context for row in memory.rows] == ["2,048", "4,096", "8,192"]
    # 2 (K and V) * 32 layers * 8 heads * 128 wide * 2 bytes = 128 KiB a token.
    assert [row.cells[0].cache_mib for row in memory.rows] == ["256", "512", "1,024"]
    assert memory.rows[0].cells[1].cache_mib == "136"  # q8_0 has 8.5 bits
    assert memory.rows[-1].is_trained


@pytest.mark.parametrize(("free_mib", "word"), [(64_000, "fits now"), (100, "too large")])
def test_a_page_says_whether_it_fits(
    admin_client: Client,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    free_mib: int,
    word: str,
) -> None:
    machine = Machine(total_mib=free_mib, available_mib=free_mib)
    monkeypatch.setattr("servers_app.model_page.machine", lambda: machine)

    assert f">{word}</span>" in page_of(admin_client, make_model("m", context_length=4096))


def test_a_page_says_what_is_wrong_and_what_to_do(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model(
        "m",
        problem="incomplete: shard 2 of 3 is missing",
        is_missing=True,
        warnings=["the name says Q8_0, the header Q4_K_M"],
    )

    page = page_of(admin_client, model)

    assert "Incomplete: shard 2 of 3 is missing." in page
    assert "Download what is missing into the same folder, then rescan." in page
    assert "The last scan did not see its file." in page
    assert "The name says Q8_0, the header Q4_K_M." in page


def test_a_page_names_servers_and_profiles_and_has_buttons(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
) -> None:
    model = make_model("m")
    server = make_server(model, state=ServerState.READY, wanted=Wanted.RUNNING)
    profile = make_profile("mine", "m")

    page = page_of(admin_client, model)

    assert reverse("admin:servers_app_server_change", args=[server.pk]) in page
    assert reverse("admin:servers_app_server_ask", args=[server.pk]) in page
    assert reverse("admin:profiles_app_profile_change", args=[profile.pk]) in page


def test_a_page_says_how_the_model_was_used(
    admin_client: Client, make_model: MakeModel
) -> None:
    counted = {"prompt_tokens": 300, "completion_tokens": 200, "failures": 1}
    for name, requests in (("m", 4), ("other", 50)):
        UsageMinute.objects.create(
            minute=timezone.now(), model_id=name, requests=requests, **counted
        )

    page = page_of(admin_client, make_model("m"))

    assert "4 in 14 days" in page
    assert "500 in 14 days" in page


def test_a_model_without_a_server_is_started_from_its_page(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m")
    start = reverse("admin:models_app_discoveredmodel_start", args=[model.pk])

    assert start in page_of(admin_client, model)
    assert admin_client.get(start).status_code == 405
    admin_client.post(start)

    assert Server.objects.get().wanted == Wanted.RUNNING


def test_a_long_chat_template_is_cut_and_at_hand(
    admin_client: Client, make_model: MakeModel
) -> None:
    template = "".join(f"line {number}\n" for number in range(30_000))

    page = page_of(admin_client, make_model("m", metadata={"chat_template": template}))

    assert "line 1000\n" in page
    assert "more characters: GET /api/models/ID" in page
    assert len(page) < 100_000


def test_a_page_that_is_out_of_date_does_not_undo_what_somebody_else_decided(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m")
    url = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    as_shown = {
        "tier_override": "", "initial-tier_override": "",
        "thinking_override": "unknown", "initial-thinking_override": "",
        "notes": "", "initial-notes": "", "_continue": "SAVE",
    }  # fmt: skip
    override_tier("m", "balanced")
    override_thinking("m", thinking=False)

    admin_client.post(url, {**as_shown, "notes": "quick"})
    model.refresh_from_db()
    assert (model.notes, model.tier_override) == ("quick", "balanced")
    assert model.thinking_override is False

    as_shown["initial-notes"] = as_shown["notes"] = "quick"
    answer = admin_client.post(url, {**as_shown, "tier_override": "powerful"})
    assert "Somebody else has set this to balanced meanwhile" in answer.content.decode()
    model.refresh_from_db()
    assert model.tier_override == "balanced"
