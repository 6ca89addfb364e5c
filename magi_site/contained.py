"""The worker of a container, where nothing outlives it: it takes its llama-servers along.

    python -m magi_site.contained COMMAND [ARGUMENT ...]

A container's end kills whatever runs in it, llama-servers in the middle of an answer among
them. So SIGTERM goes to COMMAND first, and when that has ended, the llama-servers of the node
are drained and stopped. What is wanted of them stays: the next container starts them again.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
PARK = ("manage.py", "park", "--no-check")


def main(command: Sequence[str], *, park: Sequence[str] = PARK) -> int:
    """Run `command` until it ends or a signal comes; then park; return its exit status."""
    if not command:
        sys.stderr.write("usage: python -m magi_site.contained COMMAND [ARGUMENT ...]\n")
        return 64
    told: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        if process is not None:
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    argv = [sys.executable, *command[1:]] if command[0] == "python" else list(command)
    process = subprocess.Popen(argv)
    if told:  # it came before there was anybody to pass it on to
        process.send_signal(told[0])
    status = process.wait()
    if told:
        subprocess.run([sys.executable, *park], cwd=ROOT, check=False)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
