"""Two nodes, a and b: a has models, and what is copied comes to b by way of a wire."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from models_app import registry
from models_app.download_models import Download
from models_app.downloads import asking, copy_service, offering, worker
from models_app.errors import NoWorkerError
from models_app.models import DiscoveredModel, ScanRoot
from tests.models_app.copying.wire import Wire

WAIT_S = 20


class TwoNodes:
    """What the tests do on both nodes."""

    def __init__(self, folder: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.wire = wire
        self.patches = monkeypatch
        self.silent: set[str] = set()
        self.offers: list[int] = []  # downloads whose files were asked for
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []

    # -- node a

    def cache(self, node: str) -> Path:
        return self.folder / node / "hub"

    def files(self, node: str) -> Path:
        return self.folder / node / "files"

    def on(self, node: str) -> None:
        """Have the environment be that of a node."""
        self.patches.setenv("HF_HUB_CACHE", str(self.cache(node)))
        self.patches.setenv("OLLAMA_MODELS", str(self.folder / node / "ollama"))

    def scanned(self, root: Path, kind: str = "directory") -> DiscoveredModel:
        """Scan a root of node a; return the one model that is in it."""
        self.on("a")
        ScanRoot.objects.get_or_create(node="a", path=str(root), defaults={"kind": kind})
        registry.rescan("a")
        self.on("b")
        return DiscoveredModel.objects.select_related("root").get(root__path=str(root))

    def offer(self, row: Download) -> None:
        """Do what the queue and the worker of node a do when somebody asks for files."""
        self.require(row.from_node)
        self.offers.append(row.pk)
        thread = threading.Thread(target=self._offer, args=(row.pk, row.from_node, self._ends))
        self._threads.append(thread)
        thread.start()

    def require(self, node: str) -> None:
        if node in self.silent:
            raise NoWorkerError(node)

    def without_worker(self, names: Collection[str]) -> dict[str, NoWorkerError]:
        return {name: NoWorkerError(name) for name in names if name in self.silent}

    def kill_offers(self) -> None:
        """End what node a offers, as if its worker had died and another had begun."""
        self._ends.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        self._threads.clear()
        self._ends = threading.Event()

    def wait_for_offers(self) -> None:
        """Wait until node a offers nothing any more, by itself."""
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _offer(self, pk: int, node: str, ends: threading.Event) -> None:
        try:
            offering.run(pk, node, ends=ends.is_set)
        finally:
            connection.close()

    # -- node b

    def wanted(self, model: DiscoveredModel, **options: object) -> Download:
        return copy_service.request_copy(model, node="b", **options)  # type: ignore[arg-type]

    def copied(self, model: DiscoveredModel, **options: object) -> Download:
        """Have a model copied to node b here and now; return the row as it has become."""
        done = worker.run(self.wanted(model, **options).pk)
        assert done is not None
        return done


@contextmanager
def two_nodes(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoNodes]:
    settings.MAGI_COPY_DIR = folder / "b" / "models"
    settings.MAGI_COPY_PORT_RANGE_START, settings.MAGI_COPY_PORT_RANGE_END = 21180, 21189
    with Wire() as wire:
        nodes = TwoNodes(folder, wire, monkeypatch)
        nodes.on("b")
        monkeypatch.setattr(offering, "url_of", wire.via)
        monkeypatch.setattr(offering, "LOOK_S", 0.1)
        monkeypatch.setattr(asking, "request_offer", nodes.offer)
        monkeypatch.setattr(copy_service, "require_worker", nodes.require)
        for module in (asking, copy_service):
            monkeypatch.setattr(module, "without_worker", nodes.without_worker)
        monkeypatch.setattr(copy_service, "queue", lambda _download: None)
        try:
            yield nodes
        finally:
            nodes.kill_offers()
