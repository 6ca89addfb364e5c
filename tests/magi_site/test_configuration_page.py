"""docs/configuration.md lists every variable that MAGI reads, and no other."""

import re
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    code = (ROOT / "magi_site" / "settings.py").read_text()
    page = (ROOT / "docs" / "configuration.md").read_text()

    read = set(re.findall(r'(?:env_\w+|environ\.get)\(\s*"([A-Z_]+)"', code))
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))

    assert documented == read
