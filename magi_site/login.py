"""What django-axes, which counts the failed sign-ins, is told by us and says through us."""

import math
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone


def locked_out(
    request: HttpRequest, _response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """Say when to try again, whether the password was right or not."""
    attempts = AccessAttempt.objects.filter(
        username=(credentials or {}).get("username"), ip_address=address(request)
    )
    last = attempts.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    until = (last or timezone.now()) + settings.AXES_COOLOFF_TIME
    seconds = max(1, math.ceil((until - timezone.now()).total_seconds()))
    context = {"until": until, "minutes": math.ceil(seconds / 60)}
    response = render(request, "admin/locked_out.html", context, status=429)
    response["Retry-After"] = str(seconds)
    return response


def address(request: HttpRequest) -> str | None:
    """Return whose request it is: magi_site/asgi.py has seen to proxies."""
    return request.META.get("REMOTE_ADDR")


def client_in_logs(
    _username: str, ip_address: str, _user_agent: str, _path: str, _request: HttpRequest
) -> str:
    """Name a client by its address: people type passwords into the field for names."""
    return f"a client at {ip_address}"
