"""No page of the admin changes anything unseen: each that can leaves an entry when it does.

Whoever registers another model puts it into one of the two tables here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.forms import BaseForm, MultiWidget
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.audit_models import AuditEntry
from models_app.models import DiscoveredModel, DiscoveryRules, Scan, ScanRoot
from profiles_app.models import BaseRunSettings, ModelRunSettings, Profile
from profiles_app.preset_models import ModelPreset, SamplingPreset
from servers_app.request_models import RequestRecord

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"

# Nobody changes them here. Of servers, keys and profiles, buttons ask services for something:
# tests/servers_app/test_audit_services.py has those. tests/models_app/test_download_admin.py
# has those of downloads, tests/servers_app/comparing/test_admin.py those of comparisons.
READ_ONLY = {
    "models_app.auditentry",
    "models_app.download",
    "profiles_app.profileversion",
    "servers_app.benchmark",
    "servers_app.comparison",
    "servers_app.enginebuild",
    "servers_app.node",
    "servers_app.server",
    "servers_app.serverevent",
    "servers_app.usageminute",
}


class Sample(NamedTuple):
    """How to make one, and what to type into its forms."""

    make: Callable[[], Model]
    change: dict[str, Any]
    add: dict[str, Any]


def model() -> DiscoveredModel:
    return DiscoveredModel.objects.create(
        model_id="qwen", identity="/m/q.gguf", file_path="/m/q.gguf", blob_path="/m/q.gguf",
        filename="q.gguf", family="qwen", display_name="QWEN", size_bytes=1,
    )  # fmt: skip


def request() -> RequestRecord:
    return RequestRecord.objects.create(
        request_id="r", at=timezone.now(), path="/v1/embeddings", outcome="ok"
    )


SAMPLES = {
    "auth.group": Sample(lambda: Group.objects.create(name="a"), {"name": "b"}, {"name": "c"}),
    "auth.user": Sample(
        lambda: User.objects.create_user("bob", password=PASSWORD),
        {"first_name": "Robert"},
        {
            "username": "eve",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    ),
    "models_app.discoveredmodel": Sample(model, {"notes": "slow"}, {}),
    "models_app.discoveryrules": Sample(
        lambda: DiscoveryRules.objects.create(pk=1), {"fast_max": "6"}, {}
    ),
    "models_app.scan": Sample(lambda: Scan.objects.create(node="local"), {}, {}),
    "models_app.scanroot": Sample(
        lambda: ScanRoot.objects.create(node="local", path="/srv/a"),
        {"path": "/srv/b"},
        {"node": "local", "path": "/srv/c", "kind": "directory"},
    ),
    "profiles_app.baserunsettings": Sample(
        lambda: BaseRunSettings.objects.create(pk=1), {"run_settings": '{"ctx_size": 1024}'}, {}
    ),
    "profiles_app.modelpreset": Sample(
        lambda: ModelPreset.objects.create(name="gemma", weights="/m/g.sbs"),
        {"use_case": "tests"},
        {"name": "gemma-2", "weights": "/m/h.sbs", "context_length": 8192},
    ),
    "profiles_app.modelrunsettings": Sample(
        lambda: ModelRunSettings.objects.create(model_id="qwen"),
        {"run_settings": '{"ctx_size": 1024}'},
        {"model_id": "gemma", "run_settings": "{}"},
    ),
    "profiles_app.profile": Sample(
        lambda: Profile.objects.create(slug="mine", name="Mine"),
        {"description": "Changed"},
        {"slug": "ours", "name": "Ours"},
    ),
    "profiles_app.samplingpreset": Sample(
        lambda: SamplingPreset.objects.create(name="calm"),
        {"temperature": "0.2"},
        {"name": "wild", "stop": "[]", "thinking": "show"},
    ),
    "servers_app.apikey": Sample(
        lambda: pytest.fail("a key is not changed or deleted"),
        {},
        {"name": "laptop", "may_infer": "on"},
    ),
    "servers_app.requestrecord": Sample(request, {"label": "fast"}, {}),
}


def can(label: str) -> set[str]:
    """Return what a superuser may do on the pages of a model."""
    of = {each._meta.label_lower: each for each in admin.site._registry}[label]
    model_admin = admin.site._registry[of]
    asking = HttpRequest()
    asking.user = User(is_staff=True, is_superuser=True, is_active=True)
    asking.method = "GET"
    may = {
        "add": model_admin.has_add_permission(asking),
        "change": model_admin.has_change_permission(asking)
        and bool(model_admin.get_form(asking, of(), change=True).base_fields),
        "delete": model_admin.has_delete_permission(asking),
    }
    return {name for name, holds in may.items() if holds}


def sent(form: BaseForm) -> dict[str, Any]:
    """Return what a browser sends of a form in which nobody has typed anything."""
    data: dict[str, Any] = {}
    for field in form:
        value = field.value()
        if isinstance(field.field.widget, MultiWidget):
            parts = field.field.widget.decompress(value) or []
            data |= {f"{field.html_name}_{n}": part for n, part in enumerate(parts)}
        elif value is not None and value is not False:
            data[field.html_name] = value
    return {name: value for name, value in data.items() if value is not None}


def typed(client: Client, page: str, values: dict[str, Any]) -> list[AuditEntry]:
    """Type into the form of a page and send it; return the entries that it left."""
    context = client.get(page).context
    data = sent(context["adminform"].form)
    for inline in context["inline_admin_formsets"]:
        data |= sent(inline.formset.management_form)
        for form in inline.formset.initial_forms:
            data |= sent(form)
        data[f"{inline.formset.prefix}-TOTAL_FORMS"] = len(inline.formset.initial_forms)
    return posted(client, page, {**data, **values})


def posted(client: Client, page: str, data: dict[str, Any]) -> list[AuditEntry]:
    before = AuditEntry.objects.count()
    response = client.post(page, data)
    context = response.context
    errors = context["adminform"].form.errors if context and "adminform" in context else ""
    assert not errors, errors
    count = AuditEntry.objects.count() - before
    return list(AuditEntry.objects.all()[:count])


def page(label: str, name: str, *args: Any) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_{name}", args=args)


def registered() -> list[str]:
    return sorted(each._meta.label_lower for each in admin.site._registry)


def test_every_page_of_the_admin_is_known_here() -> None:
    assert set(registered()) == READ_ONLY | SAMPLES.keys()


@pytest.mark.parametrize("label", sorted(READ_ONLY))
def test_what_is_only_read_cannot_be_changed(label: str) -> None:
    assert can(label) == set()


@pytest.mark.parametrize("label", sorted(SAMPLES))
def test_what_can_be_changed_leaves_entries(admin_client: Client, label: str) -> None:
    sample, may = SAMPLES[label], can(label)
    assert may

    left = {}
    if "add" in may:
        left["add"] = typed(admin_client, page(label, "add"), sample.add)
    if may & {"change", "delete"}:
        row = sample.make()
    if "change" in may:
        assert sample.change
        left["change"] = typed(admin_client, page(label, "change", row.pk), sample.change)
    if "delete" in may:
        pages = page(label, "changelist")
        sure = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        left["delete"] = posted(admin_client, page(label, "delete", row.pk), {"post": "yes"})
        row = sample.make()
        left["delete many"] = posted(
            admin_client, pages, {**sure, "_selected_action": [row.pk]}
        )

    assert all(left.values()), left
    entries = [entry for entries in left.values() for entry in entries]
    assert {(entry.who, entry.via) for entry in entries} == {("admin", "admin")}
    assert {entry.action for entry in left.get("delete", [])} <= {"delete"}
    for entry in left.get("change", []):
        assert entry.before != entry.after
    assert PASSWORD not in str([vars(entry) for entry in entries])


def test_a_form_that_is_sent_unchanged_leaves_no_entry(admin_client: Client) -> None:
    root = ScanRoot.objects.create(node="local", path="/srv/a")

    assert typed(admin_client, page("models_app.scanroot", "change", root.pk), {}) == []
