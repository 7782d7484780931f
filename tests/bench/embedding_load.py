"""The loads of the embedding bench: bulk requests of 32 texts from 16 connections, short questions by wrk, and one
short question every 20 ms beside a bulk load that never ends.

    python -m tests.bench.embedding_load --port P --path /v1/embeddings --body FILE --seconds 5 [--header "A: b" …]

is the last one's clock, a process of its own, so that whoever sends the bulk does not hold it up.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path

from tests.bench.embedding_targets import Embedding
from tests.bench.load import Load, LoadFailed, _wrk
from tests.bench.peers.base import ROOT

TEXTS_A_REQUEST = 32
SENDERS = 16
ENDLESS_SENDERS = 4
EVERY_S = 0.02
CONNECTIONS = (1, 16, 64)
Figures = dict[str, float]


def bulk_s(target: Embedding, texts: Sequence[str], headers: Mapping[str, str], repeats: int) -> float:
    """Return the seconds that all texts take, the best of `repeats` after one that does not count."""
    bodies = _bodies(target, texts)
    with ThreadPoolExecutor(SENDERS, initializer=_connect, initargs=(target, headers)) as senders:
        took: list[float] = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            list(senders.map(_send, bodies))
            took.append(time.perf_counter() - began)
        list(senders.map(lambda _: _HERE.line.close(), range(SENDERS)))
    return min(took[1:])


def questions(target: Embedding, connections: int, seconds: int) -> Figures:
    """Return what wrk sees of short questions, each another one, after a load that does not count."""
    _wrk(target, Load(f"c{connections}", connections), max(1, seconds // 3))
    return _wrk(target, Load(f"c{connections}", connections), seconds)[0]


def beside_bulk(target: Embedding, texts: Sequence[str], seconds: float) -> Figures:
    """Return texts a second of a bulk load alone and beside questions, and the questions' times in ms."""
    with _endless(target, texts) as done:
        time.sleep(seconds / 3)
        alone_per_s = _rate(done, seconds)
        before, began = done[0], time.perf_counter()
        asked = _asked(target, seconds)
        beside_per_s = (done[0] - before) / (time.perf_counter() - began)
    return {"alone_per_s": alone_per_s, "beside_per_s": beside_per_s, **asked}


# ------------------------------------------------------------------------------------------------------- bulk requests


class _Here(threading.local):
    """A sender's own connection."""

    line: HTTPConnection
    target: Embedding
    headers: Mapping[str, str]


_HERE = _Here()


def _bodies(target: Embedding, texts: Sequence[str]) -> list[bytes]:
    return [
        target.texts_body(texts[at : at + TEXTS_A_REQUEST]) for at in range(0, len(texts), TEXTS_A_REQUEST)
    ]


def _connect(target: Embedding, headers: Mapping[str, str]) -> None:
    _HERE.line = HTTPConnection("127.0.0.1", target.port, timeout=120)
    _HERE.target = target
    _HERE.headers = {"Content-Type": "application/json", **target.headers(), **headers}


def _send(body: bytes) -> None:
    try:
        status, said = _answered(body)
    except ConnectionError:  # a server closes what was idle for some seconds, as it may
        _HERE.line.close()
        status, said = _answered(body)
    if status != 200:
        raise LoadFailed(f"{_HERE.target.name}: {status} {said[:300]!r}")


def _answered(body: bytes) -> tuple[int, bytes]:
    _HERE.line.request("POST", _HERE.target.path, body, _HERE.headers)
    reply = _HERE.line.getresponse()
    return reply.status, reply.read()


@contextmanager
def _endless(target: Embedding, texts: Sequence[str]) -> Iterator[list[int]]:
    """Send bulk requests in the target's background lane until it is left; gives the texts answered so far."""
    bodies = cycle(_bodies(target, texts))
    done, over, turn = [0], threading.Event(), threading.Lock()

    def sender() -> None:
        _connect(target, target.lane)
        while not over.is_set():
            with turn:
                body = next(bodies)
            _send(body)
            with turn:
                done[0] += TEXTS_A_REQUEST
        _HERE.line.close()

    with ThreadPoolExecutor(ENDLESS_SENDERS) as pool:
        senders = [pool.submit(sender) for _ in range(ENDLESS_SENDERS)]
        try:
            yield done
        finally:
            over.set()
    for each in senders:
        each.result()


def _rate(done: list[int], seconds: float) -> float:
    before, began = done[0], time.perf_counter()
    time.sleep(seconds)
    return (done[0] - before) / (time.perf_counter() - began)


# ----------------------------------------------------------------------------------------------- one question at a time


def _asked(target: Embedding, seconds: float) -> Figures:
    """Ask every `EVERY_S`, from another process; return its times."""
    path = target.folder / "question.json"
    path.write_bytes(target.body(stream=False))
    place = ("--port", str(target.port), "--path", target.path, "--body", str(path))
    headers = [part for name, value in target.headers().items() for part in ("--header", f"{name}: {value}")]
    command = (
        sys.executable,
        "-m",
        "tests.bench.embedding_load",
        *place,
        "--seconds",
        str(seconds),
        *headers,
    )
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if done.returncode:
        raise LoadFailed(f"{target.name}: {done.stderr[-1_000:]}")
    return json.loads(done.stdout)


def clock(port: int, head: bytes, body: bytes, seconds: float) -> Figures:
    """Send one question every `EVERY_S` or as soon as the last is answered; return p50, p99 and max in ms."""
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        number = 0
        while (began := time.perf_counter()) < until:
            number += 1
            line.sendall(head + body.replace(b"0000000000", b"%010d" % number))
            _whole(line)
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(max(0.0, began + EVERY_S - time.perf_counter()))
    took.sort()
    return {
        "questions": len(took),
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[len(took) * 99 // 100],
        "max_ms": took[-1],
    }


def _whole(line: socket.socket) -> None:
    """Read one answer. Raises LoadFailed unless it is a 200 with a length."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += line.recv(65_536) or _gone()
    head, _, rest = held.partition(b"\r\n\r\n")
    fields = dict(each.lower().split(b": ", 1) for each in head.split(b"\r\n")[1:])
    if b" 200 " not in head[:16]:
        raise LoadFailed(f"{head!r} {rest[:300]!r}")
    left = int(fields[b"content-length"]) - len(rest)
    while left > 0:
        left -= len(line.recv(65_536) or _gone())


def _gone() -> bytes:
    raise LoadFailed("the server closed the connection")


def main() -> None:
    """Be the clock."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--header", action="append", default=[])
    asked = parser.parse_args()
    body = asked.body.read_bytes()
    lines = (
        f"POST {asked.path} HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *asked.header,
    )
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    print(json.dumps(clock(asked.port, head, body, asked.seconds)))


if __name__ == "__main__":
    main()
