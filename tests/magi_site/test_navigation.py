import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from magi_site.groups import VIEWER, ensure_groups
from magi_site.navigation import SECTIONS, navigation_of

pytestmark = pytest.mark.django_db

# Shown where they belong, and found from there.
ON_OTHER_PAGES: set[str] = set()


def viewer() -> User:
    ensure_groups()
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.set([Group.objects.get(name=VIEWER)])
    return user


def test_every_list_of_rows_is_found(admin_user: User) -> None:
    named = {link.name for section in SECTIONS for link in section.pages}
    lists = {
        f"{model._meta.app_label}_{model._meta.model_name}_changelist"
        for model in admin.site._registry
    }

    assert lists - named == ON_OTHER_PAGES


def test_a_page_of_a_row_is_in_the_section_of_its_list(admin_user: User) -> None:
    path = reverse("admin:models_app_scanroot_change", args=[7])

    shown = navigation_of(admin_user, path)

    assert [link.label for link in shown.sections if link.is_current] == ["Models"]
    assert [link.label for link in shown.pages if link.is_current] == ["Scan roots"]


def test_the_dashboard_has_no_pages_below_it(admin_user: User) -> None:
    shown = navigation_of(admin_user, reverse("admin:index"))

    assert [link.label for link in shown.sections if link.is_current] == ["Dashboard"]
    assert shown.pages == []


def test_nobody_is_shown_a_page_that_would_be_refused(client: Client) -> None:
    user = viewer()
    client.force_login(user)
    labels: set[str] = set()

    for section in navigation_of(user, reverse("admin:index")).sections:
        for link in [section, *navigation_of(user, section.url).pages]:
            labels.add(link.label)
            assert client.get(link.url, follow=True).status_code == 200, link.url

    assert "Servers" in labels
    assert "API keys" not in labels  # a secret of admins


def test_who_may_do_nothing_sees_the_dashboard_alone(client: Client) -> None:
    user = User.objects.create_user("nobody", is_staff=True)

    shown = navigation_of(user, reverse("admin:index"))

    assert [link.label for link in shown.sections] == ["Dashboard"]
