"""Comparisons in the admin: asked for by a form, seen blind, voted on by buttons."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel
from servers_app import tasks
from servers_app.benchmark_models import BenchmarkState
from servers_app.comparison_models import Comparison, Vote

pytestmark = pytest.mark.django_db(transaction=True)

Pair = tuple[DiscoveredModel, DiscoveredModel]
LIST = "admin:servers_app_comparison_changelist"
NEW = "admin:servers_app_comparison_new"
PAGE = "admin:servers_app_comparison_change"
FORM = {
    "model_a": "ada",
    "model_b": "bob",
    "task": "coding",
    "prompts": "Say hello.\nAdd 2 and 3.",
    "max_tokens": "32",
    "temperature": "0",
    "seed": "1",
}


@pytest.fixture
def compared(pair: Pair, queued: list[int], admin_client: Client) -> Comparison:
    """A comparison of two prompts that was asked for by the form, and done."""
    admin_client.post(reverse(NEW), FORM)
    tasks.compare(queued[0])
    return Comparison.objects.get()


def vote(client: Client, comparison: Comparison, value: str) -> Any:
    url = reverse("admin:servers_app_comparison_vote", args=[comparison.pk])
    return client.post(url, {"vote": value}, follow=True)


def test_the_form_asks_for_a_comparison(
    admin_client: Client, pair: Pair, queued: list[int]
) -> None:
    shown = admin_client.get(reverse(NEW)).content.decode()
    answer = admin_client.post(reverse(NEW), FORM)

    comparison = Comparison.objects.get()
    assert "launched for this alone" in shown
    assert answer["Location"] == reverse(PAGE, args=[comparison.pk])
    assert queued == [comparison.pk]
    assert comparison.asked_by == "admin"
    assert comparison.settings["max_tokens"] == 32
    assert [row.task for row in comparison.prompts.all()] == ["coding", "coding"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"model_b": "ada"}, "two different models"),
        ({"model_b": "nobody"}, "not one of the available choices"),
        ({"prompts": '{"prompt": 1}'}, "Line 1 has no"),
        ({"task": "embedding", "prompts": ""}, "its kind is text"),
        ({"max_tokens": "0"}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_a_form_that_is_wrong_says_so_and_asks_for_nothing(
    admin_client: Client, pair: Pair, queued: list[int], sent: dict[str, str], said: str
) -> None:
    page = admin_client.post(reverse(NEW), {**FORM, **sent}).content.decode()

    assert said in page
    assert not Comparison.objects.exists()


def test_names_are_shown_after_ones_vote_only(
    admin_client: Client, compared: Comparison
) -> None:
    url = reverse(PAGE, args=[compared.pk])
    before = admin_client.get(url).content.decode()

    after = vote(admin_client, compared, "1 right").content.decode()

    assert not re.search(r"<h3>(Left|Right):", before)
    assert "tokens/s" not in before.partition("comparison-pair")[2]
    assert "tokens/s" in after.partition("comparison-pair")[2]
    assert len(re.findall(r"<h3>(Left|Right): ", after)) == 2
    assert 'aria-pressed="true"' in after
    assert Vote.objects.get().who == "admin"
    assert "Too few votes to tell" in before or "too few votes to tell" in after


@pytest.mark.parametrize("value", ["", "0", "9 left", "x left", "0 ada", "-1 left", "²  left"])
def test_a_vote_that_is_none_is_told(
    admin_client: Client, compared: Comparison, value: str
) -> None:
    page = vote(admin_client, compared, value)

    assert page.status_code == 200
    assert "Not voted" in page.content.decode()
    assert not Vote.objects.exists()


def test_one_that_runs_is_stopped_by_its_button(
    admin_client: Client, compared: Comparison
) -> None:
    Comparison.objects.update(state=BenchmarkState.RUNNING)
    url = reverse("admin:servers_app_comparison_cancel", args=[compared.pk])
    shown = admin_client.get(reverse(PAGE, args=[compared.pk])).content.decode()

    looked = admin_client.get(url)
    admin_client.post(url)

    assert ">Stop</button>" in shown
    assert looked.status_code == 405
    assert not Comparison.objects.get().is_wanted


def test_who_may_only_look_can_do_nothing_else(client: Client, compared: Comparison) -> None:
    viewer = User.objects.create_user("eve", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_comparison"))
    client.force_login(viewer)

    page = client.get(reverse(PAGE, args=[compared.pk])).content.decode()
    refused = [
        client.get(reverse(NEW)),
        client.post(reverse(NEW), FORM),
        client.post(reverse("admin:servers_app_comparison_cancel", args=[compared.pk])),
        client.post(reverse("admin:servers_app_comparison_vote", args=[compared.pk])),
    ]

    assert "Which is better?" not in page
    assert {answer.status_code for answer in refused} == {403}
    assert "Compare two models" not in client.get(reverse(LIST)).content.decode()


def test_what_models_say_is_text(admin_client: Client, compared: Comparison) -> None:
    nasty = {"text": "<script>alert(1)</script>", "seconds": 1.0, "tokens": 1}
    compared.prompts.update(answer_a=nasty, prompt="<b>![x](javascript:alert(1))")

    page = admin_client.get(reverse(PAGE, args=[compared.pk])).content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>!" not in page


def test_an_image_of_a_prompt_is_shown(admin_client: Client, compared: Comparison) -> None:
    compared.prompts.update(prompt="![x](data:image/png;base64,AAAA) What is it?")

    page = admin_client.get(reverse(PAGE, args=[compared.pk])).content.decode()

    assert 'src="data:image/png;base64,AAAA"' in page


def test_many_prompts_are_shown_on_pages(admin_client: Client, compared: Comparison) -> None:
    for place in range(2, 25):
        compared.prompts.create(position=place, prompt=f"No. {place}")
    url = reverse(PAGE, args=[compared.pk])

    first = admin_client.get(url).content.decode()
    last = admin_client.get(url, {"page": 3}).content.decode()

    assert "Page 1 of 3" in first
    assert "No. 24" in last
    assert "No. 24" not in first


def test_the_list_shows_them_and_costs_no_more_for_many(
    admin_client: Client,
    compared: Comparison,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(30):
        Comparison.objects.create(model_a=f"a{number}", model_b="b", name=f"No. {number}")

    with django_assert_max_num_queries(12):
        page = admin_client.get(reverse(LIST)).content.decode()

    assert "No. 29" in page
    assert "Compare two models" in page


def test_an_empty_list_says_what_comparisons_are_for(admin_client: Client) -> None:
    assert "Nothing was compared yet" in admin_client.get(reverse(LIST)).content.decode()
