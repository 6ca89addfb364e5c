"""The pages on MAGI itself: how its parts are, whether its calls answer, what it runs on."""

from collections import Counter
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from magi_site.operations.caller import caller_of
from magi_site.operations.endpoint_tests import Seen, Verdict, call_each
from magi_site.operations.endpoints import endpoints
from magi_site.operations.health import Checkup, health_of, troubles
from magi_site.operations.system_info import system_info
from magi_site.pages.page import AdminPage
from models_app.models import Scan, ScanRoot
from models_app.rescan_admin import RESCAN, rescan_context
from servers_app.gateway.current import current

SHOWN_SCANS: Final = 3
MAY_MANAGE: Final = "servers_app.change_server"


class HealthPage(AdminPage):
    """Each part of MAGI, looked at now, and where models are looked for."""

    title = "Health"
    permission = "servers_app.view_server"
    template_name = "admin/magi/system_health.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        parts = Checkup().parts()
        return super().get_context_data(
            parts=parts,
            overall=health_of(parts),
            troubles=troubles(parts),
            nodes=parts["nodes"].figures.get("nodes", []),
            roots=ScanRoot.objects.all(),
            scans=Scan.objects.defer("report")[:SHOWN_SCANS],
            may_rescan=self.request.user.has_perm(RESCAN),
            **rescan_context(self.request),
            **kwargs,
        )


class EndpointsPage(AdminPage):
    """Whether every call of the API answers: each is made once, by a button."""

    title = "Endpoint tests"
    permission = "servers_app.view_server"
    template_name = "admin/magi/system_endpoints.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        from magi_site.asgi import application  # noqa: PLC0415 - it imports this, by its URLs

        running = current()
        if running is None:
            text = "No gateway runs in this process. Open this page at MAGI's web server."
            messages.error(request, text)
            return HttpResponseRedirect(request.path)
        tests = call_each(application, caller_of(request), endpoints(), loop=running.loop)
        verdicts = Counter(test.verdict for test in tests)
        context = self.get_context_data(
            tests=sorted(tests, key=_worst_first),
            verdicts=[(verdict, verdicts[verdict]) for verdict in Verdict],
        )
        return self.render_to_response(context)


class SettingsPage(AdminPage):
    """What MAGI runs on, and each setting in force with where it is from."""

    title = "Settings and system"
    permission = "servers_app.view_server"
    template_name = "admin/magi/system_settings.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        with_paths = self.request.user.has_perm(MAY_MANAGE)
        info = system_info(with_paths=with_paths)
        return super().get_context_data(info=info, **kwargs)


def _worst_first(test: Seen) -> tuple[int, str]:
    order = (Verdict.FAILED, Verdict.REFUSED, Verdict.PASSED)
    return order.index(test.verdict), test.endpoint.path
