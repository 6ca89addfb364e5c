"""Several hosts on this machine: network namespaces, joined by a switch that we hold.

Who uses it runs in namespaces of its own (`alone.py`): there this process is the switch, and
a host of its own at 10.77.0.1; when it ends, everything on all hosts ends.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

NET = "10.77.0"
HERE = f"{NET}.1"
SWITCH = "switch"
PATIENCE_S = 120  # a watchdog, far above what anything takes


def start_switch() -> None:
    """Make this network namespace, which is empty, the switch and a host on it."""
    _ip("link", "set", "lo", "up")
    # With an address of its own: else it has that of a cable, and another one, which nobody
    # knows, once that cable is unplugged.
    _ip("link", "add", SWITCH, "address", "02:00:00:00:00:01", "type", "bridge")
    _ip("addr", "add", f"{HERE}/24", "dev", SWITCH)
    _ip("link", "set", SWITCH, "up")


@dataclass
class Host:
    """A host with a network of its own; its disks are those of this machine."""

    name: str
    number: int  # the last of its address, and of its cable
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A namespace lives for as long as a process is in it.
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        ours = Path("/proc/self/ns/net").readlink()
        until(lambda: _network_of(self._holder.pid) not in (None, ours))
        peer = ("peer", "name", "eth0", "netns", str(self._holder.pid))
        _ip("link", "add", self._cable, "type", "veth", *peer)
        self.plug()
        _ip("link", "set", self._cable, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            subprocess.run([*self.inside, "ip", *command], check=True)

    @property
    def address(self) -> str:
        return f"{NET}.{self.number}"

    def unplug(self) -> None:
        """Lose every packet from and to this host; nobody on it is told."""
        _ip("link", "set", self._cable, "nomaster")

    def plug(self) -> None:
        _ip("link", "set", self._cable, "master", SWITCH)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> None:
        """Run `command` on this host, in `folder`; what it says is in `log`."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self.inside, *command],
                env={**environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Run `command` on this host to its end, which has to be good; return what it said."""
        done = subprocess.run(
            [*self.inside, *command],
            env={**environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def engines(self) -> list[int]:
        """Return the pids of the llama-servers that run on this host."""
        network = _network_of(self._holder.pid)
        return [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if "servers_app.engine.embedded" in (process.info["cmdline"] or ())
            and not any("keeper.py" in part for part in process.info["cmdline"])
            and _network_of(process.pid) == network
        ]

    @property
    def _cable(self) -> str:
        return f"cable{self.number}"

    @property
    def inside(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]


def until(holds: Callable[[], object], what: object = "") -> None:
    """Wait until `holds()` is true; what does not answer yet is not.

    Raises:
        AssertionError: it never was.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if holds():
                return
        except (OSError, httpx2.HTTPError):
            pass
        assert time.monotonic() < deadline, f"it never came true: {what}"
        time.sleep(0.1)


@contextmanager
def unplugged(host: Host) -> Iterator[None]:
    host.unplug()
    try:
        yield
    finally:
        host.plug()


def _network_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink()
    except OSError:
        return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
