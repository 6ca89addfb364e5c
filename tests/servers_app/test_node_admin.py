"""The page of a node: its hardware, and the button that asks for another look."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from magi_site.groups import OPERATOR, VIEWER, ensure_groups
from models_app.errors import NoWorkerError
from servers_app import node_admin
from servers_app.models import EngineBuild, Node
from tests.servers_app.test_hardware_command import HARDWARE

pytestmark = pytest.mark.django_db


@pytest.fixture
def node() -> Node:
    EngineBuild.objects.create(
        node="attic",
        path="/opt/llama-server",
        build=11434,
        devices=[
            {"name": "CUDA0", "description": "RTX 4090", "total_mib": 24000, "free_mib": 23000}
        ],
    )
    return Node.objects.create(
        name="attic", heartbeat_at=timezone.now(), hardware=HARDWARE.as_json()
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the nodes whose workers were asked."""
    nodes: list[str] = []
    monkeypatch.setattr(node_admin, "request_look", nodes.append)
    return nodes


def signed_in(client: Client, group: str) -> Client:
    ensure_groups()
    user = User.objects.create_user(f"a {group}", is_staff=True)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    return client


def page(node: Node) -> str:
    return reverse("admin:servers_app_node_change", args=[node.pk])


def look(node: Node) -> str:
    return reverse("admin:servers_app_node_look", args=[node.pk])


def test_all_of_a_nodes_hardware_is_on_its_page(client: Client, node: Node) -> None:
    shown = signed_in(client, OPERATOR).get(page(node)).content.decode()

    for text in (
        "AMD Ryzen [9]",
        "avx2 fma",
        "40.0 of 64.0 GiB",
        "61.2 GB/s ± 0.9",
        "RTX 4090",
        "the machine&#x27;s",
        "/mnt/models",
        "/mnt/hub",
        "/opt/llama-server",
        "23,000 of 24,000 MiB free",
        "GPU 2 is left out.",
        "The scan root /gone",
        "Look again",
        'data-live="task"',
    ):
        assert text in shown
    assert "_save" not in shown


def test_a_viewer_sees_no_paths_and_no_button(client: Client, node: Node) -> None:
    shown = signed_in(client, VIEWER).get(page(node)).content.decode()

    assert "Disk 1" in shown
    assert "llama-server 11434" in shown
    for text in ("/mnt", "/gone", "/opt", "Look again"):
        assert text not in shown


def test_a_node_that_has_said_nothing_says_what_to_do(client: Client) -> None:
    new = Node.objects.create(name="new")

    shown = signed_in(client, OPERATOR).get(page(new)).content.decode()

    assert "It has not said yet what it has." in shown
    assert "manage.py run" in shown


def test_the_button_asks_the_worker_of_that_node(
    client: Client, node: Node, asked: list[str]
) -> None:
    answer = signed_in(client, OPERATOR).post(look(node), follow=True)

    assert asked == ["attic"]
    assert answer.redirect_chain == [(page(node), 302)]
    assert "Looking at node attic" in answer.content.decode()


def test_a_worker_that_is_away_is_a_message(
    client: Client, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str) -> None:
        raise NoWorkerError(name)

    monkeypatch.setattr(node_admin, "request_look", away)

    shown = signed_in(client, OPERATOR).post(look(node), follow=True).content.decode()

    assert "Not looked at: " in shown
    assert "attic" in shown


def test_only_a_post_by_those_who_may_asks(
    client: Client, node: Node, asked: list[str]
) -> None:
    assert signed_in(client, VIEWER).post(look(node)).status_code == 403
    assert signed_in(client, OPERATOR).get(look(node)).status_code == 405
    assert client.post(reverse("admin:servers_app_node_look", args=[0])).status_code == 404
    assert asked == []


def test_the_list_costs_the_same_with_more_nodes(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(6):
        Node.objects.create(name=f"n{number}", hardware=HARDWARE.as_json())
    signed_in(client, OPERATOR)

    with django_assert_max_num_queries(9):
        shown = client.get(reverse("admin:servers_app_node_changelist")).content.decode()

    assert "RTX 4090: 20.0 / 24.0 GiB" in shown
    assert "Raphael: the machine&#x27;s" in shown


def test_the_list_follows_when_each_was_last_seen(client: Client, node: Node) -> None:
    Node.objects.create(name="cellar")

    shown = signed_in(client, OPERATOR).get(reverse("admin:servers_app_node_changelist"))

    text = shown.content.decode()
    assert 'id="nodes" data-live="server task"' in text
    assert " s ago</td>" in text
    assert '<td class="field-last_seen">never</td>' in text


def test_without_nodes_the_list_says_how_one_comes(client: Client) -> None:
    shown = signed_in(client, OPERATOR).get(reverse("admin:servers_app_node_changelist"))

    assert "No node has been seen yet." in shown.content.decode()
