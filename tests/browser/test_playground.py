"""The playground: a chat with the real engine, and how each answer came to be."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import serious_issues
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

PAGE = reverse("admin:playground")
REQUESTS = reverse("admin:servers_app_requestrecord_changelist")
PROFILE = "/api/models/profiles/demo"
CHAT = "**/v1/chat/completions"
PATIENCE_MS = 60_000  # a watchdog: a machine with other work is slow
HOSTILE = "<img src=x onerror='window.ran = 1'>"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=PATIENCE_MS)
    yield
    expect.set_options(timeout=5_000)  # Playwright's own


@pytest.fixture
def chat(admin: Page) -> Page:
    admin.set_default_timeout(PATIENCE_MS)
    admin.goto(PAGE)
    admin.fill("#id_max_tokens", "24")
    admin.fill("#id_temperature", "0")  # what it says is the same each time
    return admin


@pytest.fixture
def two_stages(magi: Magi, chat: Page) -> Iterator[None]:
    """The demo profile gets two stages; its one model stands in for every tier."""
    expect(chat.locator("#magi-live")).to_have_text("live")
    magi.call("PATCH", PROFILE, {"two_stage": {"enabled": True}})
    yield
    magi.call("PATCH", PROFILE, {"two_stage": {"enabled": False}})


def ask(page: Page, prompt: str) -> None:
    page.fill("#id_prompt", prompt)
    page.press("#id_prompt", "Enter")


def answers(page: Page, count: int = 1) -> Locator:
    """Return the answers of the page when they have come, with their figures."""
    facts = page.locator(".playground-facts:visible")
    expect(facts).to_have_count(count)
    expect(page.locator("#playground-stop")).to_be_hidden()
    return page.locator(".playground-answer")


def fact(answer: Locator, name: str) -> Locator:
    return answer.locator(f".playground-facts dt:text-is('{name}') + dd")


def test_a_chat_streams_and_its_request_is_found_in_activity(
    chat: Page, picture: Callable[[Page, str], None]
) -> None:
    ask(chat, "Explain in one sentence why the sky is blue.")
    expect(chat.locator(".playground-now")).to_contain_text("tokens/s")  # while it streams

    answer = answers(chat)

    expect(fact(answer, "Model")).to_contain_text("smollm2")
    expect(fact(answer, "Tier")).to_have_text("fast")
    expect(fact(answer, "Complexity")).to_contain_text("of 10")
    expect(fact(answer, "Speed")).to_contain_text("tokens/s")
    expect(fact(answer, "First token")).to_contain_text(" s")
    expect(fact(answer, "Tokens in (cached) / out")).to_contain_text("/ 24")
    expect(answer.locator("summary", has_text="Factors of the complexity")).to_be_visible()
    answer.locator("summary", has_text="Factors").click()
    expect(answer.locator("td", has_text="where every request begins")).to_be_visible()
    picture(chat, "playground")
    request_id = fact(answer, "Request").inner_text()
    fact(answer, "Request").locator("a").click()
    chat.wait_for_url(f"**{REQUESTS}?q={request_id}")
    expect(chat.locator("#result_list tbody tr")).to_have_count(1)


def test_an_answer_can_be_stopped_and_its_slot_is_free_again(chat: Page) -> None:
    chat.fill("#id_max_tokens", "400")
    ask(chat, "Write a long story about a lighthouse keeper.")
    expect(chat.locator(".playground-now")).to_contain_text("tokens/s")
    chat.keyboard.press("Escape")

    stopped = answers(chat)

    expect(fact(stopped, "Ended")).to_have_text("stopped by you")
    chat.fill("#id_max_tokens", "8")
    chat.get_by_role("button", name="REGENERATE").click()  # the demo has one slot
    expect(fact(answers(chat), "Ended")).to_have_text("cut at max_tokens")  # by itself
    expect(chat.locator(".playground-turn")).to_have_count(1)


@pytest.mark.usefixtures("two_stages")
def test_both_stages_stand_side_by_side(chat: Page) -> None:
    option = chat.locator("#id_model option[value=two-stage]")
    expect(option).to_be_enabled()  # the page sees the change by itself
    chat.select_option("#id_model", "two-stage")
    ask(chat, "Name a colour of the sky.")

    answer = answers(chat)

    first, refined = (answer.locator(".playground-stages > div").nth(each) for each in (0, 1))
    for stage, title in ((first, "First answer"), (refined, "Refined answer")):
        expect(stage.locator("h3")).to_have_text(title)
        expect(stage.locator(".magi-quiet")).to_contain_text("smollm2")
        assert stage.locator(".playground-text").last.inner_text().strip()
    left, right = first.bounding_box(), refined.bounding_box()
    assert left is not None
    assert right is not None
    assert right["x"] > left["x"] + left["width"] - 1
    assert right["y"] == left["y"]


def test_two_models_are_compared_on_one_prompt_and_what_is_written_stays_text(
    chat: Page,
) -> None:
    chat.select_option("#id_other", "fast")
    ask(chat, f"Repeat this: {HOSTILE}")

    both = answers(chat, 2)

    for column, name in enumerate(("auto", "fast")):
        expect(both.nth(column).locator("h2")).to_contain_text(name)
        expect(fact(both.nth(column), "Total")).to_contain_text(" s")
    expect(chat.locator(".playground-prompt")).to_contain_text(HOSTILE)
    assert chat.locator("#playground-turns img").count() == 0
    chat.reload()  # the conversation is found again
    expect(chat.locator(".playground-prompt")).to_contain_text(HOSTILE)
    assert chat.evaluate("window.ran") is None
    assert serious_issues(chat) == []
    chat.emulate_media(color_scheme="light")
    assert serious_issues(chat) == []
    chat.set_viewport_size(PHONE)  # type: ignore[arg-type]
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert chat.evaluate(wide) == 0
    assert serious_issues(chat) == []


def test_the_copied_command_works(chat: Page) -> None:
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.fill("#id_max_tokens", "8")
    ask(chat, "What's \"MAGI\"? It's a ${name}.\nOne line.")
    answers(chat)
    chat.get_by_role("button", name="AS CURL").click()
    expect(chat.locator(".playground-copy [role=status]")).to_contain_text("Copied.")
    command = chat.evaluate("navigator.clipboard.readText()")

    done = subprocess.run(
        ["/bin/bash", "-c", command], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.rstrip().endswith("data: [DONE]")
    assert "error" not in done.stdout
    python = chat.get_by_role("button", name="AS PYTHON")
    python.click()
    compile(chat.locator(".magi-command").inner_text(), "copied", "exec")


def chunk(**delta: str) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return f"data: {json.dumps({'model': 'thinker', 'choices': choices})}\n\n"


def test_thinking_is_folded_and_code_is_set_apart(chat: Page) -> None:
    """As a model streams it that thinks; the demo's does not."""
    stream = (
        ": loading thinker 42 % (3 s)\n\n"
        + chunk(reasoning_content="First, ")
        + chunk(reasoning_content=HOSTILE)
        + chunk(content="See:\n```html\n")
        + chunk(content=f"{HOSTILE}\n```\nDone.")
        + "data: [DONE]\n\n"
    )

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=stream)

    chat.route(CHAT, answer)
    ask(chat, "Think.")

    shown = answers(chat)

    expect(shown.locator("summary")).to_contain_text("Thought · about 2 tokens")
    expect(shown.locator(".playground-thinking .playground-text")).to_be_hidden()
    shown.locator("summary").click()
    expect(shown.locator(".playground-thinking .playground-text")).to_have_text(
        f"First, {HOSTILE}"
    )
    expect(shown.locator("pre code")).to_have_text(HOSTILE + "\n")
    assert chat.evaluate("window.ran") is None


def test_a_conversation_goes_on_is_edited_exported_and_begun_anew(chat: Page) -> None:
    sent: list[list[str]] = []

    def answer(route: Route) -> None:
        body_sent: Any = route.request.post_data_json
        sent.append([each["content"] for each in body_sent["messages"]])
        body = chunk(content=f"Answer {len(sent)}") + "data: [DONE]\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    chat.route(CHAT, answer)
    chat.locator("summary", has_text="System prompt").click()
    chat.fill("#id_system", "Be brief.")
    ask(chat, "One")
    answers(chat)
    ask(chat, "Two")
    answers(chat, 2)
    chat.get_by_role("button", name="EDIT").locator("visible=true").click()
    ask(chat, "Three")
    expect(chat.locator(".playground-text", has_text="Answer 3")).to_be_visible()

    assert sent == [
        ["Be brief.", "One"],
        ["Be brief.", "One", "Answer 1", "Two"],
        ["Be brief.", "One", "Answer 1", "Three"],
    ]
    with chat.expect_download() as download:
        chat.get_by_role("button", name="EXPORT MARKDOWN").click()
    text = download.value.path().read_text()
    assert text.index("One") < text.index("Answer 1") < text.index("Three")
    assert "Two" not in text
    chat.get_by_role("button", name="NEW CHAT").click()
    ask(chat, "Four")
    answers(chat)
    assert sent[-1] == ["Be brief.", "Four"]


def test_what_goes_wrong_is_a_sentence_and_can_be_tried_again(chat: Page) -> None:
    error = {"message": "The queue of 'qwen' is full. Try again in 7 s.", "code": "queue_full"}
    head = {"Retry-After": "7"}
    failures: list[Callable[[Route], None]] = [
        lambda route: route.fulfill(status=429, headers=head, json={"error": error}),
        lambda route: route.abort(),
    ]

    def fail(route: Route) -> None:
        failures.pop(0)(route)

    chat.route(CHAT, fail, times=2)

    ask(chat, "Hello")

    trouble = chat.locator(".magi-trouble:visible")
    expect(trouble).to_contain_text("The queue of 'qwen' is full.")
    expect(trouble).to_contain_text("It is worth trying again in 7 s.")
    chat.get_by_role("button", name="RETRY").click()
    expect(trouble).to_contain_text("MAGI was not reached.")
    chat.get_by_role("button", name="RETRY").click()
    expect(fact(answers(chat), "Model")).to_contain_text("smollm2")
    expect(trouble).to_have_count(0)


def test_without_scripts_an_answer_comes_too(plain_admin: Page) -> None:
    plain_admin.set_default_timeout(PATIENCE_MS)
    plain_admin.goto(PAGE)
    plain_admin.fill("#id_max_tokens", "8")
    plain_admin.fill("#id_prompt", "Say hello.")
    plain_admin.click("#playground-send")

    answer = plain_admin.locator(".playground-answer")

    assert answer.locator(".playground-text").inner_text().strip()
    expect(fact(answer, "Model")).to_contain_text("smollm2")
    expect(fact(answer, "Complexity")).to_contain_text("of 10")
    expect(fact(answer, "Speed")).to_contain_text("tokens/s")
    expect(fact(answer, "Request").locator("a")).to_be_visible()
    assert plain_admin.locator("button:visible", has_text="STOP").count() == 0
