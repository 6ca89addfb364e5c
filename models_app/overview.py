"""What stands above the list of models: where they are looked for, and what came of it."""

from dataclasses import dataclass

from django.db.models import Count, Max, Q

from models_app.models import DiscoveredModel, Scan, ScanRoot

SHOWN_ROOTS = 6


@dataclass(frozen=True, slots=True)
class Overview:
    roots: list[ScanRoot]  # the first of them
    more_roots: int
    last_scans: list[Scan]  # of each node, without its report
    total: int
    missing: int
    broken: int
    overridden: int


def overview() -> Overview:
    """Return it; three queries, however many models there are."""
    roots = list(ScanRoot.objects.filter(is_enabled=True))
    counts = DiscoveredModel.objects.aggregate(
        total=Count("pk"),
        missing=Count("pk", filter=Q(is_missing=True)),
        broken=Count("pk", filter=~Q(problem="")),
        overridden=Count(
            "pk", filter=~Q(tier_override="") | Q(thinking_override__isnull=False)
        ),
    )
    return Overview(roots[:SHOWN_ROOTS], len(roots[SHOWN_ROOTS:]), last_scans(), **counts)


def last_scans() -> list[Scan]:
    """Return the newest scan of each node, without its report."""
    newest = Scan.objects.order_by().values("node").annotate(newest=Max("pk"))
    scans = Scan.objects.filter(pk__in=newest.values("newest")).defer("report")
    return list(scans.order_by("node"))
