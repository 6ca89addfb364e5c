"""The servers that the keeper is tested with: small Python scripts."""

SLEEP = "import time; time.sleep(600)"
UNTIL_GO = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1], "go").exists():
    time.sleep(0.01)
"""
# Says in its log that it is up, and each time it is told to stop; stops at a `go`.
STUBBORN = """
import pathlib, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: print(number, flush=True))
print("up", flush=True)
while not pathlib.Path(sys.argv[1], "go").exists():
    time.sleep(0.01)
"""
# Ignores and blocks every signal it can, and becomes the command that follows.
DEAFEN = """
import os, signal, sys
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
for number in numbers:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.execv(sys.argv[1], sys.argv[1:])
"""
# Shows the signals it ignores, but for those that Python ignores by itself, and blocks.
SHOW_SIGNALS = """
import signal, time
numbers = signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
print(ignored, list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)
time.sleep(600)
"""
SHOW_STDIN = "import sys, time; print(sys.stdin.read(), flush=True); time.sleep(600)"
# Abandons a grandchild, which says who has adopted it.
ABANDON = """
import os, time
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        print(os.getppid(), flush=True)
    os._exit(0)
time.sleep(600)
"""
LEAVE = """
import os, time
if pid := os.fork():
    print(pid, flush=True)
else:
    time.sleep(600)
"""
WORKER = "import subprocess, sys, time; subprocess.run(sys.argv[1:]); time.sleep(600)"
