"""The tags of the admin's templates: `{% load magi %}`."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.forms import Media

from magi_site.navigation import Navigation, navigation_of
from models_app.charts import Chart, Drawing, draw
from models_app.downloads.figures import size_text
from servers_app.figures import milliseconds, span

register = template.Library()

# A third of a megabyte for the slugs of forms; ours are made on the server.
NOT_NEEDED = ("/xregexp/", "/urlify.js", "/prepopulate.js")


@register.simple_tag(takes_context=True)
def navigation(context: dict[str, Any]) -> Navigation:
    """Return what stands at the top of the page that is asked for."""
    request = context["request"]
    return navigation_of(request.user, request.path)


@register.filter
def span_of(seconds: float) -> str:
    """Return a span of time in words: `{{ age|span_of }} ago`."""
    return span(seconds)


@register.filter
def gib(n_bytes: int | None) -> str:
    """Return bytes of memory in GiB, as the rest of MAGI counts it."""
    return "-" if n_bytes is None else f"{n_bytes / 2**30:.1f} GiB"


@register.filter
def stored(n_bytes: int | None) -> str:
    """Return bytes of a disk or a file, by thousands, as hubs and `pull` count them."""
    return "-" if n_bytes is None else size_text(n_bytes)


@register.filter
def whole(count: int | None) -> str:
    """Return a count with its thousands apart."""
    return "-" if count is None else f"{count:,}"


@register.filter
def rounded(value: float | None, unit: str = "") -> str:
    """Return a figure with one decimal: `{{ percent|rounded:" %" }}`."""
    return "-" if value is None else f"{value:,.1f}{unit}"


@register.filter(name="milliseconds")
def milliseconds_of(ms: float | str | None) -> str:
    """Return a span of milliseconds; what a template does not find is none."""
    return milliseconds(None if isinstance(ms, str) else ms)


@register.filter
def spoken(value: object) -> str:
    """Return a setting's value as a person would write it: lists and tables in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@register.filter
def needed(media: Media) -> Media:
    """Return the scripts and styles of a form without those that no page of ours needs."""
    scripts = [path for path in media._js if not any(part in str(path) for part in NOT_NEEDED)]  # type: ignore[attr-defined]
    return Media(css=media._css, js=scripts)  # type: ignore[attr-defined]


@register.inclusion_tag("admin/magi/chart.html")
def chart(figures: Chart) -> dict[str, Drawing]:
    """Draw a chart: `{% chart requests %}`."""
    return {"drawing": draw(figures)}
