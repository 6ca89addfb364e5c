"""Turn the apps' errors into HTTP statuses; the one place that knows both."""

from collections.abc import Mapping
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from models_app.errors import NoWorkerError, QueueUnavailableError
from profiles_app.errors import ProfileNotFoundError
from servers_app.errors import NoFreePortError, NotLaunchableError

STATUS_CODES: Mapping[type[Exception], int] = {
    NoWorkerError: status.HTTP_503_SERVICE_UNAVAILABLE,
    QueueUnavailableError: status.HTTP_503_SERVICE_UNAVAILABLE,
    ProfileNotFoundError: status.HTTP_404_NOT_FOUND,
    NoFreePortError: status.HTTP_503_SERVICE_UNAVAILABLE,
    NotLaunchableError: status.HTTP_409_CONFLICT,
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER, after translating an error of ours."""
    if code := STATUS_CODES.get(type(exc)):
        translated = APIException(str(exc))
        translated.status_code = code
        return drf_exception_handler(translated, context)
    return drf_exception_handler(exc, context)
