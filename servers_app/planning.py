"""What an activation would do: which servers start, stop, restart and stay."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.db import models

from models_app.models import DiscoveredModel
from profiles_app.models import Profile, Start
from profiles_app.resolution import memory_mib, settings_of_all
from profiles_app.runsettings import Setting
from servers_app.engine.argv import Argument, explain_argv, server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.errors import EngineError
from servers_app.models import RUNNING, Server, Wanted
from servers_app.ports import LOOPBACK


class Step(models.TextChoices):
    START = "start", "starts"
    STOP = "stop", "stops"
    RESTART = "restart", "restarts: its run settings differ"
    STAY = "stay", "stays as it is"
    REFUSED = "refused", "cannot run"
    ON_REQUEST = "on request", "starts with the first request"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to become of one server, or one that is not there yet."""

    step: Step
    model: DiscoveredModel
    replica: int
    server: Server | None  # None for one that was never started
    why: str = ""

    @property
    def is_enabled(self) -> bool:
        return self.step not in (Step.STOP, Step.REFUSED)


@dataclass(frozen=True, slots=True)
class Plan:
    wishes: Sequence[Wish]
    missing: list[str]  # ids that no model here has
    memory_before_mib: int  # estimated, of the servers wanted now
    memory_after_mib: int

    def as_json(self) -> dict[str, Any]:
        return {
            "servers": [
                {
                    "model_id": wish.model.model_id,
                    "replica": wish.replica,
                    "step": wish.step.value,
                    "why": wish.why,
                }
                for wish in self.wishes
            ],
            "missing_models": self.missing,
            "memory_before_mib": self.memory_before_mib,
            "memory_after_mib": self.memory_after_mib,
        }


def make_plan(profile: Profile) -> Plan:
    """Return what an activation of `profile` would do now; nothing is changed.

    A server is compared by its command line: the one that it runs with, and the one that it
    would be given.
    """
    members = list(profile.members.all())
    ids = [member.model_id for member in members]
    here = DiscoveredModel.objects.select_related("root").in_bulk(ids, field_name="model_id")
    settings = settings_of_all(list(here.values()), profile)
    servers = list(Server.objects.select_related("model"))
    by_place = {(server.model_id, server.node, server.replica): server for server in servers}
    engine = _engine(profile)
    wishes: list[Wish] = []
    for member in members:
        model = here.get(member.model_id)
        if model is None:
            continue
        for replica in range(member.replicas):
            server = by_place.pop((model.pk, node_of(model), replica), None)
            step, why = _step(profile, model, server, engine, settings[member.model_id])
            wishes.append(Wish(step, model, replica, server, why))
    wishes += [
        Wish(Step.STOP, server.model, server.replica, server)
        for server in by_place.values()
        if server.wanted == Wanted.RUNNING
    ]
    after = sum(
        memory_mib(wish.model, settings[wish.model.model_id])
        for wish in wishes
        if wish.step in _RUNS_AFTERWARDS
    )
    return Plan(
        wishes=wishes,
        missing=[model_id for model_id in ids if model_id not in here],
        memory_before_mib=_memory_now(servers),
        memory_after_mib=after,
    )


def node_of(model: DiscoveredModel) -> str:
    """Return the node that has the model's files."""
    return model.root.node if model.root else django_settings.MAGI_NODE


def explained(profile: Profile) -> dict[str, list[Argument]]:
    """Return each model's command line in a profile, and where each value comes from.

    Raises:
        EngineError: there is no llama-server, or it cannot be asked what it can do.
    """
    ids = list(profile.members.values_list("model_id", flat=True))
    here = DiscoveredModel.objects.in_bulk(ids, field_name="model_id")
    settings = settings_of_all(list(here.values()), profile)
    engine = find_engine(profile.engine)
    return {
        model_id: explain_argv(engine, here[model_id], here[model_id].port, settings[model_id])
        for model_id in ids
        if model_id in here
    }


_FLAG = re.compile("--?[A-Za-z]")  # -1 is a value
_RUNS_AFTERWARDS = (Step.START, Step.RESTART, Step.STAY)


def _step(
    profile: Profile,
    model: DiscoveredModel,
    server: Server | None,
    engine: Engine | None,
    settings: dict[str, Setting],
) -> tuple[Step, str]:
    if not model.is_launchable:
        return Step.REFUSED, model.problem or "its file is missing"
    if server is None or server.wanted == Wanted.STOPPED or server.state not in RUNNING:
        is_later = profile.start == Start.REQUEST
        return (Step.ON_REQUEST, "") if is_later else (Step.START, "")
    if engine is None or server.port is None or not server.argv:
        return Step.STAY, ""
    argv = server_argv(engine, model, server.port, settings, host=_host_of(server))
    if server.argv == argv:
        return Step.STAY, ""
    return Step.RESTART, _what_differs(server.argv, argv)


def _what_differs(before: Sequence[str], after: Sequence[str]) -> str:
    """Return the flags that two command lines do not have alike, as people read them."""
    old, new = _by_flag(before), _by_flag(after)
    return "; ".join(
        f"{flag}: {old.get(flag, 'not given')} → {new.get(flag, 'not given')}"
        for flag in {**old, **new}
        if old.get(flag) != new.get(flag)
    )


def _by_flag(argv: Sequence[str]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    flag = ""
    for part in argv:
        if _FLAG.match(part):
            flag = part
            values.setdefault(flag, [])
        elif flag:
            values[flag].append(part)
    return {flag: " ".join(parts) or "given" for flag, parts in values.items()}


def _memory_now(servers: Sequence[Server]) -> int:
    running = [server for server in servers if server.wanted == Wanted.RUNNING]
    active = Profile.objects.filter(is_active=True).first()
    settings = settings_of_all([server.model for server in running], active)
    return sum(memory_mib(server.model, settings[server.model.model_id]) for server in running)


def _host_of(server: Server) -> str:
    """Return the address that a server was launched at: it does not move with a profile."""
    argv: list[str] = server.argv
    return argv[argv.index("--host") + 1] if "--host" in argv else LOOPBACK


def _engine(profile: Profile) -> Engine | None:
    """Return the profile's engine, if it can be asked what it can do."""
    try:
        engine = find_engine(profile.engine)
        capabilities(engine)
    except EngineError:
        return None
    return engine
