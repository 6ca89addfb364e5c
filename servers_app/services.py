"""Ask: check, commit what is wanted, queue the work. Nothing is done here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from models_app.audit_targets import Target
from models_app.models import DiscoveredModel
from models_app.queue import enqueue
from profiles_app.errors import ProfileNotActivatedError
from profiles_app.models import Profile, Start
from profiles_app.services import (
    active_profile,
    change_members,
    make_active,
    require_active_profile,
)
from profiles_app.validation import Finding, validate
from servers_app import tasks
from servers_app.errors import NotLaunchableError, ServersError
from servers_app.figures import name_of
from servers_app.models import RUNNING, Server, ServerEvent, ServerState, Wanted
from servers_app.planning import Step, Wish, make_plan, node_of
from servers_app.ports import claim_port

MAX_WHO_CHARS = 150
MAX_WHY_CHARS = 300


@dataclass(frozen=True, slots=True)
class Activation:
    """What the activation of a profile asked for."""

    started: list[Server] = field(default_factory=list)  # those that run already among them
    stopped: list[Server] = field(default_factory=list)
    restarted: list[Server] = field(default_factory=list)  # for other run settings
    missing: list[str] = field(default_factory=list)  # ids that no model here has
    offered: list[int] = field(default_factory=list)  # servers that a request starts
    refused: list[tuple[str, str]] = field(default_factory=list)  # id, why
    errors: list[Finding] = field(default_factory=list)  # overridden by force

    def as_json(self) -> dict[str, Any]:
        return {
            "started": [server.model.model_id for server in self.started],
            "stopped": [server.model.model_id for server in self.stopped],
            "restarted": [server.model.model_id for server in self.restarted],
            "missing_models": self.missing,
            "failed": [{"model_id": id_, "detail": why} for id_, why in self.refused],
            "errors": [str(error) for error in self.errors],
        }


@transaction.atomic
def request_start(
    model: DiscoveredModel, *, replica: int = 0, who: str = "", why: str = ""
) -> Server:
    """Want a running server of `model`, with a port of its own, and queue its launch.

    Asking again for one that runs changes nothing; asking again for one that has
    failed lets it try again.

    Args:
        replica: which of several servers of the model, counted from 0.
        who: asks, for its history: a user, "profile NAME", "gateway".

    Raises:
        NotLaunchableError: the model's files are missing or broken.
        NoFreePortError: every port of the range is in use.
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    server = _row(model, replica)
    claim_port(server)
    _want(server, Wanted.RUNNING, who=who, why=why)
    return server


@transaction.atomic
def offer(model: DiscoveredModel, *, replica: int = 0) -> Server:
    """Let the first request start a server of `model`; nothing is launched before.

    Raises:
        NotLaunchableError: the model's files are missing or broken.
    """
    server = _row(model, replica)
    Server.objects.filter(pk=server.pk).update(on_request=True)
    return server


@transaction.atomic
def request_start_all(*, who: str = "") -> Activation:
    """Want every server of the active profile running, those for requests, too.

    Raises:
        NoActiveProfileError: no profile is active.
    """
    profile = require_active_profile()
    plan = make_plan(profile)
    activation = Activation(missing=plan.missing)
    for wish in plan.wishes:
        if wish.step != Step.STOP:
            wish = replace(wish, step=Step.START)  # noqa: PLW2901 - all but to stop others
            _ask_for(wish, activation, who=who, why="all of the profile were asked for")
    return activation


@transaction.atomic
def request_restart(server: Server, *, who: str = "", why: str = "") -> None:
    """Want `server` running, in a process that is launched after now; queue that.

    Requests in flight have the profile's drain_seconds.

    Raises: as request_start.
    """
    Server.objects.filter(pk=server.pk).update(
        restart_requested_at=timezone.now(), drain_until=_drained_by()
    )
    _tell(server, "restart", who=who, why=why)
    if _asked_of(server)["wanted"] == Wanted.RUNNING:  # otherwise it is a start
        audit.record(Action.RESTART, _target(server), who=who)
    request_start(server.model, replica=server.replica, who=who, why=why)


@transaction.atomic
def request_stop(
    server: Server, *, who: str = "", why: str = "", at_once: bool = False
) -> None:
    """Want `server` stopped, and queue that. No request starts it again, only people do.

    Args:
        at_once: cut the requests in flight; otherwise they have the profile's drain_seconds.

    Raises:
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    drained_by = timezone.now() if at_once else _drained_by()
    Server.objects.filter(pk=server.pk).update(drain_until=drained_by)
    _want(server, Wanted.STOPPED, who=who, why=why)


@transaction.atomic
def request_stop_all(
    node: str = "", *, who: str = "", why: str = "", at_once: bool = False
) -> list[Server]:
    """Want every server stopped, of `node` if it is given; return those that were wanted.

    Raises:
        QueueUnavailableError: (after the commit) the queue did not take the tasks.
    """
    wanted = Q(wanted=Wanted.RUNNING)
    if at_once:
        wanted |= Q(state=ServerState.STOPPING)  # whose requests need not finish any more
    servers = list(Server.objects.select_related("model").filter(wanted, **_on(node)))
    for server in servers:
        request_stop(server, who=who, why=why, at_once=at_once)
    offered = Server.objects.select_related("model").filter(on_request=True, **_on(node))
    _withdraw(offered, who=who)
    return servers


@transaction.atomic
def activate_profile(profile: Profile, *, force: bool = False, who: str = "") -> Activation:
    """Make `profile` the active one; ask for its models, and for no others.

    Doing it again starts what has been stopped since.

    What both the old and the new profile enable, with the same run settings, is not
    touched. A member that cannot be started is named in the answer.

    Args:
        force: activate it with errors, too; what cannot run does not.
        who: asks, for the history of its servers.

    Raises:
        ProfileNotActivatedError: validation found errors; nothing has changed.
    """
    errors = validate(profile).errors
    if errors and not force:
        raise ProfileNotActivatedError(profile.slug, [str(error) for error in errors])
    plan = make_plan(profile)
    make_active(profile, author=who)
    activation = Activation(missing=plan.missing, errors=errors)
    why = f"profile {profile.slug} was activated"
    for wish in plan.wishes:
        _ask_for(wish, activation, who=who, why=why)
    enabled = [wish.server.pk for wish in plan.wishes if wish.server and wish.is_enabled]
    Server.objects.filter(on_request=True, wanted=Wanted.STOPPED).exclude(
        pk__in=[*enabled, *activation.offered]
    ).update(on_request=False)
    return activation


def _ask_for(wish: Wish, activation: Activation, *, who: str, why: str) -> None:
    try:
        if wish.step == Step.STOP and wish.server is not None:
            request_stop(wish.server, who=who, why=why)
            activation.stopped.append(wish.server)
        elif wish.step == Step.RESTART and wish.server is not None:
            request_restart(wish.server, who=who, why=why)
            activation.restarted.append(wish.server)
            activation.started.append(wish.server)
        elif wish.step == Step.ON_REQUEST:
            activation.offered.append(offer(wish.model, replica=wish.replica).pk)
        else:
            server = request_start(wish.model, replica=wish.replica, who=who, why=why)
            activation.started.append(server)
    except ServersError as error:
        activation.refused.append((wish.model.model_id, str(error)))


@transaction.atomic
def set_enabled(
    models: Sequence[DiscoveredModel], *, is_enabled: bool, author: str = ""
) -> Profile:
    """Enable or disable models in the active profile, and have their servers follow.

    Raises:
        NoActiveProfileError: no profile is active.
        NotLaunchableError: one of them cannot run; nothing has changed.
        QueueUnavailableError: (after the commit) the queue did not take the tasks.
    """
    profile = _locked_active_profile()
    ids = [model.model_id for model in models]
    _write_down(profile, models, is_enabled=is_enabled, author=author)
    if is_enabled:
        profile = change_members(profile, add=ids, author=author)
        if profile.start == Start.ACTIVATION:
            for model in models:
                request_start(model, who=author, why=f"enabled in profile {profile.slug}")
        else:
            for model in models:
                offer(model)
    else:
        profile = change_members(profile, remove=ids, author=author)
        servers = Server.objects.select_related("model").filter(model__in=models)
        for server in servers.filter(wanted=Wanted.RUNNING):
            request_stop(server, who=author, why=f"disabled in profile {profile.slug}")
        servers.update(on_request=False)
    return profile


def _locked_active_profile() -> Profile:
    """Return the active profile, which stays the active one until the transaction ends."""
    while True:
        profile = require_active_profile()
        # Another may have been activated since; then that is the one.
        still = Profile.objects.select_for_update().filter(pk=profile.pk, is_active=True)
        if still.first() is not None:
            return profile


def _write_down(
    profile: Profile, models: Sequence[DiscoveredModel], *, is_enabled: bool, author: str
) -> None:
    """Tell the audit of those models for which that is news."""
    Profile.objects.select_for_update().get(pk=profile.pk)  # of two who do it, one changes it
    members = set(profile.members.values_list("model_id", flat=True))
    before, after = {"enabled": not is_enabled}, {"enabled": is_enabled}
    changes = [
        Change(model, before, after)
        for model in models
        if (model.model_id in members) != is_enabled
    ]
    action = Action.ENABLE if is_enabled else Action.DISABLE
    audit.record_each(action, changes, who=author)


def forget_servers_at_rest(model: DiscoveredModel, **_signal: object) -> None:
    """Remove the server rows of a model that is about to be pruned, unless one runs."""
    at_rest = Server.objects.filter(model=model, wanted=Wanted.STOPPED)
    at_rest.exclude(state__in=RUNNING).delete()


def _row(model: DiscoveredModel, replica: int) -> Server:
    """Return the row of a server, made if need be, which nobody else changes meanwhile."""
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    server, _ = Server.objects.get_or_create(model=model, node=node_of(model), replica=replica)
    return Server.objects.select_for_update().get(pk=server.pk)


def _want(server: Server, wanted: Wanted, *, who: str, why: str) -> None:
    before = _asked_of(server)
    # Whom people have stopped, no request starts again.
    after = before | ({"on_request": False} if wanted == Wanted.STOPPED else {})
    after["wanted"] = wanted
    Server.objects.filter(pk=server.pk).update(
        **after,
        requested_at=timezone.now(),
        asked_by=who[:MAX_WHO_CHARS],
        asked_why=why[:MAX_WHY_CHARS],
        failed_at=[],  # who asks again has it tried as if it had never failed
        next_start_at=None,
    )
    server.wanted = wanted
    action = Action.START if wanted == Wanted.RUNNING else Action.STOP
    audit.record_change(action, _target(server), before, after, who=who)
    if before["wanted"] != wanted:
        _tell(server, wanted, before=before["wanted"], who=who, why=why)
    transaction.on_commit(partial(enqueue, tasks.settle, server.pk, node=server.node))


def _asked_of(server: Server) -> dict[str, Any]:
    """Return what people ask of a server; nobody else changes it until the commit."""
    rows = Server.objects.select_for_update().filter(pk=server.pk)
    return dict(rows.values("wanted", "on_request").get())


def _withdraw(offered: QuerySet[Server], *, who: str) -> None:
    """Have no request start these servers any more."""
    before, after = {"on_request": True}, {"on_request": False}
    changes = [Change(_target(server), before, after) for server in offered]
    audit.record_each(Action.STOP, changes, who=who)
    offered.update(on_request=False)


def _target(server: Server) -> Target:
    return Target("server", str(server.pk), name_of(server))


def _tell(server: Server, wanted: str, *, who: str, why: str, before: str = "") -> None:
    ServerEvent.objects.create(
        server=server,
        kind=ServerEvent.Kind.WANTED,
        who=who[:MAX_WHO_CHARS],
        why=why,
        from_state=before,
        to_state=wanted,
    )


def _drained_by() -> datetime:
    """Return when requests in flight must have ended: the active profile says."""
    profile = active_profile()
    seconds = profile.drain_seconds if profile else Profile().drain_seconds
    return timezone.now() + timedelta(seconds=seconds)


def _on(node: str) -> dict[str, str]:
    return {"node": node} if node else {}
