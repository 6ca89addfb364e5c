"""The page of recommendations, and the button that makes a profile of them."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site.groups import OPERATOR, VIEWER, ensure_groups
from profiles_app.models import Profile
from servers_app.models import Node
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:recommendations")


@pytest.fixture(autouse=True)
def small_model(settings: Settings, make_model: MakeModel) -> None:
    settings.LLAMA_SERVER_PATH = "/nowhere/llama-server"
    make_model(
        "small", size_bytes=2**20, context_length=4096, display_name="A small <b>one</b>"
    )
    make_model("coder", size_bytes=2**20, context_length=4096, is_coder=True)
    make_model("huge", size_bytes=2**50, context_length=4096)


def signed_in(client: Client, group: str | None) -> Client:
    ensure_groups()
    user = User.objects.create_user(f"a {group}", is_staff=True)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    return client


def test_it_is_for_those_who_may_see_models(client: Client) -> None:
    assert client.get(PAGE).status_code == 302  # to sign in
    assert signed_in(client, None).get(PAGE).status_code == 403


def test_models_stand_there_with_their_reasons_and_those_that_do_not_fit(
    client: Client,
) -> None:
    shown = signed_in(client, VIEWER).get(PAGE).content.decode()

    assert "2 models fit, the best first" in shown
    assert "Preferred: " in shown
    assert "A small &lt;b&gt;one&lt;/b&gt;" in shown
    assert "Too large: it needs" in shown.partition('id="others"')[2]


def test_the_task_is_chosen_by_a_link(client: Client) -> None:
    viewer = signed_in(client, VIEWER)
    shown = viewer.get(PAGE, {"task": "coding"}).content.decode()
    rows = shown.partition('id="recommended"')[2]

    assert rows.index("CODER") < rows.index("A small")
    assert 'aria-current="true">Coding</a>' in shown
    assert "2 models fit" in viewer.get(PAGE, {"task": "chess"}).content.decode()


def test_a_node_that_is_not_there_is_told(client: Client) -> None:
    Node.objects.create(name="other", hardware={"total_bytes": 2**34})
    viewer = signed_in(client, VIEWER)

    assert (
        "There is no node &#x27;nowhere&#x27;"
        in viewer.get(PAGE, {"node": "nowhere"}).content.decode()
    )
    assert (
        'aria-current="true">other</a>' in viewer.get(PAGE, {"node": "other"}).content.decode()
    )


def test_an_operator_makes_a_profile_of_them(client: Client) -> None:
    operator = signed_in(client, OPERATOR)

    answer = operator.post(PAGE, {"name": "Made here", "task": "coding", "node": ""})

    profile = Profile.objects.get()
    assert answer["Location"] == reverse("admin:profiles_app_profile_change", args=[profile.pk])
    assert not profile.is_active
    assert profile.members.get().model_id == "coder"


def test_a_viewer_makes_none(client: Client) -> None:
    viewer = signed_in(client, VIEWER)

    assert "Make a profile" not in viewer.get(PAGE).content.decode()
    assert viewer.post(PAGE, {"name": "Made here"}).status_code == 403
    assert not Profile.objects.exists()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"name": ""}, "Not made: Give the profile a name."),
        ({"name": "x", "node": "nowhere"}, "Not made: There is no node"),
        ({"name": "x", "task": "vision"}, "Not made: No model on local can do this task"),
        ({"name": "x", "task": "chess"}, "Not made: Select a valid choice."),
        ({"name": "///"}, "Not made: "),
    ],
)
def test_what_cannot_be_made_is_told(client: Client, sent: dict[str, str], told: str) -> None:
    shown = signed_in(client, OPERATOR).post(PAGE, sent, follow=True).content.decode()

    assert told in shown
    assert not Profile.objects.exists()


def test_queries_do_not_grow_with_the_models(
    client: Client, make_model: MakeModel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(12):
        make_model(f"m{number}", size_bytes=2**20, context_length=4096)
    viewer = signed_in(client, VIEWER)
    viewer.get(PAGE)

    with django_assert_max_num_queries(25):
        viewer.get(PAGE)
