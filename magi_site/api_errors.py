"""Turn the apps' errors into HTTP statuses; the one place that knows both."""

import logging
from collections.abc import Mapping
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from models_app.errors import (
    AlreadyThereError,
    DiskFullError,
    DownloadError,
    FilesChangedError,
    GatedError,
    InvalidReferenceError,
    InvalidSearchError,
    NoQuantError,
    NoTierError,
    NotOnNodeError,
    NoWorkerError,
    OfflineError,
    QueueUnavailableError,
    UnavailableError,
    UnknownModelError,
    UnknownNodeError,
    UnknownReferenceError,
    UnknownTaskError,
    UnsupportedDownloadError,
)
from models_app.failures import failure_of
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
    AmbiguousNameError,
    BenchmarkInvalidError,
    BenchmarkNotFinishedError,
    BenchmarkNotFoundError,
    ComparisonInvalidError,
    ComparisonNotFoundError,
    EngineError,
    NoFreePortError,
    NoHardwareError,
    NoNodeError,
    NoSuitableModelError,
    NothingFitsError,
    NotLaunchableError,
    NotSwitchableError,
    TuningInvalidError,
    TuningNotAppliedError,
    UnknownNameError,
    UnknownTaskKindError,
)
from servers_app.manager.envelope import PREFIX, code_of, failed

logger = logging.getLogger(__name__)

STATUS_CODES: Mapping[type[Exception], int] = {
    NoWorkerError: status.HTTP_503_SERVICE_UNAVAILABLE,
    QueueUnavailableError: status.HTTP_503_SERVICE_UNAVAILABLE,
    UnknownModelError: status.HTTP_404_NOT_FOUND,
    UnknownTaskError: status.HTTP_404_NOT_FOUND,
    UnknownNodeError: status.HTTP_404_NOT_FOUND,
    NotOnNodeError: status.HTTP_409_CONFLICT,
    AlreadyThereError: status.HTTP_409_CONFLICT,
    NoTierError: status.HTTP_409_CONFLICT,
    FilesChangedError: status.HTTP_409_CONFLICT,
    InvalidReferenceError: status.HTTP_400_BAD_REQUEST,
    InvalidSearchError: status.HTTP_400_BAD_REQUEST,
    UnknownReferenceError: status.HTTP_404_NOT_FOUND,
    NoQuantError: status.HTTP_404_NOT_FOUND,
    GatedError: status.HTTP_409_CONFLICT,
    UnsupportedDownloadError: status.HTTP_409_CONFLICT,
    OfflineError: status.HTTP_503_SERVICE_UNAVAILABLE,
    UnavailableError: status.HTTP_503_SERVICE_UNAVAILABLE,
    DiskFullError: status.HTTP_507_INSUFFICIENT_STORAGE,
    DownloadError: status.HTTP_502_BAD_GATEWAY,  # what came, or what was done with it
    NoActiveProfileError: status.HTTP_404_NOT_FOUND,
    ProfileNotFoundError: status.HTTP_404_NOT_FOUND,
    VersionNotFoundError: status.HTTP_404_NOT_FOUND,
    ProfileInvalidError: status.HTTP_400_BAD_REQUEST,
    ProfileExistsError: status.HTTP_409_CONFLICT,
    ProfileChangedError: status.HTTP_409_CONFLICT,
    ProfileInUseError: status.HTTP_409_CONFLICT,
    ProfileNotActivatedError: status.HTTP_409_CONFLICT,
    BenchmarkInvalidError: status.HTTP_400_BAD_REQUEST,
    BenchmarkNotFinishedError: status.HTTP_409_CONFLICT,
    BenchmarkNotFoundError: status.HTTP_404_NOT_FOUND,
    ComparisonInvalidError: status.HTTP_400_BAD_REQUEST,
    ComparisonNotFoundError: status.HTTP_404_NOT_FOUND,
    EngineError: status.HTTP_503_SERVICE_UNAVAILABLE,
    NoFreePortError: status.HTTP_503_SERVICE_UNAVAILABLE,
    NoNodeError: status.HTTP_409_CONFLICT,
    NotLaunchableError: status.HTTP_409_CONFLICT,
    TuningInvalidError: status.HTTP_400_BAD_REQUEST,
    TuningNotAppliedError: status.HTTP_409_CONFLICT,
    NoHardwareError: status.HTTP_404_NOT_FOUND,
    NothingFitsError: status.HTTP_409_CONFLICT,
    UnknownTaskKindError: status.HTTP_400_BAD_REQUEST,
    NoSuitableModelError: status.HTTP_404_NOT_FOUND,
    UnknownNameError: status.HTTP_404_NOT_FOUND,
    AmbiguousNameError: status.HTTP_409_CONFLICT,
    NotSwitchableError: status.HTTP_409_CONFLICT,
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER, after translating an error of ours.

    The answer is JSON, whatever was asked for: an error is no profile, and no page. Under
    /ai/ it has the shape of all answers there.
    """
    request = context.get("request")
    if request is not None:
        request.accepted_renderer = JSONRenderer()
        request.accepted_media_type = JSONRenderer.media_type
    response = _answer(exc, context)
    if response is not None:
        response.data = _in_utf8(response.data)
    if response is not None and request is not None and request.path.startswith(PREFIX):
        failure = failure_of(exc)
        code = failure.code if failure is not None else code_of(exc)
        response.data = failed(_sentence(response.data), code)
    return response


def _in_utf8(data: Any) -> Any:
    """Return an answer as it can be sent: what it quotes may hold halves of characters."""
    if isinstance(data, dict):
        return {_in_utf8(key): _in_utf8(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_in_utf8(item) for item in data]
    return data.encode(errors="replace").decode() if isinstance(data, str) else data


def _sentence(data: Any) -> str:
    if not isinstance(data, dict):
        return " ".join(map(str, data))
    return str(data["detail"]) if "detail" in data else str(data)


def _answer(exc: Exception, context: dict[str, Any]) -> Response | None:
    # A subclass is answered as what it is one of, unless it has a code of its own.
    codes = (STATUS_CODES[kind] for kind in type(exc).__mro__ if kind in STATUS_CODES)
    if code := next(codes, None):
        translated = APIException(str(exc))
        translated.status_code = code
        return drf_exception_handler(translated, context)
    failure = None if isinstance(exc, APIException) else failure_of(exc)
    if failure is not None:
        logger.error("%s: a call of the API failed.", failure.title, exc_info=exc)
        translated = APIException(failure.detail)
        translated.status_code = failure.status
        return drf_exception_handler(translated, context)
    return drf_exception_handler(exc, context)
