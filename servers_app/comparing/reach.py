"""Where a model can be asked: at its server, if it runs, or at one launched for this."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from django.conf import settings

from models_app.copies import as_on, home_of
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel
from servers_app.bench.running import launched, settings_for
from servers_app.comparing.answering import Target
from servers_app.errors import NotLaunchableError
from servers_app.keys import server_key
from servers_app.models import Node, Server, ServerState, Wanted
from servers_app.ports import LOOPBACK


class Reach:
    """One model, for as long as it is asked things.

    A server that runs is looked for before each prompt: it may have gone since, and the
    private one, launched when it is needed first, takes its place.
    """

    def __init__(self, model: DiscoveredModel, is_wanted: Callable[[], bool]) -> None:
        self._model = model
        self._is_wanted = is_wanted
        self._stack = ExitStack()
        self._private: Target | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def target(self) -> Target:
        """Return what is to be asked.

        Raises:
            NotLaunchableError: it does not run, and its files are on another node.
            BenchmarkError: it cannot be launched; the message says why.
            BenchmarkCancelledError: nobody wants it any more.
        """
        if self._private is None and (running := running_target(self._model)):
            return running
        if self._private is None:
            self._private = self._launched()
        return self._private

    def _launched(self) -> Target:
        model = self._model
        try:
            as_on(model, settings.MAGI_NODE)
        except NotOnNodeError as error:
            msg = (
                f"{model.model_id} does not run, and is on node {home_of(model)}: start its "
                "server there, then compare again."
            )
            raise NotLaunchableError(msg) from error
        server = self._stack.enter_context(
            launched(model, settings_for(model), is_wanted=self._is_wanted)
        )
        return Target(server.host, server.port, server.key, is_private=True)


def running_target(model: DiscoveredModel) -> Target | None:
    """Return a ready server of a model, on any node; None if there is none that stays."""
    server = (
        Server.objects.filter(
            model=model, state=ServerState.READY, wanted=Wanted.RUNNING, port__isnull=False
        )
        .order_by("replica", "pk")
        .first()
    )
    if server is None or server.port is None:
        return None
    address = Node.objects.filter(name=server.node).values_list("address", flat=True).first()
    return Target(address or LOOPBACK, server.port, server_key(server.pk))
