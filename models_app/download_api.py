"""The calls that fetch models from hubs, and follow that."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app import download_schema
from models_app.api import wait_seconds
from models_app.download_models import UNDER_WAY, Download, DownloadSource, DownloadState
from models_app.downloads.figures import as_json
from models_app.downloads.outcomes import error_of
from models_app.downloads.references import checked_revision, parse_reference
from models_app.downloads.service import cancel_download, request_download, wait_for
from models_app.query_params import read_query
from models_app.queue import require_worker


class DownloadListView(APIView):
    """What was fetched and is being fetched, the newest first; fetch something."""

    permission = "models_app.add_download"

    @download_schema.LIST
    def get(self, request: Request) -> Response:
        query = read_query(request, download_schema.ListQuerySerializer)
        rows = _rows()
        if state := query.get("state"):
            is_one = state != download_schema.UNDER_WAY_WORD
            rows = rows.filter(state__in=[state] if is_one else UNDER_WAY)
        if node := query.get("node"):
            rows = rows.filter(node=node)
        shown = rows[: query.get("limit", download_schema.DEFAULT_LIMIT)]
        return Response({"count": rows.count(), "downloads": [as_json(row) for row in shown]})

    @download_schema.PULL
    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        asked = valid_body(
            download_schema.PullSerializer, request.data, '{"reference": "org/repo:QUANT"}'
        )
        parse_reference(asked["reference"], source=asked["source"])
        checked_revision(asked["revision"])
        node = asked["node"] or settings.MAGI_NODE
        require_worker(node)
        download = request_download(
            asked["reference"],
            source=asked["source"],
            node=node,
            revision=asked["revision"],
            limit_bytes_per_s=asked["limit_bytes_per_s"],
        )
        download = wait_for(download.pk, seconds=wait, until=lambda row: not row.is_under_way)
        return answer_of(download)


class DownloadView(APIView):
    """One download: how far it is, and what of it is there."""

    @download_schema.SHOW
    def get(self, request: Request, pk: int) -> Response:
        return Response(as_json(_get(pk)))


class DownloadCancelView(APIView):
    """Stop a download. What came of it stays, and the next one goes on from there."""

    permission = "models_app.change_download"

    @download_schema.CANCEL
    def post(self, request: Request, pk: int) -> Response:
        wait, download = wait_seconds(request), _get(pk)
        was_under_way = download.is_under_way
        cancel_download(download)
        download = wait_for(pk, seconds=wait, until=lambda row: not row.is_under_way)
        if download.is_under_way:
            return _goes_on(download, "It is being cancelled")
        if not was_under_way:
            message = f"Nothing to cancel: {download.reference} had ended before"
        else:
            message = _ended_words(download)
        return Response({"message": message, **as_json(download)})


def _rows() -> QuerySet[Download]:
    return Download.objects.select_related("model")


def _get(pk: int) -> Download:
    download = _rows().filter(pk=pk).first() if pk <= download_schema.MAX_ID else None
    if download is None:
        msg = f"Download not found: {pk}. GET /api/models/downloads lists them."
        raise NotFound(msg)
    return download


def answer_of(download: Download) -> Response:
    """Answer whoever has asked for a download and waited: what became of it, or where to look.

    Raises:
        DownloadError: it failed.
    """
    if download.is_under_way:
        return _goes_on(download)
    if download.state == DownloadState.FAILED:
        raise error_of(download.error_code, download.error)
    return Response({"message": _ended_words(download), **as_json(download)})


def valid_body(
    kind: type[serializers.Serializer[Any]], data: Any, example: str
) -> dict[str, Any]:
    """Return what a body asks for.

    Raises:
        ValidationError: it is no object, or the first field of it that is wrong.
    """
    if not isinstance(data, dict):
        raise ValidationError({"detail": f"The body is an object, such as {example}."})
    serializer = kind(data=data)
    if not serializer.is_valid():
        name, why = next(iter(serializer.errors.items()))
        first = why[0] if isinstance(why, list) else why
        raise ValidationError({"detail": f"{name}: {first}"})
    values: dict[str, Any] = serializer.validated_data
    return values


def _goes_on(download: Download, message: str = "") -> Response:
    body = {
        "message": message or f"{_what(download)} goes on",
        "task_id": None,
        "status_url": reverse("download", args=[download.pk]),
        **as_json(download),
    }
    return Response(body, status=status.HTTP_202_ACCEPTED)


def _ended_words(download: Download) -> str:
    if download.state == DownloadState.FINISHED:
        model = download.model
        if download.source == DownloadSource.NODE:
            return f"{download.reference} is on node {download.node}, not started"
        named = f" as {model.model_id}, not enabled by that" if model else ""
        return f"{download.reference} is here, registered{named}"
    return f"{_what(download)} is {download.get_state_display().lower()}"


def _what(download: Download) -> str:
    if download.source == DownloadSource.NODE:
        return f"The copy of {download.reference} to node {download.node}"
    return f"The download of {download.reference}"
