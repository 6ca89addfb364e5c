"""The calls that show servers, start, stop and restart them."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.download_api import valid_body
from models_app.errors import NoWorkerError, QueueUnavailableError
from models_app.models import DiscoveredModel
from models_app.queue import require_worker, without_worker
from profiles_app.api import author_of
from profiles_app.models import MAX_REPLICAS
from profiles_app.services import require_active_profile
from servers_app import following, server_schema, services
from servers_app.following import Outcome
from servers_app.lookup import (
    find_model,
    find_server,
    never_started,
    require_node,
    unknown,
)
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.planning import Step, make_plan, node_of
from servers_app.serializers import ServerDetailSerializer, ServerSerializer
from servers_app.server_answers import (
    accepted,
    all_answer,
    named_server,
    overruled,
    rows_after,
    when_started,
)
from servers_app.wanting import node_for

WHY = "by the API"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class ServerListView(APIView):
    """The servers that run or should run; with `?all=true` those at rest, too."""

    @server_schema.LIST
    def get(self, request: Request) -> Response:
        queryset = Server.objects.select_related("model")
        if not _flag(request, "all"):
            queryset = queryset.exclude(state=ServerState.STOPPED, wanted=Wanted.STOPPED)
        servers = ServerSerializer(queryset, many=True).data
        return Response(
            {
                "total_servers": len(servers),
                "ready_servers": sum(server["is_ready"] for server in servers),
                "servers": servers,
            }
        )


class ServerView(APIView):
    """One server with everything; `?replica=` is for one of several."""

    @server_schema.SHOW
    def get(self, request: Request, model_id: str) -> Response:
        _, server = _model_and_server(request, model_id)
        return Response(ServerDetailSerializer(server).data)


class StartView(APIView):
    """Start a server, and wait until it is ready. One that runs already is left alone."""

    permission = "servers_app.change_server"

    @server_schema.START
    def post(self, request: Request, model_id: str) -> Response:
        wait, replica, model = wait_seconds(request), _replica(request), _model(model_id)
        named = _node(request)
        node = named or node_for(model, replica)
        if not named:
            require_worker(node)
        before = find_server(model, replica, node)
        ran_already = before is not None and following.start_outcome(before) == Outcome.DONE
        who = author_of(request)
        # Where it is placed is decided there: of two who ask at once, by one for both.
        asked: dict[str, Any] = {"replica": replica, "node": named, "who": who, "why": WHY}
        with _saying_it_waits():
            server = services.request_start(model, **asked)
            if named:  # there and nowhere else: it is written down, and waits for that node
                require_worker(node)
        return when_started(server, wait, ran_already=ran_already and server == before)


class RestartView(APIView):
    """Start a server anew, and wait until it is ready. One that does not run is started."""

    permission = "servers_app.change_server"

    @server_schema.RESTART
    def post(self, request: Request, model_id: str) -> Response:
        wait, replica, model = wait_seconds(request), _replica(request), _model(model_id)
        node, who = _node(request), author_of(request)
        server = find_server(model, replica, node)
        require_worker(node or (server.node if server else node_for(model, replica)))
        if server is None:
            asked: dict[str, Any] = {"replica": replica, "node": node, "who": who, "why": WHY}
            server = services.request_start(model, **asked)
        else:
            services.request_restart(server, who=who, why=WHY)
        return when_started(server, wait, ran_already=False)


class MoveView(APIView):
    """Have a server stopped where it is and started on another node; wait until it is ready."""

    permission = "servers_app.change_server"

    @server_schema.MOVE
    def post(self, request: Request, model_id: str) -> Response:
        wait, model, node = wait_seconds(request), _model(model_id), _node(request)
        asked = valid_body(server_schema.MoveSerializer, request.data, '{"to": "NAME"}')
        replica, to = asked["replica"], asked["to"]
        server = find_server(model, replica, node)
        if server is None:
            raise NotFound(never_started(model, replica, node))
        server.model = model
        to = require_node(to) if to else ""
        with _saying_it_waits():
            moved = services.request_move(server, to=to, who=author_of(request), why=WHY)
            require_worker(moved.node)  # it is written down all the same
        return when_started(moved, wait, ran_already=False)


class StopView(APIView):
    """Stop a server, and wait until it is gone.

    Requests in flight have the profile's drain_seconds, none with `at_once`.
    """

    permission = "servers_app.change_server"

    @server_schema.STOP
    def post(self, request: Request, model_id: str) -> Response:
        wait, at_once = wait_seconds(request), _at_once(request)
        replica, model, node = _replica(request), _model(model_id), _node(request)
        server = find_server(model, replica, node)
        if server is None:
            answer = following.stop_answer(Server(model=model), was_running=False)
            return Response({**answer, "replica": replica, "node": node or node_of(model)})
        was_running = server.state in RUNNING
        if was_running:
            require_worker(server.node)
        services.request_stop(server, who=author_of(request), why=WHY, at_once=at_once)
        (server,) = rows_after([server.pk], following.stop_outcome, wait)
        match following.stop_outcome(server):
            case Outcome.DONE:
                return Response(following.stop_answer(server, was_running=was_running))
            case Outcome.OVERRULED:
                return overruled(server)
            case _:
                return accepted(server)


class StartAllView(APIView):
    """Start every server of the active profile, those for requests, too; wait for all."""

    permission = "servers_app.change_server"

    @server_schema.START_ALL
    def post(self, request: Request) -> Response:
        wait, began = wait_seconds(request), time.monotonic()
        away = _away(_nodes_of_active_profile())
        activation = services.request_start_all(who=author_of(request))
        missing = [
            {"model_id": model_id, "detail": f"No model here has the id {model_id}."}
            for model_id in activation.missing
        ]
        refused = [
            {"model_id": model_id, "detail": why} for model_id, why in activation.refused
        ]
        asked = [server.pk for server in activation.started if server.node not in away]
        servers = following.wait_for(asked, following.start_outcome, seconds=wait)
        seconds = time.monotonic() - began
        return all_answer(
            ("Started", "started"),
            servers,
            following.start_outcome,
            failed=[*missing, *refused, *_not_reached(activation.started, away)],
            seconds={"startup_time_seconds": round(seconds, 2)},
        )


class StopAllView(APIView):
    """Stop every server, of `?node=` if it is given; wait for all."""

    permission = "servers_app.change_server"

    @server_schema.STOP_ALL
    def post(self, request: Request) -> Response:
        wait, at_once, began = wait_seconds(request), _at_once(request), time.monotonic()
        node = request.query_params.get("node", "")
        running = Server.objects.select_related("model").filter(state__in=RUNNING)
        if node:
            running = running.filter(node=node)
        servers = list(running)  # those that are on their way down already, too
        away = _away({server.node for server in servers})
        servers += services.request_stop_all(
            node, who=author_of(request), why=WHY, at_once=at_once
        )
        there = {server.pk for server in servers if server.node not in away}
        stopped = following.wait_for(there, following.stop_outcome, seconds=wait)
        seconds = time.monotonic() - began
        return all_answer(
            ("Stopped", "stopped"),
            stopped,
            following.stop_outcome,
            failed=_not_reached(servers, away),
            seconds={
                "startup_time_seconds": 0.0,
                "shutdown_time_seconds": round(seconds, 2),
            },
        )


# -- which, and who would do it


def _model(model_id: str) -> DiscoveredModel:
    model = find_model(model_id)
    if model is None:
        raise NotFound(unknown(model_id))
    return model


def _model_and_server(request: Request, model_id: str) -> tuple[DiscoveredModel, Server]:
    replica, model, node = _replica(request), _model(model_id), _node(request)
    server = find_server(model, replica, node)
    if server is None:
        raise NotFound(never_started(model, replica, node))
    return model, server


@contextmanager
def _saying_it_waits() -> Iterator[None]:
    """Have an error of nobody being there say that what was asked for is written down."""
    try:
        yield
    except (NoWorkerError, QueueUnavailableError) as error:
        error.args = (f"{error} {following.WHEN_BACK}",)
        raise


def _nodes_of_active_profile() -> set[str]:
    """Return the nodes that would have the servers of the active profile."""
    wishes = make_plan(require_active_profile()).wishes
    return {wish.node for wish in wishes if wish.step != Step.STOP and wish.node}


def _away(nodes: Collection[str]) -> dict[str, NoWorkerError]:
    """Return the nodes that nobody works for.

    Raises:
        NoWorkerError: nobody works for any of them.
        QueueUnavailableError: the broker cannot be reached.
    """
    away = without_worker(nodes)
    if away and len(away) == len(nodes):
        raise next(iter(away.values()))
    return away


def _not_reached(
    servers: Sequence[Server], away: dict[str, NoWorkerError]
) -> list[dict[str, Any]]:
    unreached = {server.pk: server for server in servers if server.node in away}
    return [
        named_server(server, detail=f"{away[server.node]} It is done when one is there.")
        for server in unreached.values()
    ]


# -- what is asked


def _replica(request: Request) -> int:
    raw = request.query_params.get("replica", "0")
    if raw in map(str, range(MAX_REPLICAS)):
        return int(raw)
    detail = f"replica={raw} is not a number from 0 to {MAX_REPLICAS - 1}."
    raise ValidationError({"detail": detail})


def _node(request: Request) -> str:
    """Return the node that is asked for; empty for none.

    Raises:
        UnknownNodeError: there is none of that name.
    """
    name = request.query_params.get("node", "")
    return require_node(name) if name else ""


def _flag(request: Request, name: str) -> bool:
    raw = request.query_params.get(name, "false")
    if raw.lower() not in BOOLEANS:
        raise ValidationError({"detail": f"{name}={raw} is not true or false."})
    return BOOLEANS[raw.lower()]


def _at_once(request: Request) -> bool:
    """Return `at_once` of the body, or else of the query."""
    body = request.data
    if not isinstance(body, dict):
        raise ValidationError({"detail": 'The body is a JSON object: {"at_once": true}.'})
    value = body.get("at_once", _flag(request, "at_once"))
    if not isinstance(value, bool):
        raise ValidationError({"detail": "at_once: it is true or false."})
    return value
