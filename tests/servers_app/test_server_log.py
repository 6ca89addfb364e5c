"""The log of a server as a file: all of it, for those who may see servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from servers_app import logs
from servers_app.keys import server_key
from servers_app.models import Server
from tests.conftest import MakeServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(make_server: MakeServer, settings: Settings, tmp_path: Path) -> Server:
    settings.MAGI_DATA_DIR = tmp_path
    return make_server(node=settings.MAGI_NODE, log_tail="kept of its end")


def write(server: Server, **parts: str) -> None:
    """Write the log and, as `_1` and `_2`, those before it."""
    for suffix, text in parts.items():
        path = logs.log_path(server.pk)
        path = path.with_name(path.name + suffix.removeprefix("now").replace("_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def downloaded(client: Client, server: Server) -> str:
    response = client.get(reverse("admin:servers_app_server_log", args=[server.pk]))
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("attachment")
    if isinstance(response, StreamingHttpResponse):
        return async_to_sync(joined)(response)
    assert isinstance(response, HttpResponse)
    return response.content.decode()


async def joined(response: StreamingHttpResponse) -> str:
    content = response.streaming_content
    assert isinstance(content, AsyncIterator)
    return b"".join([piece async for piece in content]).decode()


def test_all_that_is_kept_comes_in_order(admin_client: Client, server: Server) -> None:
    # A line may lie over a turn, and the last may have no end yet.
    write(server, _2="a\n", _1="b\nc", now="c\nd\ne")

    assert downloaded(admin_client, server) == "a\nb\ncc\nd\ne\n"


def test_a_long_log_comes_whole(admin_client: Client, server: Server) -> None:
    lines = [f"line {number} {'x' * 90}" for number in range(5000)]
    write(server, now="\n".join(lines) + "\n")

    assert downloaded(admin_client, server).splitlines() == lines


def test_it_holds_no_key_and_nothing_a_terminal_obeys(
    admin_client: Client, server: Server
) -> None:
    write(server, now=f"key {server_key(server.pk)} \x1b[31mred\n")

    text = downloaded(admin_client, server)

    assert text == "key [its key] red\n"


def test_of_a_log_that_is_not_here_its_end_comes(admin_client: Client, server: Server) -> None:
    assert downloaded(admin_client, server) == "kept of its end"


def test_it_is_for_those_who_may_see_servers(client: Client, server: Server) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    url = reverse("admin:servers_app_server_log", args=[server.pk])

    assert client.get(url).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename="view_server"))
    assert client.get(url).status_code == 200
