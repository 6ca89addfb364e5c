"""A model's way in a browser: looked for, fetched, measured, and compared with another."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Picture, serious_issues, sign_in
from tests.e2e.magi import Magi, magi_in
from tests.models_app.hubs import Content, Hub

pytestmark = pytest.mark.e2e

PATIENCE_MS = 60_000  # a watchdog: models are loaded and measured
REPO = "org/SmolLM2-Chat-GGUF"
FILE = "SmolLM2-Chat-135M-Q4_K_M.gguf"
DEMO = "smollm2_135m_q41_fast"
MEASURED = f"""
from servers_app.benchmark_models import Benchmark, BenchmarkState
for rate in (20.0, 24.0):
    Benchmark.objects.create(
        model_id="{DEMO}", node="here", state=BenchmarkState.FINISHED, machine="2 cores",
        build="0.6.0", generation_tokens_per_s=rate, figures=[
            dict(measured="depth", context=context, clients=1, values=dict(
                generation_tokens_per_s=[rate - 0.1, rate, rate + 0.1],
                first_token_ms=[context / 8, context / 8 + 1, context / 8 + 2],
            ))
            for context in (512, 1024, 2048)
        ],
    )
"""
BYTES_PER_S = 40_000_000  # so that it can be seen coming


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[Magi]:
    """A machine with the demo model, and a hub that has another."""
    folder = tmp_path_factory.mktemp("manager")
    with Hub() as hub, magi_in(folder) as magi:
        hub.add(REPO, Content.of(smollm2), FILE)
        hub.trouble.bytes_per_s = BYTES_PER_S
        magi.environment |= {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(folder / "hub"),
            "MAGI_DOWNLOAD_RESERVE_MIB": "0",
        }
        magi.start("--demo")
        yield magi


@pytest.fixture
def admin(browser: Browser, machine: Magi) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE_MS)
    with browser.new_context(
        base_url=machine.base_url,
        color_scheme="dark",
        viewport={"width": 1360, "height": 850},
    ) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        sign_in(page, machine)
        yield page
    expect.set_options(timeout=5_000)  # Playwright's own


@pytest.fixture
def two_models(machine: Magi) -> None:
    """The hub's model is here as well, if it is not yet."""
    pulled = machine.run_command("pull", REPO)
    assert pulled.returncode == 0, pulled.stderr


def test_a_model_is_looked_for_and_fetched_before_ones_eyes(admin: Page) -> None:
    admin.goto(reverse("admin:get_models"))
    admin.fill("#q", "smollm2")
    admin.get_by_role("button", name="Search").click()
    admin.get_by_role("link", name=REPO).click()
    expect(admin.locator("#quants tbody tr")).to_contain_text("Q4_K_M")
    assert serious_issues(admin) == []
    admin.locator("#quants").get_by_role("button", name="Pull").click()

    row = admin.locator("#result_list tr", has_text=REPO)
    expect(row.locator("progress")).to_be_visible()
    assert serious_issues(admin) == []
    expect(row).to_contain_text("Finished")  # without a reload

    row.locator(".field-outcome").get_by_role("link").click()
    expect(admin.locator("#content")).to_contain_text("None enables it.")


def test_a_measurement_is_followed_and_cancelled(admin: Page) -> None:
    admin.goto(f"{reverse('admin:models_app_discoveredmodel_changelist')}?q={DEMO}")
    admin.locator("#result_list tbody th").get_by_role("link").first.click()
    admin.get_by_role("button", name="Measure", exact=True).click()

    row = admin.locator("#benchmarks tbody tr").first
    expect(row).to_contain_text("%")  # without a reload, as all that follows
    assert serious_issues(admin) == []
    row.get_by_role("link").click()
    admin.get_by_role("button", name="Cancel").click()
    expect(admin.locator("#benchmark .magi-head")).to_contain_text("Cancelled")


def test_what_was_measured_twice_is_drawn_and_compared(admin: Page, machine: Magi) -> None:
    made = machine.run_command("shell", "--command", MEASURED)
    assert made.returncode == 0, made.stderr
    admin.goto(f"{reverse('admin:servers_app_benchmark_changelist')}?state=finished")
    for box in admin.locator(".action-select").all():
        box.check()
    admin.select_option("select[name=action]", label="Compare the two selected")
    admin.get_by_role("button", name="Go").click()
    expect(admin.locator(".magi-card tbody tr").first).to_contain_text("tokens")
    assert serious_issues(admin) == []

    admin.locator("thead").get_by_role("link").first.click()

    expect(admin.locator("#charts svg").first).to_be_visible()
    assert serious_issues(admin) == []


def test_two_models_answer_the_same_prompts_and_get_a_vote(
    admin: Page, two_models: None, picture: Picture
) -> None:
    admin.goto(reverse("admin:servers_app_comparison_new"))
    admin.select_option("#id_model_a", index=1)
    admin.select_option("#id_model_b", index=2)
    admin.fill("#id_prompts", "Name a colour.\nName an animal.")
    admin.fill("#id_max_tokens", "16")
    assert serious_issues(admin) == []
    admin.get_by_role("button", name="Compare").click()

    vote = admin.get_by_role("button", name="prompt 1")
    expect(vote.first).to_be_visible()  # without a reload
    expect(admin.locator("#comparison-now")).to_contain_text("Finished")
    vote.first.click()

    expect(admin.locator("#prompt-0 .is-chosen h3")).to_contain_text("smollm2")
    assert serious_issues(admin) == []
    picture(admin, "comparison")
