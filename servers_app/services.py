"""Ask: check, commit what is wanted, queue the work. Nothing is done here."""

from dataclasses import dataclass, field
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from models_app.models import DiscoveredModel
from models_app.queue import enqueue
from profiles_app.models import Profile
from profiles_app.services import make_active
from servers_app import tasks
from servers_app.errors import NotLaunchableError, ServersError
from servers_app.models import RUNNING, Server, Wanted
from servers_app.ports import claim_port


@transaction.atomic
def request_start(model: DiscoveredModel) -> Server:
    """Want a running server of `model`, with a port of its own, and queue its launch.

    Asking again for one that runs changes nothing; asking again for one that has
    failed lets it try again.

    Raises:
        NotLaunchableError: the model's files are missing or broken.
        NoFreePortError: every port of the range is in use.
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    server, _ = Server.objects.get_or_create(model=model, node=node_of(model))
    server = Server.objects.select_for_update().get(pk=server.pk)
    claim_port(server)
    _want(server, Wanted.RUNNING)
    return server


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

    started: list[Server] = field(default_factory=list)
    stopped: list[Server] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # ids that no model here has
    refused: list[tuple[str, str]] = field(default_factory=list)  # id, why


@transaction.atomic
def activate_profile(profile: Profile) -> Activation:
    """Make `profile` the active one; ask for its models, and for no others.

    What both the old and the new profile enable is not touched. A member that
    cannot be started is named in the answer, and the others are started.
    """
    make_active(profile)
    activation = Activation()
    member_ids = list(profile.members.values_list("model_id", flat=True))
    models = DiscoveredModel.objects.select_related("root").in_bulk(
        member_ids, field_name="model_id"
    )
    for model_id in member_ids:
        model = models.get(model_id)
        if model is None:
            activation.missing.append(model_id)
            continue
        try:
            activation.started.append(request_start(model))
        except ServersError as error:
            activation.refused.append((model_id, str(error)))
    others = Server.objects.filter(wanted=Wanted.RUNNING).exclude(model__in=models.values())
    for server in others:
        request_stop(server)
        activation.stopped.append(server)
    return activation


def forget_servers_at_rest(model: DiscoveredModel, **_signal: object) -> None:
    """Remove the server rows of a model that is about to be pruned, unless one runs."""
    at_rest = Server.objects.filter(model=model, wanted=Wanted.STOPPED)
    at_rest.exclude(state__in=RUNNING).delete()


def node_of(model: DiscoveredModel) -> str:
    """Return the node that has the model's files."""
    return model.root.node if model.root else settings.MAGI_NODE


def _want(server: Server, wanted: Wanted) -> None:
    Server.objects.filter(pk=server.pk).update(wanted=wanted, requested_at=timezone.now())
    server.wanted = wanted
    transaction.on_commit(partial(enqueue, tasks.settle, server.pk, node=server.node))
