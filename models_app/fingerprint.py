"""Scan roots as one hash: while it is the same, a scan would find what the last one found.

To look at names and at what `stat` says costs a fraction of what a scan does with them. So
an unchanged rescan ends here, and every other one is a scan of all that there is.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence

from models_app import gemma
from models_app.known import READER
from models_app.scanned import HUGGINGFACE, OLLAMA, RootSpec
from models_app.scanroots import CACHE_FOLDERS, REPO_PREFIX
from models_app.walk import MODEL_SUFFIXES, PARTIAL_SUFFIXES

CHUNK = 500  # lines that are hashed at once: all of them would double the memory

OnFolder = Callable[[str, int], None]

_SUFFIXES = (*MODEL_SUFFIXES, *PARTIAL_SUFFIXES, *gemma.SUFFIXES)


def fingerprint(
    roots: Sequence[RootSpec], also: Iterable[str] = (), *, on_folder: OnFolder | None = None
) -> str:
    """Return 64 hexadecimal digits for all that decides what a scan of `roots` finds.

    That is which folders and model files there are, what each is (device, inode, size,
    mtime in ns, mode; through its link), and what cannot be looked at. What is in them is
    not: a header that could not be read for the moment needs another scan.

    Args:
        also: what else decides.
        on_folder: called with each folder and how many files were seen before it.
    """
    total = hashlib.blake2b(digest_size=32)
    for text in (str(READER), *also):
        total.update(text.encode() + b"\0")
    count = 0
    for root in roots:
        look = _Look(root, on_folder, count)
        look.at_root(str(root.path))
        count += len(look.lines)
        look.lines.sort()  # a file system may list a folder in another order the next time
        for start in range(0, len(look.lines), CHUNK):
            total.update(os.fsencode("\0\n".join(look.lines[start : start + CHUNK]) + "\0\n"))
    return total.hexdigest()


class _Look:
    """A look over one root: a line for each thing that matters."""

    def __init__(self, root: RootSpec, on_folder: OnFolder | None, count: int) -> None:
        self.kind = root.kind
        self.lines = [f"{root.kind} {root.path}"]
        self.on_folder = on_folder
        self.count = count
        self.linked: set[tuple[int, int]] = set()  # folders: every circle has a link in it

    def at_root(self, path: str) -> None:
        for folder in self._at_folder(path):
            name = folder.rpartition("/")[2]
            if self.kind == HUGGINGFACE and name.startswith(REPO_PREFIX):
                self._at_repo(folder)
            elif self.kind != HUGGINGFACE or not name.startswith(CACHE_FOLDERS):
                self._below(folder)

    def _at_repo(self, repo: str) -> None:
        # Blobs are looked at through their links; their folder changes with a download that
        # has no link yet. The folder of a ref does not change when that is rewritten.
        self._tell(f"{repo}/blobs")
        self._tell(f"{repo}/refs/main")
        for revision in self._at_folder(f"{repo}/snapshots"):
            self._tell(revision)  # the newest one counts
            self._below(revision)

    def _below(self, top: str) -> None:
        folders = [top]
        while folders:
            folders += self._at_folder(folders.pop())

    def _at_folder(self, path: str) -> list[str]:
        """Tell what is in a folder; return the folders in it."""
        if self.on_folder is not None:
            self.on_folder(path, self.count + len(self.lines))
        folders = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    is_link = entry.is_symlink()
                    if _is_folder(entry):
                        if not is_link or self._is_new(entry):
                            folders.append(entry.path)
                    elif (
                        is_link or entry.name.lower().endswith(_SUFFIXES) or self.kind == OLLAMA
                    ):
                        self._tell(entry.path, entry.stat)
        except OSError as error:
            self.lines.append(f"{path}\0error {error.errno}")
        return folders

    def _is_new(self, link: os.DirEntry[str]) -> bool:
        status = link.stat()
        inode = (status.st_dev, status.st_ino)
        is_new = inode not in self.linked
        self.linked.add(inode)
        self.lines.append(f"{link.path}\0{inode}")
        return is_new

    def _tell(self, path: str, stat: Callable[[], os.stat_result] | None = None) -> None:
        try:
            s = stat() if stat else os.stat(path)  # noqa: PTH116 - text, for the speed of it
        except OSError as error:
            self.lines.append(f"{path}\0error {error.errno}")
        else:
            self.lines.append(
                f"{path}\0{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_mode}"
            )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False
