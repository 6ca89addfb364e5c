"""The filter of a search's page: `{% load tuning %}`."""

from django import template

from servers_app.benchmark_models import Benchmark
from servers_app.tuning.shown import ShownTuning, tuning_of

register = template.Library()


@register.filter
def tuning(benchmark: Benchmark) -> ShownTuning:
    """Return what a search came to: `{% with tuning=benchmark|tuning %}`."""
    return tuning_of(benchmark)
