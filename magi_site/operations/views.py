"""The calls of /api/admin: how MAGI is, what it runs on, and what is asked of all of it."""

from collections import Counter
from typing import Any, Final

from django.urls import reverse
from django.utils import timezone
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from magi_site.exposure import is_open
from magi_site.operations import all_servers, schema
from magi_site.operations.caller import caller_of, may_manage
from magi_site.operations.component import Health
from magi_site.operations.endpoint_tests import Verdict, call_each
from magi_site.operations.endpoints import endpoints
from magi_site.operations.health import DATABASE_AWAY, Checkup, health_of, troubles
from magi_site.operations.system_info import system_info
from models_app.api import RescanView, wait_seconds
from models_app.models import ScanRoot
from profiles_app.api import author_of
from servers_app import following
from servers_app.gateway.current import current
from servers_app.services import request_stop_all

WHY: Final = "by the API, for all"
NO_GATEWAY: Final = "No gateway runs in this process. Ask the web server of MAGI."


class DiscoverView(RescanView):
    """Have the node's worker look for models: a rescan, and where it looked."""

    @schema.DISCOVER
    def post(self, request: Request) -> Response:
        answer = super().post(request)
        if answer.status_code == status.HTTP_200_OK:
            roots = ScanRoot.objects.filter(is_enabled=True)
            answer.data = {
                **answer.data,
                "message": "Discovery completed successfully",
                "scan_path": ", ".join(roots.values_list("path", flat=True)),
            }
        return answer


class HealthView(APIView):
    """Each part of MAGI, looked at now, for two seconds at most."""

    checkup: Checkup

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look at the database before it is asked who calls: that would hang with it."""
        self.checkup = Checkup()
        if self.checkup.is_database_away():
            if not is_open():
                raise _unavailable(DATABASE_AWAY)
            request.authenticators = ()
        super().initial(request, *args, **kwargs)

    @schema.HEALTH
    def get(self, request: Request) -> Response:
        parts = self.checkup.parts()
        overall = health_of(parts)
        body = {
            "timestamp": timezone.now(),
            "status": overall.value,
            "detail": troubles(parts),
            "components": {name: part.as_json() for name, part in parts.items()},
        }
        is_away = overall == Health.UNAVAILABLE
        return Response(body, status=503 if is_away else 200)


class EndpointTestsView(APIView):
    """Call every endpoint once, by GET or else OPTIONS, with what the caller may do."""

    permission = "servers_app.view_server"

    @schema.TEST_ENDPOINTS
    def post(self, request: Request) -> Response:
        from magi_site.asgi import application  # noqa: PLC0415 - it imports this, by its URLs

        running = current()
        if running is None:
            raise _unavailable(NO_GATEWAY)
        caller = caller_of(request._request)
        tests = call_each(application, caller, endpoints(), loop=running.loop)
        verdicts = Counter(test.verdict for test in tests)
        return Response(
            {
                "total": len(tests),
                **{verdict.value: verdicts[verdict] for verdict in Verdict},
                "tests": [test.as_json() for test in tests],
            }
        )


class SystemInfoView(APIView):
    """Versions, settings in force, services and hardware; paths for those who may manage."""

    @schema.SYSTEM_INFO
    def get(self, request: Request) -> Response:
        return Response(system_info(with_paths=may_manage(request)))


class RestartServersView(APIView):
    """Start every server anew that should run, and wait until they are ready."""

    permission = "servers_app.change_server"

    @schema.RESTART_SERVERS
    def post(self, request: Request) -> Response:
        wait, away = wait_seconds(request), all_servers.nodes_away(all_servers.wanted())
        asked, refused = all_servers.request_restart_all(who=author_of(request), why=WHY)
        return _answer(
            *all_servers.followed(
                "Restarted",
                asked,
                following.start_outcome,
                away=away,
                refused=refused,
                wait=wait,
            )
        )


class StopServersView(APIView):
    """Stop every server, and wait until they are gone."""

    permission = "servers_app.change_server"

    @schema.STOP_SERVERS
    def post(self, request: Request) -> Response:
        # Those that are on their way down already are waited for, too.
        wait, running = wait_seconds(request), all_servers.running()
        away = all_servers.nodes_away(running)
        asked = request_stop_all(who=author_of(request), why=WHY)
        servers = list({server.pk: server for server in (*running, *asked)}.values())
        outcome_of = following.stop_outcome
        return _answer(
            *all_servers.followed("Stopped", servers, outcome_of, away=away, wait=wait)
        )


def _unavailable(detail: str) -> APIException:
    failure = APIException(detail)
    failure.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return failure


def _answer(body: dict[str, Any], is_pending: bool) -> Response:  # noqa: FBT001 - of followed()
    if not is_pending:
        return Response(body)
    followed = {"task_id": None, "status_url": reverse("servers")}
    return Response(body | followed, status=status.HTTP_202_ACCEPTED)
