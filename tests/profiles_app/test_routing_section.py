"""What a profile says about routing: how long to wait, who classifies, and other names."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from profiles_app.aliases import MAX_ALIASES
from profiles_app.errors import ProfileInvalidError
from profiles_app.files import yaml_of
from profiles_app.rows import as_document
from profiles_app.services import get_profile, save_document, save_yaml
from tests.profiles_app.test_profile_admin import form_of, page_of

pytestmark = pytest.mark.django_db

MEMBERS = "name: A\nenabled_models: [{{model_id: x, aliases: {}}}, y]\n"


def aliases_of(slug: str = "a") -> list[list[str]]:
    return [member.aliases for member in get_profile(slug).members.all()]


def test_a_profile_that_says_nothing_of_routing_waits_half_a_minute() -> None:
    assert as_document(save_yaml("name: A\n"))["routing"] == {
        "cold_wait_seconds": 30,
        "classifier": "auto",
        "classifier_model": "",
    }


@pytest.mark.parametrize("no_limit", [".inf", "null", '"inf"'])
def test_a_wait_without_an_end_is_written_as_inf(no_limit: str) -> None:
    profile = save_yaml(f"name: A\nrouting: {{cold_wait_seconds: {no_limit}}}\n")

    document = as_document(profile)
    assert document["routing"]["cold_wait_seconds"] is None
    profile.yaml = ""
    assert "cold_wait_seconds: .inf\n" in yaml_of(profile)
    assert as_document(save_yaml(yaml_of(profile), slug="b")) == document


def test_a_child_takes_over_what_it_does_not_say() -> None:
    save_yaml("name: P\nrouting: {cold_wait_seconds: 5, classifier: heuristic}\n")

    child = save_yaml("name: C\nextends: p\nrouting: {cold_wait_seconds: .inf}\n")

    assert as_document(child)["routing"] == {
        "cold_wait_seconds": None,
        "classifier": "heuristic",
        "classifier_model": "",
    }


@pytest.mark.parametrize(
    ("routing", "problem"),
    [
        ("cold_wait_seconds: -1", "line 2: routing.cold_wait_seconds"),
        ("cold_wait_seconds: 86401", "line 2: routing.cold_wait_seconds"),
        ("cold_wait_seconds: .nan", "line 2: routing.cold_wait_seconds"),
        ("cold_wait_seconds: yes", "line 2: routing.cold_wait_seconds"),
        ("classifier: oracle", "Use one of: auto, heuristic, embedding, decision."),
        ("classifer: auto", "did you mean classifier?"),
        ("classifier_model: [a]", "line 2: routing.classifier_model"),
    ],
)
def test_what_routing_may_not_be_is_refused_with_its_line(routing: str, problem: str) -> None:
    with pytest.raises(ProfileInvalidError) as caught:
        save_yaml(f"name: A\nrouting: {{{routing}}}\n")

    assert problem in str(caught.value)


@pytest.mark.parametrize("alias", ["gpt-4o", "GPT-4o", "4.1", "org/model.v2:latest", "a" * 128])
def test_an_alias_may_be_what_clients_call_their_models(alias: str) -> None:
    save_yaml(MEMBERS.format(f"['{alias}']"))

    assert aliases_of() == [[alias], []]


@pytest.mark.parametrize(
    ("aliases", "path", "words"),
    [
        pytest.param("[ok, auto]", "aliases[1]", "a name of MAGI's own", id="auto"),
        pytest.param("[fast]", "aliases[0]", "a name of MAGI's own", id="a tier"),
        pytest.param("[two-stage]", "aliases[0]", "a name of MAGI's own", id="two stages"),
        pytest.param("[current]", "aliases[0]", "a name of MAGI's own", id="current"),
        pytest.param('["task:x"]', "aliases[0]", "begins with task:", id="a task"),
        pytest.param("['']", "aliases[0]", "blank", id="empty"),
        pytest.param("[a b]", "aliases[0]", "letters, digits", id="a space"),
        pytest.param("[größe]", "aliases[0]", "letters, digits", id="no ASCII"),
        pytest.param("[../x]", "aliases[0]", "letters, digits", id="a step up"),
        pytest.param("[a/../x]", "aliases[0]", "letters, digits", id="a step up inside"),
        pytest.param("[a//b]", "aliases[0]", "letters, digits", id="an empty step"),
        pytest.param("[yes]", "aliases[0]", "valid string", id="a truth value"),
        pytest.param(f"[{'a' * 129}]", "aliases[0]", "129 characters; at most 128", id="long"),
        pytest.param("gpt-4o", "aliases", "list", id="no list"),
        pytest.param([f"a{n}" for n in range(MAX_ALIASES + 1)], "aliases", "32", id="many"),
        pytest.param("[x]", "aliases", "x is the id of a model", id="its own id"),
        pytest.param("[y]", "aliases", "y is the id of a model", id="another's id"),
        pytest.param("[a, a]", "aliases", "a is an alias of x already", id="twice"),
    ],
)
def test_what_no_alias_may_be_is_refused_with_its_line(
    aliases: Any, path: str, words: str
) -> None:
    with pytest.raises(ProfileInvalidError) as caught:
        save_yaml(MEMBERS.format(aliases))

    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (2, f"enabled_models[0].{path}")
    assert words in problem.message


def test_one_alias_of_two_models_is_refused_at_the_second() -> None:
    members = [{"model_id": "x", "aliases": ["a"]}, "y", {"model_id": "z", "aliases": ["a"]}]

    with pytest.raises(ProfileInvalidError) as caught:
        save_document({"name": "A", "enabled_models": members})

    (problem,) = caught.value.problems
    assert problem.path == "enabled_models[2].aliases"
    assert problem.message == "a is an alias of x already."


def test_aliases_differ_by_case() -> None:
    save_yaml(MEMBERS.format("[gpt-4o, GPT-4O]"))

    assert aliases_of() == [["gpt-4o", "GPT-4O"], []]


def test_the_api_has_aliases_with_the_members(client: Client) -> None:
    save_yaml(MEMBERS.format("[gpt-4o]"))
    url = "/api/models/profiles/a"
    body = client.get(url).json()

    body["members"][1]["aliases"] = ["o3"]
    client.put(url, body, content_type="application/json")

    assert body["members"][0]["aliases"] == ["gpt-4o"]
    assert aliases_of() == [["gpt-4o"], ["o3"]]


def test_routing_and_aliases_are_edited_in_the_admin(admin_client: Client) -> None:
    profile = save_yaml(MEMBERS.format("[gpt-4o]"))
    form = form_of(admin_client.get(page_of(profile)))

    admin_client.post(
        page_of(profile),
        form
        | {
            "routing_cold_wait_seconds": "",
            "routing_classifier": "embedding",
            "routing_classifier_model": "embedder",
            "members-1-aliases": "o3",
        },
    )

    assert as_document(get_profile("a"))["routing"] == {
        "cold_wait_seconds": None,
        "classifier": "embedding",
        "classifier_model": "embedder",
    }
    assert aliases_of() == [["gpt-4o"], ["o3"]]
    assert "cold_wait_seconds: .inf" in get_profile("a").yaml


def test_an_alias_moves_to_another_model_in_the_admin(admin_client: Client) -> None:
    profile = save_yaml(MEMBERS.format("[gpt-4o]"))
    form = form_of(admin_client.get(page_of(profile)))

    admin_client.post(
        page_of(profile), form | {"members-0-DELETE": "on", "members-1-aliases": "gpt-4o"}
    )

    assert as_document(get_profile("a"))["enabled_models"] == [
        {"model_id": "y", "aliases": ["gpt-4o"]}
    ]


def test_a_preset_hides_the_reasoning_when_the_admin_says_so(admin_client: Client) -> None:
    url = reverse("admin:profiles_app_samplingpreset_add")
    form = form_of(admin_client.get(url))

    admin_client.post(url, form | {"name": "quiet", "thinking": "hide"})

    page = admin_client.get(reverse("admin:profiles_app_samplingpreset_changelist"))
    assert form["thinking"] == "show"
    assert "Hidden" in page.content.decode()
