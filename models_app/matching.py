"""Which row a model is that a scan of a node has found, where other nodes may have it as well.

A model is known by its identity: a repo and a path in it, a name, or a canonical path. Nodes
that have the same content under one identity share a row: one is its home, the others have
copies. A node that has another content under it has a row of its own, whose identity
is followed by the node's name. The rows of one identity are a family. Pure.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Content(NamedTuple):
    """What tells the content of a model's files from another, without reading them."""

    size_bytes: int  # all shards together
    sha256: str | None  # of the first shard; None unless its blob is named by it

    def is_same_as(self, other: "Content") -> bool:
        """Whether nothing says that it is another."""
        if self.size_bytes != other.size_bytes:
            return False
        return None in (self.sha256, other.sha256) or self.sha256 == other.sha256


class Row(NamedTuple):
    """A row of the registry, as far as it counts here."""

    pk: int
    identity: str
    home: str | None  # a node; None: its scan root was removed
    is_missing: bool
    content: Content
    has_copies: bool = False  # on nodes other than the one that looks
    is_here: bool = False  # known to be what that node has, as its home or as a copy

    @property
    def is_free(self) -> bool:
        """Whether the first node that has its content becomes its home."""
        return self.home is None or self.is_missing


class Match(NamedTuple):
    """What a model that was found is."""

    pk: int | None  # of its row; None: it is a new one
    identity: str  # of its row
    is_copy: bool = False  # its row stays with its home


def match(identity: str, content: Content, node: str, family: Sequence[Row]) -> Match:
    """Return the row of a model that `node` was found to have.

    Args:
        identity: as the scan found it, without a node's name.
        family: the rows of that identity: `is_of_family` says which; and the row that the
            node was known to have there, which may have another path at its home.
    """
    named = [row for row in family if row.identity == identity]
    own = [row for row in family if row.home == node]
    alike = [row for row in family if row.content.is_same_as(content)]
    preferred = (
        *(row for row in named if row in own),  # its files may have changed: it is theirs
        *(row for row in named if row in alike),
        *(row for row in alike if row.is_here),
        *(row for row in own if row in alike),
        *(row for row in alike if not row.is_free),
        *own,
        *alike,
        *(row for row in named if row.home is None and not row.has_copies),
    )
    for row in preferred:
        is_copy = row.home != node and not row.is_free
        return Match(row.pk, row.identity, is_copy=is_copy)
    if not named:
        return Match(None, identity)
    return Match(None, _own_identity(identity, node, {row.identity for row in family}))


def is_of_family(identity: str, of: str) -> bool:
    """Whether a row of that identity may be one of the model that scans find as `of`."""
    return identity == of or identity.startswith(f"{of}@")


def found_as(identity: str) -> str:
    """Return the identity under which scans find the model of a row."""
    found, at, node = identity.rpartition("@")
    return found if at and "/" not in node else identity


def _own_identity(identity: str, node: str, taken: Collection[str]) -> str:
    base = candidate = f"{identity}@{node}"
    number = 1
    while candidate in taken:  # by a row whose home is another node by now
        number += 1
        candidate = f"{base}_{number}"
    return candidate
