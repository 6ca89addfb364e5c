"""A restore that stops in its middle, for somebody to kill it.

python -m tests.magi_site.slow_restore ARCHIVE SIGN
"""

import os
import sys
import threading
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "magi_site.settings")
django.setup()

from magi_site.backup.restoring import require_restorable, restore  # noqa: E402
from models_app.models import DiscoveredModel  # noqa: E402


class StopsInTheMiddle:
    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def table(self, label: str, rows: int) -> None:
        if label == "servers_app.Server":  # which comes after the models
            self._sign.with_suffix(".tmp").write_text(
                f"{DiscoveredModel.objects.count()} models"
            )
            self._sign.with_suffix(".tmp").replace(self._sign)
            threading.Event().wait()

    def rows(self, count: int) -> None:
        pass


if __name__ == "__main__":
    path = Path(sys.argv[1])
    restore(path, require_restorable(path), StopsInTheMiddle(Path(sys.argv[2])), replace=True)
