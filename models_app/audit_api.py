from typing import Any, Final

from django.core.paginator import EmptyPage, Page, Paginator
from django.db.models import Q
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app import audit_schema
from models_app.audit_models import AuditEntry
from models_app.audit_schema import AuditEntrySerializer, AuditQuerySerializer
from models_app.query_params import read_query

PAGE_SIZE: Final = 50
COLUMNS: Final = {"who": "who", "via": "via", "action": "action", "kind": "target_kind"}


class AuditView(APIView):
    """Who changed what, the newest first."""

    scope = "manage"  # names of people are in it, and what they do
    permission = {"GET": "models_app.view_auditentry"}

    @audit_schema.AUDIT
    def get(self, request: Request) -> Response:
        query = read_query(request, AuditQuerySerializer)
        entries = AuditEntry.objects.filter(
            **{column: query[name] for name, column in COLUMNS.items() if name in query}
        )
        if target := query.get("target"):
            entries = entries.filter(Q(target_id=target) | Q(target_name=target))
        page = _page(Paginator(entries, PAGE_SIZE), query.get("page", 1))
        return Response(
            {
                "count": page.paginator.count,
                "next": _path(request, page.number + 1) if page.has_next() else None,
                "previous": _path(request, page.number - 1) if page.has_previous() else None,
                "entries": AuditEntrySerializer(list(page), many=True).data,
            }
        )


def _page(pages: Paginator[AuditEntry], number: int) -> Page[AuditEntry]:
    try:
        return pages.page(number)
    except EmptyPage as error:
        there_are = "is 1" if pages.num_pages == 1 else f"are {pages.num_pages}"
        msg = f"page={number}: there {there_are}."
        raise NotFound(msg) from error


def _path(request: Request, page: int) -> str:
    parameters: Any = request.query_params.copy()
    parameters["page"] = str(page)
    return f"{request.path}?{parameters.urlencode()}"
