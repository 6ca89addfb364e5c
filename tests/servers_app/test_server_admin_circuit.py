"""The circuit breaker of a server, on its page in the admin."""

from unittest.mock import Mock

import pytest
from django.test import Client
from django.urls import reverse

from servers_app.gateway.breaker import FAILURES_IN_A_ROW, Breakers
from servers_app.gateway.current import Running, set_current
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db


def test_its_page_shows_a_circuit_breaker_that_is_open(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(make_model("m"))
    url = reverse("admin:servers_app_server_change", args=[server.pk])
    breakers = Breakers()
    for _ in range(FAILURES_IN_A_ROW):
        breakers.failed(server.pk)
    set_current(Running(Mock(breakers=breakers.states, in_flight=dict), Mock()))
    try:
        page = admin_client.get(url).content.decode()
    finally:
        set_current(None)

    assert "open, 5 failures in a row" in page
    assert "5 failures" not in admin_client.get(url).content.decode()
