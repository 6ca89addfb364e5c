"""schemathesis, with all its checks, over the whole of /api/schema/, as each kind of caller.

`--api-cases N` is about how many calls each caller makes beyond those that follow from the
schema alone, `--api-seed N` is other ones.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core import serializers
from django.test import Client
from pytest_django import Settings

from magi_site.api_docs import document
from magi_site.groups import OPERATOR, ensure_groups
from models_app.models import DiscoveredModel
from models_app.registry import rescan
from profiles_app.models import Profile
from profiles_app.services import make_active, save_yaml
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key
from tests.api.site import site
from tests.models_app.ggufs import write_gguf
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

Config = dict[str, Any]

CONFIG: Config = tomllib.loads((Path(__file__).parent / "schemathesis.toml").read_text())
PROFILE = """
profile:
  name: {}
enabled_models: [{}]
queue: {{wait_seconds: 0}}
routing: {{cold_wait_seconds: 0}}
"""
MODELS = ("Qwen3-4B", "Llama-3.2-1B", "Broken-8B")
PROFILES = ("Night Shift", "Development")
FUZZING = ("examples", "fuzzing")  # what follows from the schema alone, an operator calls
OURS = ("auth", "models_app", "profiles_app", "servers_app")
NOTED = {"last_used_at", "last_login"}  # of a key and a person: that they called
# The log of requests, and what a llama-server says that it can do, once it was asked.
# What models performed like is measured when it is looked at, and kept for a day.
BESIDE = {
    "servers_app.RequestRecord",
    "servers_app.UsageMinute",
    "servers_app.EngineBuild",
    "servers_app.ModelPerformance",
}
TOKEN = "a" * 32  # of CSRF, in the cookie and in the header
LET_IN = {"warnings": {"fail-on": ["missing_auth"]}}  # always refused: then it tests nothing
PATIENCE_S = 1800  # a watchdog


@pytest.fixture
def url(redis_server: RedisServer, settings: Settings, tmp_path: Path) -> Iterator[str]:
    """Serve some models, profiles and servers to those who may call; give the address."""
    folder = tmp_path / "models"
    for name in MODELS:
        write_gguf(folder / f"{name}-Instruct-Q4_K_M.gguf")
    settings.MODEL_SCAN_PATH = [folder]
    rescan(settings.MAGI_NODE)
    models = list(DiscoveredModel.objects.all())
    ids = ", ".join(model.model_id for model in models)
    make_active([save_yaml(PROFILE.format(name, ids)) for name in PROFILES][-1])
    ensure_groups()
    with site(
        tmp_path,
        REDIS_URL=redis_server.url,
        MAGI_API_AUTH="required",
        MAGI_PROFILES_DIR=str(tmp_path / "profiles"),
        MODEL_SCAN_PATH=str(folder),
        HF_HUB_OFFLINE="1",
    ) as address:
        yield address


def key(*scopes: Scope) -> Config:
    secret = new_key("tester", scopes=scopes).secret
    return {"auth": {"openapi": {"key": {"bearer": secret}}}}


def session(settings: Settings) -> Config:
    """Sign an operator in; return what a browser then sends."""
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.add(Group.objects.get(name=OPERATOR))
    browser = Client()
    browser.force_login(user)
    cookies = {
        settings.SESSION_COOKIE_NAME: browser.cookies[settings.SESSION_COOKIE_NAME].value,
        settings.CSRF_COOKIE_NAME: TOKEN,
    }
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    # Of this header schemathesis does not know that it says who calls.
    checks = {**CONFIG["checks"], "ignored_auth": {"enabled": False}}
    return {"headers": {"Cookie": cookie, "X-CSRFToken": TOKEN}, "checks": checks, **LET_IN}


def rows(*, but: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return all that the database holds."""
    held = {}
    for label in OURS:
        for model in apps.get_app_config(label).get_models():
            if model._meta.label in but:
                continue
            everything = model._default_manager.order_by("pk")
            found = json.loads(serializers.serialize("json", everything))
            for row in found:
                row["fields"] = {k: v for k, v in row["fields"].items() if k not in NOTED}
            held[model._meta.label] = found
    return held


class Schemathesis:
    """A run of the schema's calls against a running MAGI."""

    def __init__(self, folder: Path, options: pytest.Config) -> None:
        self._folder = folder
        self._cases: int = options.getoption("--api-cases")
        self._seed: int = options.getoption("--api-seed")

    def run(self, url: str, *phases: str, **config: Any) -> None:
        """Make the calls; fail with what it says if one was answered wrongly."""
        schema = document()
        operations = sum(len(item) for item in schema["paths"].values())
        (self._folder / "schema.json").write_text(json.dumps(schema))
        generation = {**CONFIG["generation"], "max-examples": max(1, self._cases // operations)}
        there = {
            "models": DiscoveredModel.objects.values_list("model_id", flat=True),
            "profiles": Profile.objects.values_list("slug", flat=True),
        }
        dictionaries = {name: {"values": list(values)} for name, values in there.items()}
        whole = {
            **CONFIG,
            **config,
            "dictionaries": dictionaries,
            "generation": generation,
            "seed": self._seed,
        }
        (self._folder / "schemathesis.toml").write_text(tomli_w.dumps(whole))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", "schemathesis.toml", "run", "schema.json", "--url", url),
                *(("--phases", ",".join(phases)) if phases else ()),
            ],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self._tracebacks()
        calls = re.search(r"([\d,]+) generated", done.stdout)
        assert calls, done.stdout
        assert int(calls[1].replace(",", "")) > self._cases // 2, done.stdout

    def _tracebacks(self) -> str:
        """Return what the web server says of what it could not answer."""
        log = (self._folder / "web.log").read_text(errors="replace")
        return "\n".join(re.findall(r"^.*Traceback \(.*\n(?:^(?: .*)?\n)*^.*\n", log, re.M))


@pytest.fixture
def schemathesis(tmp_path: Path, pytestconfig: pytest.Config) -> Schemathesis:
    return Schemathesis(tmp_path, pytestconfig)


def test_nobody_is_let_in(url: str, schemathesis: Schemathesis) -> None:
    before = rows()

    schemathesis.run(url, *FUZZING)

    assert rows() == before


def test_a_key_that_may_read_changes_nothing(url: str, schemathesis: Schemathesis) -> None:
    caller = key(Scope.READ)
    before = rows(but=BESIDE)

    schemathesis.run(url, *FUZZING, **caller)

    assert rows(but=BESIDE) == before


def test_a_key_that_may_do_all_is_answered_as_the_document_says(
    url: str, schemathesis: Schemathesis
) -> None:
    schemathesis.run(url, **key(Scope.MANAGE, Scope.INFER), **LET_IN)


def test_an_operator_who_is_signed_in_is_answered_as_the_document_says(
    url: str, schemathesis: Schemathesis, settings: Settings
) -> None:
    schemathesis.run(url, *FUZZING, **session(settings))
