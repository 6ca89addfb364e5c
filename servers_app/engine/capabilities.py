"""What a llama-server can do, read out of what it prints about itself.

Formats: `--version`, `--help` and `--list-devices` of llama.cpp, builds 3600 to 11434
(common_arg::to_string in common/arg.cpp).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

EMBEDDED: Final = "embedded"  # the path of the embedded engine
FIRST_SAFE_BUILD: Final = 8146  # CVE-2026-27940, GHSA-3p4r-fq3f-q74v
MAX_LINE_CHARS: Final = 1000
MAX_FLAGS: Final = 4000
MAX_DEVICES: Final = 64

_VERSION = re.compile(
    r"^version: +(?P<text>(?P<old>\d{1,9}) \((?P<old_commit>[0-9a-f]{1,64})\)"
    r"|[\w.+~-]{1,64} \(build (?P<new>\d{1,9}), commit (?P<new_commit>[\w-]{1,64})\))",
    re.ASCII | re.MULTILINE,
)
# Names, what they take behind one space, and the text behind three or on the next line.
# Builds before 3700 indent a flag by up to nine spaces; the text of others by forty.
_FLAG = re.compile(
    r" {0,9}(?P<names>--?[A-Za-z][\w.-]*(?:, +--?[A-Za-z][\w.-]*)*)"
    r"(?: (?P<value>[!-~]+(?: [!-~]+)*))?(?:  +(?P<text>[^ ].*))?\s*",
    re.ASCII,
)
_REMOVED = "the argument has been removed"
_QUOTED_WORD = re.compile(r"'([a-z][a-z-]*)'")
_DEVICE = re.compile(
    r" +(?P<name>[\w.:-]{1,64}): (?P<description>[^\x00-\x1f\x7f]{0,200}) "
    r"\((?P<total>\d{1,9}) MiB, (?P<free>\d{1,9}) MiB free\)\s*",
    re.ASCII,
)


class _Listed(NamedTuple):
    """A flag of the help: all of its names, and what is said of it."""

    names: list[str]
    value: str
    text: list[str]

    @property
    def full_value(self) -> str:
        if not self.value.isupper():  # no placeholder such as N, MODE or TYPE
            return self.value
        words = _QUOTED_WORD.findall(" ".join(self.text))
        return "|".join(dict.fromkeys([self.value, *words]))


class Version(NamedTuple):
    text: str = ""  # as it prints it; empty if it says none
    build: int | None = None  # b11434 is 11434; None where whoever built it did not say
    commit: str = ""

    @property
    def warning(self) -> str:
        if self.build is None or self.build >= FIRST_SAFE_BUILD:
            return ""
        return (
            f"Build {self.build} is older than {FIRST_SAFE_BUILD}: a GGUF file can be made to "
            "overwrite its memory (CVE-2026-27940). Install a newer llama-server."
        )


class Device(NamedTuple):
    """What layers can be put on, in MiB; `free_mib` is of when it was asked."""

    name: str
    description: str
    total_mib: int
    free_mib: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One llama-server, as it describes itself."""

    path: str  # EMBEDDED for the embedded engine
    version: Version
    flags: Mapping[str, str]  # each with the value it takes, empty for a switch
    devices: Sequence[Device] = ()

    def __str__(self) -> str:
        who = "the embedded engine" if self.path == EMBEDDED else "this llama-server"
        return who if self.version.build is None else f"{who} (build {self.version.build})"

    @property
    def warning(self) -> str:
        """Why it should not be used any more; empty if nothing speaks against it."""
        return self.version.warning

    def has(self, *flags: str) -> bool:
        return all(flag in self.flags for flag in flags)

    def takes_value(self, flag: str) -> bool:
        return bool(self.flags.get(flag))

    def takes_word(self, flag: str, word: str) -> bool:
        """Return whether `word` is among those that the flag's help lists."""
        return word in re.split(r"[^\w+-]+", self.flags.get(flag, ""))

    def values_of(self, flag: str) -> int:
        """Return how many items of the command line the flag takes: `FNAME SCALE` is two."""
        return len(re.sub(r"<[^>]*>", "X", self.flags.get(flag, "")).split())


def parse_version(text: str) -> Version:
    """Read `version: 8951 (abc1234)`, or `version: 0.6.0-dev (build 11434, commit abc1234)`.

    Distributions print build 0, commit unknown: they did not build it from a clone.
    """
    found = _VERSION.search(text)
    if found is None:
        return Version()
    commit = found["old_commit"] or found["new_commit"]
    return Version(
        text=found["text"],
        build=int(found["old"] or found["new"]) or None,
        commit="" if commit == "unknown" else commit,
    )


def parse_help(text: str) -> dict[str, str]:
    """Return the flags that `--help` lists, each with the value it takes.

    Words that the text puts in quotes belong to the value, `N|auto|all`. What is listed as
    removed is left out: it ends llama-server.
    """
    listed: list[_Listed] = []
    for line in text.splitlines():
        found = _FLAG.fullmatch(line) if len(line) <= MAX_LINE_CHARS else None
        if found is not None and len(listed) < MAX_FLAGS:
            names = re.split(", +", found["names"])
            listed.append(_Listed(names, found["value"] or "", [found["text"] or ""]))
        elif listed and line.startswith(" "):
            listed[-1].text.append(line.strip())
    return {
        name: flag.full_value
        for flag in listed
        if not " ".join(flag.text).lstrip().startswith(_REMOVED)
        for name in flag.names
    }


def parse_devices(text: str) -> list[Device]:
    """Read what `--list-devices` prints, a line for each but the processor."""
    found = filter(None, map(_DEVICE.fullmatch, text.splitlines()[: MAX_DEVICES * 2]))
    return [
        Device(each["name"], each["description"], int(each["total"]), int(each["free"]))
        for each in found
    ][:MAX_DEVICES]
