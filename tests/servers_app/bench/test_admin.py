"""Benchmarks in the admin."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from profiles_app.models import ModelRunSettings, TierRule
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from tests.conftest import MakeModel, MakeProfile
from tests.servers_app.bench.conftest import RATES, MakeBenchmark

pytestmark = pytest.mark.django_db

LIST = reverse("admin:servers_app_benchmark_changelist")
COMPARE = reverse("admin:servers_app_benchmark_compare")


def page_of(benchmark: Benchmark, button: str = "change") -> str:
    return reverse(f"admin:servers_app_benchmark_{button}", args=[benchmark.pk])


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def test_the_list_shows_what_was_measured_with_as_many_queries_for_many(
    admin_client: Client,
    make_benchmark: MakeBenchmark,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    assert "Nothing was measured yet" in text_of(admin_client.get(LIST))
    for number in range(12):
        make_benchmark(f"model-{number}")

    with django_assert_max_num_queries(12):
        shown = text_of(admin_client.get(LIST))

    assert "model-11" in shown
    assert "20.0" in shown
    assert "No benchmark is like that" in text_of(admin_client.get(LIST, {"node": "x"}))


def test_a_benchmark_has_charts_figures_and_what_it_says_of_the_tier(
    admin_client: Client, make_benchmark: MakeBenchmark, make_model: MakeModel
) -> None:
    make_model("quick", assigned_tier="fast")
    make_model("slow", assigned_tier="powerful")
    make_benchmark("slow", rates=[99.0] * 3)
    benchmark = make_benchmark("quick", settings={"threads": 4}, note="The machine was busy.")

    shown = text_of(admin_client.get(page_of(benchmark)))

    assert "<svg" in shown
    assert "Generation by what is before it" in shown
    assert "The machine was busy." in shown
    assert "slower than slow (powerful, 99.0)" in shown
    assert "about 11.0 s" in shown


@pytest.mark.parametrize(
    "fields",
    [
        {"state": BenchmarkState.FAILED, "error": "It broke.", "figures": []},
        {"state": BenchmarkState.RUNNING, "progress": 0.4, "note": "2 at once", "figures": []},
        {"kind": BenchmarkKind.TUNE, "figures": [], "plan": {"minutes": 5}},
        {"figures": [], "plan": {}},
    ],
)
def test_one_without_figures_has_a_page_too(
    admin_client: Client, make_benchmark: MakeBenchmark, fields: dict[str, Any]
) -> None:
    shown = text_of(admin_client.get(page_of(make_benchmark(**fields))))

    assert str(fields.get("error") or fields.get("note") or "") in shown


def test_two_that_are_selected_are_compared(
    admin_client: Client, make_benchmark: MakeBenchmark
) -> None:
    a, b = make_benchmark(), make_benchmark(rates=[rate * 1.12 for rate in RATES])
    selected = {"action": "compare_selected", "_selected_action": [a.pk, b.pk]}

    shown = text_of(admin_client.post(LIST, selected, follow=True))

    assert "12.0 % faster, more than the spread of both" in shown
    alone = {**selected, "_selected_action": [a.pk]}
    assert "Select two" in text_of(admin_client.post(LIST, alone, follow=True))


@pytest.mark.parametrize("query", [{}, {"a": "x", "b": "1"}, {"a": "1", "b": "9" * 30}])
def test_what_cannot_be_compared_is_said(admin_client: Client, query: dict[str, str]) -> None:
    assert "Select two benchmarks" in text_of(admin_client.get(COMPARE, query))


def test_the_page_of_a_model_has_its_benchmarks_and_a_button(
    admin_client: Client,
    make_benchmark: MakeBenchmark,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servers_app.tasks.measure.apply_async", lambda *_args, **_more: None)
    model = make_model()
    make_benchmark()
    page = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    assert "Measure thoroughly" in text_of(admin_client.get(page))

    measure = reverse("admin:servers_app_benchmark_measure", args=[model.pk])
    response = admin_client.post(measure, {"plan": "quick"})

    assert response["Location"] == f"{page}#benchmarks"
    asked = Benchmark.objects.get(state=BenchmarkState.QUEUED)
    assert (asked.asked_by, asked.plan["contexts"]) == ("admin", [128, 512])


def test_a_search_for_faster_settings_is_asked_for_by_a_button_and_once(
    admin_client: Client, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.tuning.service.enqueue", lambda *_args, **_more: None)
    model = make_model()
    page = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    button = reverse("admin:servers_app_benchmark_tune", args=[model.pk])
    assert button in text_of(admin_client.get(page))

    shown = [text_of(admin_client.post(button, follow=True)) for _ in range(2)]

    asked = Benchmark.objects.get()
    assert (asked.kind, asked.asked_by) == (BenchmarkKind.TUNE, "admin")
    assert "Searching for faster settings of" in shown[1]


def test_what_a_search_found_is_taken_over_by_a_button(
    admin_client: Client, make_benchmark: MakeBenchmark, make_model: MakeModel
) -> None:
    make_model()
    outcome = {"baseline": {"prompt": [1.0], "generation": [1.0]}, "settings": {"threads": 1}}
    found = make_benchmark(kind=BenchmarkKind.TUNE, figures=[], outcome=outcome)
    assert "Take these settings" in text_of(admin_client.get(page_of(found)))

    shown = text_of(admin_client.post(page_of(found, "take"), follow=True))
    Benchmark.objects.update(outcome={})
    again = text_of(admin_client.post(page_of(found, "take"), follow=True))

    assert "It has threads 1 from its next start on." in shown
    assert ModelRunSettings.objects.get().run_settings == {"threads": 1}
    assert "found nothing better" in again


def test_one_under_way_is_cancelled_by_a_button(
    admin_client: Client, make_benchmark: MakeBenchmark
) -> None:
    queued = make_benchmark(state=BenchmarkState.QUEUED, figures=[])
    assert "Cancel" in text_of(admin_client.get(page_of(queued)))

    admin_client.post(page_of(queued, "cancel"))
    again = admin_client.post(page_of(queued, "cancel"), follow=True)

    queued.refresh_from_db()
    assert queued.state == BenchmarkState.CANCELLED
    assert "has ended already" in text_of(again)


def test_a_measured_time_is_applied_by_a_button(
    admin_client: Client,
    make_benchmark: MakeBenchmark,
    make_model: MakeModel,
    make_profile: MakeProfile,
) -> None:
    make_model()
    benchmark = make_benchmark()
    refused = admin_client.post(page_of(benchmark, "apply"), follow=True)
    assert "Not done" in text_of(refused)
    profile = make_profile("work", is_active=True)
    TierRule.objects.create(profile=profile, name="fast", expected_time_seconds=2)

    shown = text_of(admin_client.post(page_of(benchmark, "apply"), follow=True))

    assert "Profile work expects 11 s of the tier fast now; it was 2 s." in shown


@pytest.mark.parametrize("button", ["cancel", "apply", "take", "measure", "tune"])
def test_buttons_need_a_post_and_a_permission(
    make_benchmark: MakeBenchmark, make_model: MakeModel, button: str
) -> None:
    model, benchmark = make_model(), make_benchmark(state=BenchmarkState.QUEUED)
    url = reverse(
        f"admin:servers_app_benchmark_{button}",
        args=[model.pk if button in ("measure", "tune") else benchmark.pk],
    )
    client = client_of("view_benchmark", "view_discoveredmodel")

    assert client.get(url).status_code == 405
    assert client.post(url).status_code == 403
    assert text_of(client.get(page_of(benchmark)))
    benchmark.refresh_from_db()
    assert benchmark.is_wanted


def test_nothing_is_shown_to_those_who_may_not_look(make_benchmark: MakeBenchmark) -> None:
    client, benchmark = client_of("view_discoveredmodel"), make_benchmark()

    for url in (LIST, COMPARE, page_of(benchmark)):
        assert client.get(url).status_code == 403
