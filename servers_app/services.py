"""Ask: check, commit what is wanted, queue the work. Nothing is done here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from models_app.clock import now_after
from models_app.errors import NotOnNodeError, UnknownNodeError
from models_app.models import DiscoveredModel
from profiles_app.errors import ProfileNotActivatedError
from profiles_app.models import Profile, Start
from profiles_app.services import (
    active_profile,
    change_members,
    make_active,
    require_active_profile,
)
from profiles_app.validation import Finding, validate
from servers_app.errors import NoNodeError, ServersError
from servers_app.figures import name_of
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.placing import place
from servers_app.planning import Step, Wish, make_plan
from servers_app.ports import claim_port
from servers_app.wanting import asked_of, row_of, target_of, tell, want, withdraw


@dataclass(frozen=True, slots=True)
class Activation:
    """What the activation of a profile asked for."""

    started: list[Server] = field(default_factory=list)  # those that run already among them
    stopped: list[Server] = field(default_factory=list)
    restarted: list[Server] = field(default_factory=list)  # for other run settings
    moved: list[Server] = field(default_factory=list)  # as they are on their new nodes
    missing: list[str] = field(default_factory=list)  # ids that no model here has
    offered: list[int] = field(default_factory=list)  # servers that a request starts
    refused: list[tuple[str, str]] = field(default_factory=list)  # id, why
    errors: list[Finding] = field(default_factory=list)  # overridden by force

    def as_json(self) -> dict[str, Any]:
        return {
            "started": [server.model.model_id for server in self.started],
            "stopped": [server.model.model_id for server in self.stopped],
            "restarted": [server.model.model_id for server in self.restarted],
            "moved": [server.model.model_id for server in self.moved],
            "missing_models": self.missing,
            "failed": [{"model_id": id_, "detail": why} for id_, why in self.refused],
            "errors": [str(error) for error in self.errors],
        }


@transaction.atomic
def request_start(
    model: DiscoveredModel,
    *,
    replica: int = 0,
    node: str = "",
    who: str = "",
    why: str = "",
) -> Server:
    """Want a running server of `model`, with a port of its own, and queue its launch.

    Asking again for one that runs changes nothing; asking again for one that has
    failed lets it try again.

    Args:
        replica: which of several servers of the model, counted from 0.
        node: where; without it where it is wanted already, else where the active profile's
            placement has it.
        who: asks, for its history: a user, "profile NAME", "gateway".

    Raises:
        NotLaunchableError: the model's files are missing or broken.
        UnknownNodeError: there is no such node.
        NotOnNodeError: the model's files are not on that node.
        NoNodeError: no node may have it, or that one is cordoned.
        NoFreePortError: every port of the node's range is in use.
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    server, asked = row_of(model, replica, node, who=who)
    claim_port(server)
    want(server, Wanted.RUNNING, who=who, why=why, asked=asked)
    return server


@transaction.atomic
def request_move(server: Server, *, to: str = "", who: str = "", why: str = "") -> Server:
    """Want a server stopped where it is, and the same replica running on another node.

    Requests in flight have the profile's drain_seconds. One that the first request would
    start is offered there instead.

    Args:
        server: with its model.
        to: a node; without it, the one that the active profile's placement chooses.

    Returns:
        the server of that node.

    Raises:
        NoNodeError: it is there already, or no other node may have it.
        The rest as request_start.
    """
    model = server.model
    if not to:
        avoid = (server.node,)
        to = place(model, active_profile(), replica=server.replica, avoid=avoid).node
    if to == server.node:
        msg = f"{name_of(server)} is on node {to} already. Give the name of another node."
        raise NoNodeError(msg)
    before = asked_of(server)
    why = f"{why}; moved from {server.node} to {to}" if why else f"moved to {to}"
    is_offered = before.on_request and before.wanted == Wanted.STOPPED
    if is_offered:
        withdraw(Server.objects.filter(pk=server.pk).select_related("model"), who=who)
        moved = offer(model, replica=server.replica, node=to)
    else:
        if before.wanted == Wanted.RUNNING:
            request_stop(server, who=who, why=why)
        moved = request_start(model, replica=server.replica, node=to, who=who, why=why)
        if before.on_request:  # after an idle stop, the first request starts it
            Server.objects.filter(pk=moved.pk).update(on_request=True)
    places = {"node": server.node}, {"node": to}
    audit.record_change(
        Action.UPDATE, target_of(moved, is_one_of_several=True), *places, who=who
    )
    return moved


@transaction.atomic
def offer(model: DiscoveredModel, *, replica: int = 0, node: str = "") -> Server:
    """Let the first request start a server of `model`; nothing is launched before.

    Args:
        node: where; without it as request_start has it.

    Raises:
        NotLaunchableError: the model's files are missing or broken.
        NoNodeError: no node may have it.
    """
    server, _ = row_of(model, replica, node)
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
            if wish.step != Step.MOVE:
                wish = replace(wish, step=Step.START)  # noqa: PLW2901 - on request, too
            _ask_for(wish, activation, who=who, why="all of the profile were asked for")
    return activation


@transaction.atomic
def request_restart(server: Server, *, who: str = "", why: str = "") -> None:
    """Want `server` running where it is, in a process that is launched after now; queue that.

    Requests in flight have the profile's drain_seconds.

    Raises: as request_start.
    """
    Server.objects.filter(pk=server.pk).update(
        restart_requested_at=now_after(server.launched_at), drain_until=_drained_by()
    )
    tell(server, "restart", who=who, why=why)
    before = asked_of(server)
    if before.wanted == Wanted.RUNNING:  # otherwise it is a start
        target = target_of(server, is_one_of_several=before.is_one_of_several)
        audit.record(Action.RESTART, target, who=who)
    request_start(server.model, replica=server.replica, node=server.node, who=who, why=why)


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
    want(server, Wanted.STOPPED, who=who, why=why)


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
    withdraw(offered, who=who)
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
        elif wish.step == Step.MOVE and wish.server is not None:
            moved = request_move(wish.server, to=wish.node, who=who, why=why)
            activation.moved.append(moved)
            activation.started.append(moved)
        elif wish.step == Step.ON_REQUEST:
            offered = offer(wish.model, replica=wish.replica, node=wish.node)
            activation.offered.append(offered.pk)
        else:
            where: dict[str, Any] = {"replica": wish.replica, "node": wish.node}
            server = request_start(wish.model, **where, who=who, why=why)
            activation.started.append(server)
    except (ServersError, NotOnNodeError, UnknownNodeError) as error:
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
        why = f"enabled in profile {profile.slug}"
        of = dict(profile.members.values_list("model_id", "replicas"))
        for model in models:
            for replica in range(of.get(model.model_id, 1)):
                if profile.start == Start.ACTIVATION:
                    request_start(model, replica=replica, who=author, why=why)
                else:
                    offer(model, replica=replica)
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


def _drained_by() -> datetime:
    """Return when requests in flight must have ended: the active profile says."""
    profile = active_profile()
    seconds = profile.drain_seconds if profile else Profile().drain_seconds
    return timezone.now() + timedelta(seconds=seconds)


def _on(node: str) -> dict[str, str]:
    return {"node": node} if node else {}
