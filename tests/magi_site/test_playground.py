"""The playground's page: who may see it, its answer without scripts, and its figures."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site import asgi
from magi_site.exposure import is_open
from magi_site.operations.inner_calls import Caller, call
from magi_site.pages.playground_answers import as_curl
from magi_site.sessions import by_session
from servers_app.gateway.access import Rules
from servers_app.gateway.app import Gateway
from servers_app.gateway.asgi import Receive, Scope, Send
from servers_app.gateway.current import Running, set_current
from servers_app.gateway.table import load_table
from servers_app.gateway.writer import CONTROL
from servers_app.request_models import RequestRecord
from tests.conftest import MakeModel, MakeServer

PAGE = reverse("admin:playground")
HOSTILE = "<img src=x onerror=alert(1)>"
PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@dataclass
class StandIn:
    """A gateway that answers what it is told to."""

    status: int = 200
    content: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(json.loads((await receive())["body"]))
        self.paths.append(scope["path"])
        headers = {"content-type": "application/json", **self.headers}
        head = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        body = json.dumps(self.content).encode()
        await send({"type": "http.response.body", "body": body, "more_body": False})


def chat(text: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "reasoning_content": "Hm."}
    usage = {
        "prompt_tokens": 31,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 12},
    }
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return {"choices": [choice], "usage": usage, **more}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A gateway in a loop of its own, as the web server's is beside a view's thread."""
    stand_in = StandIn()
    monkeypatch.setattr(asgi, "gateway", stand_in)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    set_current(Running(cast("Any", stand_in), loop))
    yield stand_in
    set_current(None)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def sent(client: Client, **fields: str) -> str:
    answer = client.post(PAGE, {"model": "auto", "prompt": "Hello", **fields})
    assert answer.status_code == 200
    return str(answer.content.decode())


def record(**fields: Any) -> RequestRecord:
    values = {"at": timezone.now(), "path": "/v1/chat/completions", "outcome": "ok", **fields}
    return RequestRecord.objects.create(request_id="request-1", **values)


# -- the page


def test_without_a_model_the_page_says_what_to_do_first(admin_client: Client) -> None:
    page = admin_client.get(PAGE).content.decode()

    assert "No model is enabled that could answer." in page
    assert reverse("admin:profiles_app_profile_changelist") in page


def test_a_link_can_name_the_model(admin_client: Client, make_server: MakeServer) -> None:
    name = make_server(on_request=True).model.model_id

    page = admin_client.get(PAGE, {"model": name}).content.decode()

    assert f'<option value="{name}" data-state="on request" selected>' in page


def test_many_models_cost_no_more_queries(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(50):
        make_server(make_model(f"model_{number}"), on_request=True)

    with django_assert_max_num_queries(15):
        admin_client.get(PAGE)


# -- who may


@pytest.mark.django_db
def test_who_may_not_ask_models_sees_no_playground(gateway: StandIn) -> None:
    client = client_of("view_requestrecord")

    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"model": "auto", "prompt": "Hello"}).status_code == 403
    assert gateway.asked == []


@pytest.mark.django_db
def test_a_form_of_another_site_asks_nobody(gateway: StandIn, admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post(PAGE, {"model": "auto", "prompt": "Hello"}).status_code == 403
    assert gateway.asked == []


@pytest.fixture
async def application(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """MAGI's own application with its own gateway, which knows keys and sessions."""
    gateway = Gateway(load_table, CONTROL, rules=Rules(is_open, by_session))
    monkeypatch.setattr(asgi, "gateway", gateway)
    await gateway.startup()
    set_current(Running(gateway, asyncio.get_running_loop()))
    yield asgi.application
    set_current(None)
    await gateway.shutdown()


@pytest.mark.django_db(transaction=True)
async def test_where_keys_are_needed_the_session_is_enough(
    application: Any, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"
    client = await sync_to_async(client_of)("infer")
    await sync_to_async(client.get)(PAGE)
    cookies = "; ".join(f"{name}={each.value}" for name, each in client.cookies.items())
    token = client.cookies["csrftoken"].value
    form = {"model": "auto", "prompt": "Hello", "csrfmiddlewaretoken": token}
    headers = (
        (b"host", b"localhost"),
        (b"cookie", cookies.encode()),
        (b"content-type", b"application/x-www-form-urlencoded"),
    )
    caller = Caller(headers, ("127.0.0.1", 1), ("127.0.0.1", 2))

    answer = await call(
        application, caller, "POST", PAGE, body=urlencode(form).encode(), timeout_s=PATIENCE_S
    )

    assert answer.status == 200
    assert "because no model is enabled" in answer.body.decode()  # so it was let in


# -- an answer without scripts


def test_the_request_is_what_the_form_says(admin_client: Client, gateway: StandIn) -> None:
    gateway.content = chat("Hi")

    sent(
        admin_client,
        model="fast",
        system="Be brief.",
        preset="code",
        max_tokens="24",
        temperature="0.5",
    )

    assert gateway.paths == ["/v1/chat/completions"]
    assert gateway.asked == [
        {
            "model": "fast",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
            ],
            "preset": "code",
            "max_tokens": 24,
            "temperature": 0.5,
        }
    ]


def test_what_nobody_chose_is_left_to_the_preset(
    admin_client: Client, gateway: StandIn
) -> None:
    gateway.content = chat("Hi")

    sent(admin_client, preset="", max_tokens="", temperature="", system="")

    assert gateway.asked[0].keys() == {"model", "messages"}


def test_the_answer_stands_in_the_page_with_its_figures(
    admin_client: Client, gateway: StandIn
) -> None:
    gateway.content = chat("Hi there", timings={"predicted_per_second": 33.26})
    gateway.headers = {
        "x-magi-model": "qwen",
        "x-magi-tier": "fast",
        "x-magi-score": "2.1",
        "x-magi-request-id": "request-1",
    }

    page = sent(admin_client)

    for shown in ("Hi there", "Hm.", "qwen", "2.1 of 10", "31 (12) / 4", "33.3 tokens/s"):
        assert shown in page
    assert "It was cut at max_tokens." in page
    assert f"{reverse('admin:servers_app_requestrecord_changelist')}?q=request-1" in page


def test_both_stages_are_told_of(admin_client: Client, gateway: StandIn) -> None:
    label = {"tokens": 4, "prompt_tokens": 9, "time_ms": 1250}
    stages = [
        {"stage": 1, "tier": "fast", "model_id": "small", **label},
        {"stage": 2, "tier": "powerful", "model_id": "large", **label},
    ]
    gateway.content = chat("Hi", magi={"stages": stages})

    page = sent(admin_client, model="two-stage")

    for shown in ("First answer", "Refined answer", "small", "large", "1.25 s"):
        assert shown in page


def test_a_refusal_is_a_sentence_and_the_message_is_kept(
    admin_client: Client, gateway: StandIn
) -> None:
    gateway.status = 503
    gateway.content = {"error": {"message": "The model 'qwen' is loading."}}
    gateway.headers = {"retry-after": "2"}

    page = sent(admin_client, prompt="Why is the sky blue?")

    assert "The model &#x27;qwen&#x27; is loading." in page
    assert "It is worth trying again in 2 s." in page
    assert "Why is the sky blue?</textarea>" in page


@pytest.mark.parametrize("content", [{}, {"choices": []}, {"choices": [{"message": None}]}])
def test_what_is_no_answer_is_no_error_of_the_page(
    admin_client: Client, gateway: StandIn, content: dict[str, Any]
) -> None:
    gateway.content = content

    assert "The answer broke off, or is none." in sent(admin_client)


def test_without_a_gateway_it_says_where_to_go(admin_client: Client) -> None:
    assert "No gateway runs in this process." in sent(admin_client)


def test_what_people_and_models_write_is_no_html(
    admin_client: Client, gateway: StandIn
) -> None:
    gateway.content = chat(HOSTILE)

    page = sent(admin_client, prompt=HOSTILE, system=HOSTILE, model=HOSTILE, preset="x")

    assert HOSTILE not in page


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("prompt", " ", "Write a message first."),
        ("max_tokens", "0", "greater than or equal to 1"),
        ("temperature", "hot", "Enter a number."),
    ],
)
def test_a_mistake_is_told_at_its_field_and_nobody_is_asked(
    admin_client: Client, gateway: StandIn, name: str, value: str, reason: str
) -> None:
    assert reason in sent(admin_client, **{name: value})
    assert gateway.asked == []


def test_the_command_needs_a_key_where_callers_do() -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "It's"}]}

    needing = as_curl(body, "http://magi.example", needs_key=True)

    assert '"Authorization: Bearer $MAGI_API_KEY"' in needing
    assert "Authorization" not in as_curl(body, "http://magi.example", needs_key=False)


# -- what was written down of a request


def request_of(client: Client, request_id: str = "request-1") -> Any:
    answer = client.get(reverse("admin:playground_request", args=[request_id]))
    assert answer.status_code == 200
    return answer.json()["request"]


def test_a_score_comes_with_its_factors_in_words(admin_client: Client) -> None:
    factors = {"base": 1.29, "mathematics": 3.5}
    record(model_id="qwen", tier="fast", score=4.79, scored_by="heuristic", factors=factors)

    shown = request_of(admin_client)

    assert (shown["model"], shown["tier"], shown["score"]) == ("qwen", "fast", 4.79)
    assert shown["factors"][0] == [
        "mathematics",
        3.5,
        "formulas, numbers and mathematical words",
    ]


def test_what_is_not_written_down_yet_is_null(admin_client: Client) -> None:
    assert request_of(admin_client, "to-come") is None


@pytest.mark.django_db
def test_who_may_not_see_requests_sees_none_here() -> None:
    record()

    url = reverse("admin:playground_request", args=["request-1"])

    assert client_of("infer").get(url).status_code == 403
