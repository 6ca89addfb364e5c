"""Every endpoint of the API, from its URLs, with a path at which it can be called."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from uuid import uuid4

from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from magi_site import schema_streams, schema_v1
from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from servers_app.models import Server

NOT_THERE: Final = "not-there"
_PARAMETER: Final = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


class Endpoint(NamedTuple):
    """A call that changes nothing: GET, or OPTIONS where there is no GET."""

    name: str
    method: str
    path: str


def endpoints() -> list[Endpoint]:
    """Return one call of each endpoint: what Django serves, and what it does not."""
    values = samples()
    django = [
        Endpoint(pattern.name or view.__name__, _method(view), path)
        for path, pattern in _patterns(get_resolver(), "/", values)
        if (view := _view(pattern)) is not None
    ]
    # Streams and the gateway; those that only take POST would have a model work.
    beside = [
        Endpoint(str(operations["get"]["operationId"]), "GET", path.format_map(values))
        for path, operations in {**schema_streams.PATHS, **schema_v1.PATHS}.items()
        if "get" in operations
    ]
    return [*django, *beside]


def samples() -> Mapping[str, str]:
    """Return a value for each parameter of a path: of what is here, where something is."""
    server = Server.objects.select_related("model").first()
    model = server.model if server else DiscoveredModel.objects.first()
    profile = Profile.objects.order_by("-is_active", "slug").first()
    model_id = model.model_id if model else NOT_THERE
    known = {
        "model_id": model_id,
        "model": model_id,
        "name": profile.slug if profile else NOT_THERE,
        "tier": "fast",
    }
    return defaultdict(lambda: NOT_THERE, known)


def _patterns(
    resolver: URLResolver, prefix: str, values: Mapping[str, str]
) -> Iterator[tuple[str, URLPattern]]:
    """Yield every pattern below `resolver`, and a path that it matches."""

    def value(parameter: re.Match[str]) -> str:
        if parameter["name"] in values:
            return values[parameter["name"]]
        return {"uuid": str(uuid4()), "int": "0"}.get(parameter["converter"], NOT_THERE)

    for pattern in resolver.url_patterns:
        path = prefix + _PARAMETER.sub(value, str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, path, values)
        else:
            yield path, pattern


def _view(pattern: URLPattern) -> type[APIView] | None:
    view: Any = getattr(pattern.callback, "cls", None)
    return view if isinstance(view, type) and issubclass(view, APIView) else None


def _method(view: type[APIView]) -> str:
    """Return how it is called: what would have a hub elsewhere answer is not asked for that."""
    is_ours = hasattr(view, "get") and not getattr(view, "asks_a_hub", False)
    return "GET" if is_ours else "OPTIONS"
