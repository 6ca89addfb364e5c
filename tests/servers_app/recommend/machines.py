"""Made-up machines."""

from servers_app.hardware import Gpu, Hardware

GIB = 2**30
MIB = 2**20


def hardware(
    total_gib: float = 16,
    available_gib: float | None = None,
    *,
    cores: int = 4,
    gpus: tuple[Gpu, ...] = (),
    bandwidth_gb_per_s: float | None = None,
    cpu_limit: float | None = None,
) -> Hardware:
    """Return a machine; without a word on it, all of its memory is available."""
    available = total_gib if available_gib is None else available_gib
    return Hardware(
        cpu="A made-up processor",
        physical_cores=cores,
        logical_cores=2 * cores,
        total_bytes=round(total_gib * GIB),
        available_bytes=round(available * GIB),
        swap_total_bytes=0,
        swap_used_bytes=0,
        gpus=gpus,
        notes=(),
        read_at=0.0,
        cpu_limit=cpu_limit,
        memory_bandwidth_bytes_per_s=(
            None if bandwidth_gb_per_s is None else round(bandwidth_gb_per_s * 1e9)
        ),
    )


def gpu(total_gib: float = 24, free_gib: float | None = None, **fields: object) -> Gpu:
    total = round(total_gib * GIB)
    free = total if free_gib is None else round(free_gib * GIB)
    values: dict[str, object] = {
        "name": "A GPU", "total_bytes": total, "free_bytes": free, "used_bytes": total - free
    }  # fmt: skip
    return Gpu(**{**values, **fields})  # type: ignore[arg-type]  # a test's own words
