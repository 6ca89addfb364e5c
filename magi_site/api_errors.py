"""Turn the apps' errors into HTTP statuses; the one place that knows both."""

import logging
from collections.abc import Mapping
from typing import Any

from django.db import OperationalError
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from models_app.errors import (
    NoTierError,
    NoWorkerError,
    QueueUnavailableError,
    UnknownModelError,
    UnknownTaskError,
)
from profiles_app.errors import (
    NoActiveProfileError,
    ProfileChangedError,
    ProfileExistsError,
    ProfileInUseError,
    ProfileInvalidError,
    ProfileNotActivatedError,
    ProfileNotFoundError,
    VersionNotFoundError,
)
from servers_app.errors import (
    EngineError,
    NoFreePortError,
    NotLaunchableError,
)

logger = logging.getLogger(__name__)

DATABASE_AWAY = (
    "The database does not answer, so this was not done. Try again; GET "
    "/api/admin/health/detailed says what is wrong."
)
STATUS_CODES: Mapping[type[Exception], int] = {
    NoWorkerError: status.HTTP_503_SERVICE_UNAVAILABLE,
    QueueUnavailableError: status.HTTP_503_SERVICE_UNAVAILABLE,
    UnknownModelError: status.HTTP_404_NOT_FOUND,
    UnknownTaskError: status.HTTP_404_NOT_FOUND,
    NoTierError: status.HTTP_409_CONFLICT,
    NoActiveProfileError: status.HTTP_404_NOT_FOUND,
    ProfileNotFoundError: status.HTTP_404_NOT_FOUND,
    VersionNotFoundError: status.HTTP_404_NOT_FOUND,
    ProfileInvalidError: status.HTTP_400_BAD_REQUEST,
    ProfileExistsError: status.HTTP_409_CONFLICT,
    ProfileChangedError: status.HTTP_409_CONFLICT,
    ProfileInUseError: status.HTTP_409_CONFLICT,
    ProfileNotActivatedError: status.HTTP_409_CONFLICT,
    EngineError: status.HTTP_503_SERVICE_UNAVAILABLE,
    NoFreePortError: status.HTTP_503_SERVICE_UNAVAILABLE,
    NotLaunchableError: status.HTTP_409_CONFLICT,
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER, after translating an error of ours.

    The answer is JSON, whatever was asked for: an error is no profile, and no page.
    """
    if (request := context.get("request")) is not None:
        request.accepted_renderer = JSONRenderer()
        request.accepted_media_type = JSONRenderer.media_type
    if isinstance(exc, OperationalError):
        logger.error("The database failed a call of the API.", exc_info=exc)
        translated = APIException(DATABASE_AWAY)
        translated.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return drf_exception_handler(translated, context)
    # A subclass is answered as what it is one of, unless it has a code of its own.
    codes = (STATUS_CODES[kind] for kind in type(exc).__mro__ if kind in STATUS_CODES)
    if code := next(codes, None):
        translated = APIException(str(exc))
        translated.status_code = code
        return drf_exception_handler(translated, context)
    return drf_exception_handler(exc, context)
