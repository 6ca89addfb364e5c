"""The disk that MAGI writes to: of the data folder, and of the database where that is a file.

Neither the database nor the queue is asked, so it is told while they are away.
"""

from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection

from magi_site.operations.component import Component, Health
from models_app.downloads.figures import size_text
from models_app.space import space_of

SQLITE_FILES: Final = ("", "-wal", "-shm")


def look_at_disk() -> Component:
    places = {"the data folder": Path(settings.MAGI_DATA_DIR)}
    database = _database_file()
    if database is not None:
        places["the database"] = database.parent
    spaces = {name: space_of(folder) for name, folder in places.items()}
    name, space = min(spaces.items(), key=lambda item: item[1].free_bytes)
    figures: dict[str, Any] = {
        "free_bytes": space.free_bytes,
        "total_bytes": space.total_bytes,
        "database_bytes": None if database is None else _size(database),
    }
    detail = f"{size_text(space.free_bytes)} of {size_text(space.total_bytes)} free"
    if space.is_full:
        what = f"The disk of {name} is full ({detail}): nothing can be written down, and no "
        what += "server is launched. Free some of it."
        return Component(Health.UNAVAILABLE, what, figures)
    if space.is_low:
        what = f"The disk of {name} will be full soon: {detail}. Free some of it, or have less "
        what += "kept (docs/retention.md)."
        return Component(Health.DEGRADED, what, figures)
    return Component(Health.HEALTHY, f"{detail}.", figures)


def _database_file() -> Path | None:
    if connection.vendor != "sqlite":
        return None
    return Path(str(connection.settings_dict["NAME"])).absolute()


def _size(database: Path) -> int:
    files = [database.with_name(f"{database.name}{end}") for end in SQLITE_FILES]
    return sum(file.stat().st_size for file in files if file.exists())
