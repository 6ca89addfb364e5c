"""`.ci/audit.py`: what it makes of pip-audit's report, and of none."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from packaging.specifiers import SpecifierSet

CI = Path(settings.BASE_DIR) / ".ci"
KNOWN = tomllib.loads((CI / "known_bad.toml").read_text())["packages"]


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", CI / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *ids: str) -> dict[str, Any]:
    vulns = [{"id": each, "fix_versions": ["9.9"]} for each in ids]
    return {"name": name, "version": "1.0", "vulns": vulns}


def skipped(name: str) -> dict[str, str]:
    return {"name": name, "skip_reason": "Dependency not found on PyPI"}


def test_an_advisory_is_told(audit: Any) -> None:
    (line,) = audit.advisories([package("django", "CVE-1"), package("celery")])

    assert line == "django 1.0: CVE-1; see ['9.9']"


def test_a_report_without_packages_is_none_rather_than_a_clean_one(audit: Any) -> None:
    assert audit.advisories([skipped("django"), skipped("celery"), package("x")]) is None
    assert audit.advisories([package("django"), skipped("of-ours-alone")]) == []


def test_a_version_on_the_list_is_told(audit: Any) -> None:
    old = {"django": "5.2.4", "h11": "0.14.0"}

    found = list(audit.known_bad(KNOWN, old.get))

    assert [line.split(":")[0] for line in found] == ["django 5.2.4", "h11 0.14.0"]


def test_what_is_installed_is_pinned_and_not_on_the_list(audit: Any) -> None:
    assert list(audit.unpinned()) == []
    assert list(audit.known_bad(KNOWN, audit._installed)) == []


def test_each_entry_of_the_list_names_versions_and_an_advisory() -> None:
    for entries in KNOWN.values():
        for entry in entries:
            assert SpecifierSet(entry["versions"])
            assert entry["id"].startswith("CVE-")
