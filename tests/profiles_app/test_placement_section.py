"""What a profile says about nodes: which may have a server, and which gets it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from models_app.copy_models import ModelCopy
from models_app.models import ScanRoot
from profiles_app.errors import ProfileInvalidError
from profiles_app.files import yaml_of
from profiles_app.rows import as_document
from profiles_app.services import get_profile, roll_back, save_rows, save_yaml
from profiles_app.validation import validate
from servers_app.models import Node
from tests.conftest import MakeModel
from tests.profiles_app.test_profile_admin import form_of, page_of

pytestmark = pytest.mark.django_db

DEFAULTS = {"rule": "spread", "nodes": [], "failover": False, "failover_after_seconds": 30}
ALL = (
    "name: A\nenabled_models: [{model_id: x, nodes: [big]}, y]\n"
    "placement: {rule: pin, nodes: [big, small], failover: true, failover_after_seconds: 60}\n"
)


def findings(text: str) -> list[tuple[bool, str, str]]:
    found = validate(save_yaml(text)).findings
    return [
        (it.is_error, it.path, it.message)
        for it in found
        if "placement" in it.path or "nodes" in it.path or "may run" in it.message
    ]


def test_a_profile_that_says_nothing_of_nodes_spreads_over_all_and_moves_nothing() -> None:
    profile = save_yaml("name: A\nenabled_models: [x]\n")

    assert as_document(profile)["placement"] == DEFAULTS
    assert "placement" not in yaml_of(profile)
    save_rows(profile)
    assert profile.yaml == "name: A\nenabled_models: [x]\n"


def test_what_is_said_of_nodes_survives_yaml_rows_and_back() -> None:
    profile = save_yaml(ALL)

    document = as_document(profile)
    assert document["placement"] == {
        "rule": "pin", "nodes": ["big", "small"], "failover": True, "failover_after_seconds": 60
    }  # fmt: skip
    assert document["enabled_models"] == [{"model_id": "x", "nodes": ["big"]}, "y"]
    profile.yaml = ""
    assert as_document(save_yaml(yaml_of(profile), slug="b")) == document


def test_a_version_brings_nodes_back() -> None:
    save_yaml(ALL)
    save_yaml("name: A\n", slug="a")

    assert as_document(roll_back("a", 1))["placement"]["nodes"] == ["big", "small"]


def test_a_child_takes_over_what_it_does_not_say() -> None:
    save_yaml("name: P\nplacement: {rule: pack, nodes: [big]}\n")

    child = save_yaml("name: C\nextends: p\nplacement: {failover: true}\n")

    assert as_document(child)["placement"] == {
        **DEFAULTS, "rule": "pack", "nodes": ["big"], "failover": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("placement: {rule: random}", "Use one of: spread, pack, pin"),
        ("placement: {failover_after_seconds: 19}", "placement.failover_after_seconds"),
        ("placement: {nodes: big}", "placement.nodes"),
        ("placement: {node: [big]}", "did you mean nodes"),
        ('placement: {nodes: ["a\\tb"]}', "control characters"),
        ("enabled_models: [{model_id: x, nodes: 3}]", "enabled_models[0].nodes"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: str, problem: str) -> None:
    with pytest.raises(ProfileInvalidError) as error:
        save_yaml(f"name: A\n{said}\n")

    assert problem in str(error.value)


def test_a_node_that_stands_there_twice_counts_once() -> None:
    profile = save_yaml("name: A\nplacement: {nodes: [b, a, b]}\n")

    assert profile.placement_nodes == ["b", "a"]


def test_a_node_that_is_not_known_is_a_warning_that_names_those_that_are(
    make_model: MakeModel,
) -> None:
    Node.objects.create(name="big")
    make_model("x")

    found = findings("name: A\nenabled_models: [x]\nplacement: {nodes: [local, gone]}\n")

    assert found == [
        (
            False,
            "placement.nodes[1]",
            "No node is called gone, as far as is known here. Known: big, local.",
        )
    ]


def test_a_model_whose_files_are_on_none_of_its_nodes_is_an_error(
    make_model: MakeModel,
) -> None:
    Node.objects.create(name="big")
    make_model("x")
    text = "name: A\nenabled_models: [{model_id: x, nodes: [big]}]\n"

    ((is_error, path, message),) = findings(text)
    assert (is_error, path) == (True, "enabled_models[0].nodes")
    assert message.startswith("x may run on big alone, and its files are on local.")

    copy = {"file_path": "/x.gguf", "blob_path": "/x.gguf"}
    ModelCopy.objects.create(model=make_model("y"), node="big", **copy)
    assert findings(text.replace("model_id: x", "model_id: y")) == []


def test_a_model_whose_home_lost_it_runs_where_it_has_a_copy(make_model: MakeModel) -> None:
    model = make_model("x", is_missing=True)
    assert not validate(save_yaml("name: A\nenabled_models: [x]\n")).is_valid

    ModelCopy.objects.create(model=model, node="big", file_path="/x", blob_path="/x")

    assert validate(get_profile("a")).is_valid


def test_pinned_to_nothing_is_a_warning() -> None:
    ((is_error, path, _),) = findings("name: A\nplacement: {rule: pin}\n")

    assert (is_error, path) == (False, "placement.rule")


def test_the_api_answers_with_every_default(client: Client) -> None:
    save_yaml(ALL)

    body: dict[str, Any] = client.get("/api/models/profiles/a").json()

    assert body["placement"]["nodes"] == ["big", "small"]
    assert [member["nodes"] for member in body["members"]] == [["big"], []]
    sent = {"placement": {"rule": "pack"}}
    client.patch("/api/models/profiles/a", sent, content_type="application/json")
    assert client.get("/api/models/profiles/a").json()["placement"]["rule"] == "pack"


def test_the_admin_asks_for_a_members_nodes_only_where_there_is_a_choice(
    admin_client: Client,
) -> None:
    save_yaml("name: A\nenabled_models: [x]\n")
    url = page_of(get_profile("a"))

    alone = admin_client.get(url).content.decode()
    ScanRoot.objects.create(node="big", path="/models")
    among = admin_client.get(url).content.decode()

    assert "placement_nodes" in alone
    assert "members-0-nodes" not in alone
    assert "members-0-nodes" in among


def test_the_admin_saves_nodes_and_keeps_the_text(admin_client: Client) -> None:
    ScanRoot.objects.create(node="big", path="/models")
    save_yaml("# ours\nname: A\nenabled_models: [x]\n")
    url = page_of(get_profile("a"))
    form = form_of(admin_client.get(url))

    admin_client.post(url, {**form, "placement_nodes": "big, local", "members-0-nodes": "big"})

    profile = get_profile("a")
    assert profile.placement_nodes == ["big", "local"]
    assert profile.members.get().nodes == ["big"]
    assert profile.yaml.startswith("# ours\n")


def test_a_short_wait_for_a_lost_node_is_refused_in_the_admin(admin_client: Client) -> None:
    save_yaml("name: A\n")
    url = reverse("admin:profiles_app_profile_change", args=[get_profile("a").pk])
    form = form_of(admin_client.get(url))

    page = admin_client.post(url, {**form, "placement_failover_after_seconds": "5"})

    assert page.status_code == 200
    assert get_profile("a").placement_failover_after_seconds == 30
