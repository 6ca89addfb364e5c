"""What benchmarks/scale.py puts into the database, and the nodes that it has at work."""

import asyncio
import itertools
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import psutil

SERVERS: Final = 10  # of a node
FIRST_PORT: Final = 23000
PERIOD_S: Final = 5.0  # of a heartbeat
SELDOM_S: Final = 60  # what is done less often than that is left out
_GIB: Final = 2**30


def populate(count: int) -> None:
    """Make `count` nodes with ten ready servers each; as many models, each on ten nodes."""
    from django.db.models.functions import Now  # noqa: PLC0415 - the settings are made first

    from models_app.copy_models import ModelCopy  # noqa: PLC0415
    from models_app.models import DiscoveredModel, ScanRoot  # noqa: PLC0415
    from profiles_app.models import Profile, ProfileMember  # noqa: PLC0415
    from servers_app.models import Node, Server, ServerState, Wanted  # noqa: PLC0415
    from servers_app.processes import boot_id  # noqa: PLC0415

    names = [node_name(number) for number in range(count)]
    hardware = {"total_bytes": 64 * _GIB, "available_bytes": 60 * _GIB, "gpus": []}
    facts = {"cores": 16, "port_range": [FIRST_PORT, FIRST_PORT + SERVERS - 1]}
    Node.objects.bulk_create(
        Node(name=name, hardware=hardware, facts=facts, heartbeat_at=Now()) for name in names
    )
    roots = ScanRoot.objects.bulk_create(
        ScanRoot(node=name, path="/models", from_settings=True) for name in names
    )
    models = DiscoveredModel.objects.bulk_create(
        DiscoveredModel(
            model_id=f"model{number}_4p0b_q4km_fast",
            identity=f"hf:org/model{number}:model.gguf",
            root=root,
            file_path=f"/models/model{number}.gguf",
            blob_path=f"/models/model{number}.gguf",
            filename=f"model{number}.gguf",
            family="model",
            display_name=f"MODEL {number}",
            size_params=4.0,
            quantization="Q4_K_M",
            assigned_tier="fast",
            size_bytes=2 * _GIB,
        )
        for number, root in enumerate(roots)
    )
    places = [
        (model, names[(number + step) % count], step)
        for number, model in enumerate(models)
        for step in range(min(SERVERS, count))
    ]
    ModelCopy.objects.bulk_create(
        ModelCopy(model=model, node=node, file_path=model.file_path, blob_path=model.blob_path)
        for model, node, step in places
        if step
    )
    profile = Profile.objects.create(slug="scale", name="Scale", is_active=True)
    ProfileMember.objects.bulk_create(
        ProfileMember(
            profile=profile, model_id=model.model_id, position=number, replicas=SERVERS
        )
        for number, model in enumerate(models)
    )
    Server.objects.bulk_create(
        Server(
            model=model,
            node=node,
            replica=step,
            port=FIRST_PORT + step,
            wanted=Wanted.RUNNING,
            state=ServerState.READY,
            pid=os.getpid(),  # somebody who lives
            pid_started_at=psutil.Process().create_time(),
            boot_id=boot_id(),
            facts={"progress": "[]", "total_slots": 2},
            memory_mib=3000,
            ready_at=Now(),
            launched_at=Now(),
            health_at=Now(),
        )
        for model, node, step in places
    )


def node_name(number: int) -> str:
    return f"node-{number:04}"


@contextmanager
def stand_in() -> Iterator[None]:
    """Answer for all llama-servers that they are well: 200 and an empty list, at each port."""
    process = multiprocessing.get_context("fork").Process(target=_answer, daemon=True)
    process.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        process.kill()
        process.join()


def _answer() -> None:
    async def serve() -> None:
        servers = [
            await asyncio.start_server(_one, "127.0.0.1", FIRST_PORT + number)
            for number in range(SERVERS)
        ]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(serve())


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = b"404 Not Found" if head.startswith(b"GET /metrics") else b"200 OK"
    writer.write(
        b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"
    )
    await writer.drain()
    writer.close()


def work(count: int, seconds: float, folder: Path) -> list[dict[str, list[float]]]:
    """Have `count` processes be a node each for a while; return how long what took, each."""
    from django.db import connections  # noqa: PLC0415

    _chores("")  # imports all of it once, and not in each of them
    for connection in connections.all():
        connection.close()
        getattr(connection, "close_pool", lambda: None)()
    context = multiprocessing.get_context("fork")
    ends = []
    for number in range(count):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (node_name(number), seconds, folder, theirs)
        process = context.Process(target=_be_a_node, args=arguments, daemon=True)
        process.start()
        theirs.close()
        ends.append((process, ours))
    results = []
    for process, end in ends:
        results.append(end.recv())
        process.join()
    return results


def _be_a_node(name: str, seconds: float, folder: Path, told: Connection) -> None:
    """Do what the heartbeat of a worker does, and what its clock has the worker do."""
    from django.conf import settings  # noqa: PLC0415

    settings.MAGI_NODE = name
    settings.MAGI_RUN_DIR = settings.MAGI_DATA_DIR = folder / name
    (folder / name).mkdir(parents=True, exist_ok=True)
    chores = _chores(name)
    took: dict[str, list[float]] = {what: [] for what in chores}
    ends_at = time.monotonic() + seconds
    time.sleep(random.uniform(0, PERIOD_S))  # noqa: S311 - as workers begin
    cpu_before = time.process_time()
    for turn in itertools.count():
        began = time.monotonic()
        if began >= ends_at:
            break
        for what, (every, chore) in chores.items():
            if turn % every == 0:
                at = time.monotonic()
                chore()
                took[what].append(time.monotonic() - at)
        time.sleep(max(0.0, PERIOD_S - (time.monotonic() - began)))
    took["cpu"] = [time.process_time() - cpu_before]
    told.send(took)


def _chores(name: str) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return what a node does, each every so many beats: heartbeat.py and NODE_SCHEDULE."""
    from django.conf import settings  # noqa: PLC0415

    from magi_site.celery import app  # noqa: PLC0415
    from servers_app import nodes  # noqa: PLC0415
    from servers_app.cluster import lost_nodes  # noqa: PLC0415

    app.loader.import_default_modules()
    chores: dict[str, tuple[int, Callable[[], object]]] = {
        "heartbeat": (1, nodes.beat),
        "look for lost nodes": (1, lost_nodes.mark_lost),
    }
    for task, period in settings.NODE_SCHEDULE.items():
        if period <= SELDOM_S:
            label = task.rpartition(".")[2].replace("_", " ")
            chores[label] = round(period / PERIOD_S), partial(app.tasks[task].run, name)
    return chores
