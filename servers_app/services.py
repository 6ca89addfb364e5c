"""Ask: check, commit what is wanted, queue the work. Nothing is done here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from models_app.models import DiscoveredModel
from models_app.queue import enqueue
from profiles_app.errors import ProfileNotActivatedError
from profiles_app.models import Profile, Start
from profiles_app.services import change_members, make_active, require_active_profile
from profiles_app.validation import Finding, validate
from servers_app import tasks
from servers_app.errors import NotLaunchableError, ServersError
from servers_app.models import RUNNING, Server, Wanted
from servers_app.planning import Step, Wish, make_plan, node_of
from servers_app.ports import claim_port


@transaction.atomic
def request_start(model: DiscoveredModel, *, replica: int = 0) -> Server:
    """Want a running server of `model`, with a port of its own, and queue its launch.

    Asking again for one that runs changes nothing; asking again for one that has
    failed lets it try again.

    Args:
        replica: which of several servers of the model, counted from 0.

    Raises:
        NotLaunchableError: the model's files are missing or broken.
        NoFreePortError: every port of the range is in use.
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    server, _ = Server.objects.get_or_create(model=model, node=node_of(model), replica=replica)
    server = Server.objects.select_for_update().get(pk=server.pk)
    claim_port(server)
    _want(server, Wanted.RUNNING)
    return server


@transaction.atomic
def request_restart(server: Server) -> None:
    """Want `server` running, in a process that is launched after now; queue that.

    Raises: as request_start.
    """
    Server.objects.filter(pk=server.pk).update(restart_requested_at=timezone.now())
    request_start(server.model, replica=server.replica)


@transaction.atomic
def request_stop(server: Server) -> None:
    """Want `server` stopped, and queue that.

    Raises:
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    _want(server, Wanted.STOPPED)


@transaction.atomic
def request_stop_all(node: str) -> int:
    """Want every server of `node` stopped; return how many were wanted.

    Raises:
        QueueUnavailableError: (after the commit) the queue did not take the tasks.
    """
    servers = Server.objects.filter(node=node, wanted=Wanted.RUNNING)
    for server in servers:
        request_stop(server)
    return len(servers)


@dataclass(frozen=True, slots=True)
class Activation:
    """What the activation of a profile asked for."""

    started: list[Server] = field(default_factory=list)  # those that run already among them
    stopped: list[Server] = field(default_factory=list)
    restarted: list[Server] = field(default_factory=list)  # for other run settings
    missing: list[str] = field(default_factory=list)  # ids that no model here has
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
def activate_profile(profile: Profile, *, force: bool = False) -> Activation:
    """Make `profile` the active one; ask for its models, and for no others.

    What both the old and the new profile enable, with the same run settings, is not
    touched. A member that cannot be started is named in the answer.

    Args:
        force: activate it with errors, too; what cannot run does not.

    Raises:
        ProfileNotActivatedError: validation found errors; nothing has changed.
    """
    errors = validate(profile).errors
    if errors and not force:
        raise ProfileNotActivatedError(profile.slug, [str(error) for error in errors])
    plan = make_plan(profile)
    make_active(profile)
    activation = Activation(missing=plan.missing, errors=errors)
    for wish in plan.wishes:
        _ask_for(wish, activation)
    return activation


def _ask_for(wish: Wish, activation: Activation) -> None:
    try:
        if wish.step == Step.STOP and wish.server is not None:
            request_stop(wish.server)
            activation.stopped.append(wish.server)
        elif wish.step == Step.RESTART and wish.server is not None:
            request_restart(wish.server)
            activation.restarted.append(wish.server)
            activation.started.append(wish.server)
        elif wish.step != Step.ON_REQUEST:
            activation.started.append(request_start(wish.model, replica=wish.replica))
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
    profile = require_active_profile()
    ids = [model.model_id for model in models]
    if is_enabled:
        profile = change_members(profile, add=ids, author=author)
        if profile.start == Start.ACTIVATION:
            for model in models:
                request_start(model)
    else:
        profile = change_members(profile, remove=ids, author=author)
        for server in Server.objects.filter(model__in=models, wanted=Wanted.RUNNING):
            request_stop(server)
    return profile


def forget_servers_at_rest(model: DiscoveredModel, **_signal: object) -> None:
    """Remove the server rows of a model that is about to be pruned, unless one runs."""
    at_rest = Server.objects.filter(model=model, wanted=Wanted.STOPPED)
    at_rest.exclude(state__in=RUNNING).delete()


def _want(server: Server, wanted: Wanted) -> None:
    Server.objects.filter(pk=server.pk).update(wanted=wanted, requested_at=timezone.now())
    server.wanted = wanted
    transaction.on_commit(partial(enqueue, tasks.settle, server.pk, node=server.node))
