"""Switch to a model: make it the current one, enabled, and have its server started.

The one before is not stopped. Both stay loaded as long as there is memory for both; when
there is not, the profile's memory rules say which gives way.
"""

import logging
from datetime import timedelta
from typing import Final, NamedTuple

from django.db import transaction
from django.utils import timezone

from models_app.acting import acting
from models_app.audit_models import Via
from models_app.download_models import Download, DownloadState
from models_app.errors import ModelsError, QueueUnavailableError
from models_app.models import DiscoveredModel
from models_app.queue import require_worker
from profiles_app.errors import NoActiveProfileError, ProfilesError
from servers_app import following, services
from servers_app.errors import NotLaunchableError, NotSwitchableError, ServersError
from servers_app.following import Outcome
from servers_app.manager.current import make_current
from servers_app.manager.names import name_of
from servers_app.manager.suitability import is_enabled
from servers_app.manager_models import SwitchRequest
from servers_app.models import Server, ServerState, Wanted
from servers_app.wanting import node_for

logger = logging.getLogger(__name__)

WHY: Final = "switched to"
# After which nobody waits for a finished download to show up as a model.
PATIENCE: Final = timedelta(minutes=10)


class Switched(NamedTuple):
    previous: DiscoveredModel | None
    server: Server
    was_loaded: bool


def switch(model: DiscoveredModel, *, who: str = "", needs_worker: bool = True) -> Switched:
    """Switch to a model; its server is asked for if none answers, and not waited for.

    What was to be switched to when it has been fetched is not any more: the last choice holds.

    Args:
        needs_worker: make sure first that somebody would start it.

    Raises:
        NotLaunchableError: its files are missing or broken.
        NotSwitchableError: it is not enabled, and no profile is active to enable it in.
        NoWorkerError, NoFreePortError: its server cannot be started.
        QueueUnavailableError: the queue does not take the task.
    """
    if not model.is_launchable:
        msg = f"{model.model_id} cannot be started: {model.problem or 'its file is missing'}."
        raise NotLaunchableError(msg)
    loaded = loaded_server(model)
    if loaded is None and needs_worker:
        require_worker(node_for(model, 0))
    with transaction.atomic():
        SwitchRequest.objects.all().delete()
        _enable(model, who)
        previous = make_current(model, who=who)
        server = loaded or _asked_for(model, who)
    return Switched(previous, server, loaded is not None)


def loaded_server(model: DiscoveredModel) -> Server | None:
    """Return a server of the model that answers, and is to go on."""
    ready = Server.objects.filter(
        model=model,
        state=ServerState.READY,
        wanted=Wanted.RUNNING,
        unreachable_since=None,
    )
    servers = ready.select_related("model").order_by("replica", "node")
    return next((one for one in servers if following.start_outcome(one) == Outcome.DONE), None)


def _enable(model: DiscoveredModel, who: str) -> None:
    if DiscoveredModel.objects.filter(is_enabled(), pk=model.pk).exists():
        return
    try:
        services.set_enabled([model], is_enabled=True, author=who)
    except NoActiveProfileError as error:
        msg = (
            f"{name_of(model)} is not enabled, and no profile is active to enable it in. "
            "Activate one first: POST /api/models/profiles/NAME/activate, or in the admin."
        )
        raise NotSwitchableError(msg) from error


def _asked_for(model: DiscoveredModel, who: str) -> Server:
    """Return the model's server, wanted running: by its profile just now, or by this."""
    rows = Server.objects.select_related("model")
    wanted = rows.filter(model=model, replica=0, wanted=Wanted.RUNNING, unreachable_since=None)
    for server in wanted.order_by("node"):
        if following.start_outcome(server) == Outcome.PENDING:
            return server
    return rows.get(pk=services.request_start(model, who=who, why=WHY).pk)


# -- after a download


def switch_when_there(download: Download, *, who: str = "") -> None:
    """Have the model of a download switched to when it has been fetched, and no other one."""
    with transaction.atomic():
        SwitchRequest.objects.exclude(download=download).delete()
        SwitchRequest.objects.get_or_create(download=download, defaults={"who": who})


def finish(node: str) -> int:
    """Switch to what was fetched for that on `node`; return how many switches were made.

    Safe to call at any time, and any number of times. A switch that cannot be made is
    given up, and the log says why.
    """
    waiting = SwitchRequest.objects.filter(download__node=node)
    ended = (DownloadState.FINISHED, DownloadState.FAILED, DownloadState.CANCELLED)
    numbers = list(waiting.filter(download__state__in=ended).values_list("pk", flat=True))
    return sum(_finish(number) for number in numbers)


def _finish(number: int) -> bool:
    try:
        with transaction.atomic():
            rows = SwitchRequest.objects.select_for_update(of=("self",))
            asked = rows.select_related("download__model__root").filter(pk=number).first()
            if asked is None or not _is_due(asked.download):
                return False
            is_done = _switch_to_fetched(asked)
            asked.delete()
    except QueueUnavailableError:
        return True  # it is written down, and done when the queue is back
    return is_done


def _switch_to_fetched(asked: SwitchRequest) -> bool:
    model = asked.download.model
    if asked.download.state != DownloadState.FINISHED or model is None:
        logger.warning("%s was not fetched, so nobody switches to it.", asked.download)
        return False
    try:
        with acting(asked.who, Via.SYSTEM), transaction.atomic():
            switch(model, who=asked.who, needs_worker=False)  # that is here
    except (ServersError, ModelsError, ProfilesError) as error:
        logger.warning("%s was fetched, but not switched to: %s", asked.download, error)
        return False
    logger.info("Switched to %s, which was fetched for %s.", model, asked.who or "somebody")
    return True


def _is_due(download: Download) -> bool:
    if download.state != DownloadState.FINISHED or download.model_id is not None:
        return not download.is_under_way
    ended = download.finished_at
    return ended is not None and timezone.now() - ended > PATIENCE
