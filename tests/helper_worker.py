"""A helper process for the tests: it echoes, and on order crashes, hangs, lies or complains.

Run as a module with the package on PYTHONPATH; the start message is one of the orders too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from penstock.adapters.helper_process import Answer, serve


def answer(question: bytes) -> bytes | memoryview:
    """Do as told; echo what is no order."""
    order, _, rest = question.partition(b" ")
    if order == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == b"hang":
        time.sleep(60)
    elif order == b"wait":
        time.sleep(float(rest))
    elif order == b"lie":
        os.write(int(rest), b"\0" * 64)
    elif order == b"print":
        print("some library says hello")  # must not reach the frames
        subprocess.run(["echo", "and its child too"], check=True)
    elif order == b"refuse":
        raise ValueError(rest.decode())
    elif order == b"fail":
        raise KeyError(rest.decode())
    elif order == b"about":
        policies = {os.sched_getscheduler(int(each.name)) for each in Path("/proc/self/task").iterdir()}
        facts = policies, str(Path.cwd()), sorted(os.environ), os.getpid()
        return repr(facts).encode()
    elif order == b"grow":
        return memoryview(bytearray(int(rest)))
    return question


def begin(start: bytes) -> tuple[bytes, Answer]:
    """Start as told."""
    if start.startswith(b"complain"):
        sys.stderr.write("x" * 5_000 + " the disk is gone")
        raise OSError("no model here")
    if start.startswith((b"die", b"wait")):
        answer(start)
    if start == b"threads":
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        return answer(b"about"), answer
    return b"ready: " + start, answer


if __name__ == "__main__":
    serve(begin, threads=int(sys.argv[1]))
