"""A profile from its first model to its servers, as somebody at the admin makes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import Picture, serious_issues
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

LIST = "/admin/profiles_app/profile/"
PHONE = ViewportSize(width=390, height=844)
PATIENCE_MS = 60_000  # a watchdog, far above what anything takes


@pytest.fixture(autouse=True)
def _as_it_was_found(magi: Magi) -> Iterator[None]:
    """Make the demo profile active again, its server ready, and take ours away."""
    yield
    if magi.get("/api/models/profile")["slug"] != "demo":
        magi.call("POST", "/api/models/profiles/demo/activate")
    for name in magi.get("/api/models/profiles"):
        if name.startswith("of-a-test"):
            magi.run_command("profiles", "delete", name)
    magi.until(lambda: magi.get("/api/models/servers")["ready_servers"] == 1)


def saved(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def open_from_list(page: Page, profile: str, link: str) -> None:
    page.goto(LIST)
    page.get_by_role("row").filter(has_text=profile).get_by_role("link", name=link).click()


def test_a_profile_is_made_mended_planned_and_activated(
    admin: Page, magi: Magi, picture: Picture
) -> None:
    admin.goto(LIST)
    picture(admin, "profiles")
    admin.get_by_role("link", name="New profile").click()
    admin.get_by_label("Name", exact=True).fill("Of a test")
    search = admin.get_by_label("Add a model")
    search.fill("smollm")
    admin.locator(".magi-found [role=option]").first.wait_for()
    search.press("ArrowDown")
    search.press("Enter")
    settings = admin.locator(".magi-row:visible").first.get_by_label("Run settings")
    settings.fill("ctx_siz: 512")
    saved(admin, "Save and stay here")

    wrong = admin.locator(".of-run_settings.is-wrong")
    expect(wrong).to_contain_text("did you mean ctx_size")
    assert "of-a-test" not in magi.get("/api/models/profiles")

    wrong.get_by_label("Run settings").fill("ctx_size: 512")
    saved(admin, "Save and stay here")
    expect(admin.locator("#members .magi-known b")).to_have_text("SMOLLM2 135M Q4_1")
    expect(admin.locator(".messagelist")).to_contain_text("No enabled model is")
    picture(admin, "profile")
    assert serious_issues(admin) == []

    admin.get_by_role("link", name="Plan and activate").click()
    row = admin.locator(".magi-plan tbody tr")
    expect(row).to_contain_text("--ctx-size: ")
    picture(admin, "profile-plan")
    assert serious_issues(admin) == []
    saved(admin, "Activate")

    expect(admin.locator("#plan")).to_contain_text("1 of 1 ready", timeout=PATIENCE_MS)
    assert magi.get("/api/models/profile")["slug"] == "of-a-test"


def test_yaml_goes_out_and_comes_in_under_another_name(
    admin: Page, magi: Magi, tmp_path: Path
) -> None:
    open_from_list(admin, "Demo", "YAML")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download demo.yaml").click()
    file = tmp_path / "demo.yaml"
    download.value.save_as(file)

    admin.goto(LIST)
    admin.get_by_role("link", name="Import YAML").click()
    admin.get_by_label("A YAML file").set_input_files(file)
    admin.get_by_label("Under another name").fill("Of a test, again")
    saved(admin, "Import")

    expect(admin.locator(".messagelist")).to_contain_text("Saved Of a test, again, version 1.")
    demo, ours = (profile(magi, slug) for slug in ("demo", "of-a-test-again"))
    assert ours == demo | {"name": "Of a test, again"}


def profile(magi: Magi, slug: str) -> dict[str, Any]:
    shown: dict[str, Any] = magi.get(f"/api/models/profiles/{slug}")
    own = ("slug", "is_active", "version", "file_state")
    return {key: value for key, value in shown.items() if key not in own}


def test_without_scripts_a_profile_is_made_and_rolled_back(
    plain_admin: Page, magi: Magi
) -> None:
    page = plain_admin
    page.goto(f"{LIST}add/")
    page.get_by_label("Name", exact=True).fill("Of a test, plain")
    page.locator("#id_members-0-model_id").fill("smollm2")
    page.get_by_label("Queue, requests").fill("7")
    saved(page, "Save and stay here")
    page.get_by_label("Queue, requests").fill("8")
    saved(page, "Save and stay here")
    assert magi.get("/api/models/profiles/of-a-test-plain")["queue"]["limit"] == 8

    page.get_by_role("link", name="Versions (2)").click()
    page.get_by_role("link", name="Roll back").click()
    expect(page.locator(".magi-diff .is-added")).to_contain_text("limit: 7")
    saved(page, "Roll back")

    expect(page.get_by_label("Queue, requests")).to_have_value("7")
    shown = magi.get("/api/models/profiles/of-a-test-plain")
    assert (shown["queue"]["limit"], shown["version"]) == (7, 3)
    assert shown["enabled_models"] == ["smollm2"]


def test_its_pages_can_be_used_on_a_phone(admin: Page) -> None:
    admin.set_viewport_size(PHONE)
    for link in ("Demo", "Plan", "YAML", "Copy"):
        open_from_list(admin, "Demo", link)
        admin.locator(".magi-tools").wait_for()
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert admin.evaluate(over) <= 0, link
        assert serious_issues(admin) == [], link
