"""A crowd of readers: 64 connections, each reading paced streams one after another, all from one small process.

Promises: every content event is timed from the upstream's write (its stamp) to our read of it; the first event also
from our own request. The crowd starts spread over one stream's length, by seed, so that 64 streams are in
flight without 64 requests falling on one instant. A reader's first stream warms its connection and is not timed. A
stream that does not hold exactly the events sent, in order, is counted as broken, and so is any other status.

Prints one line of JSON: `first_us` and `late_us` (per event) with p50, p90, p99, max; `total_ms`; streams; broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httptools
import uvloop

from tests.bench import payload

_STAMP = re.compile(rb'"content":\s*"(\d{%d})"' % payload.STAMP_DIGITS)
_CARRY = 64  # bytes kept so that a stamp cut by a chunk border is still found
_STREAM_LIMIT_S = 30.0


class Reader(asyncio.Protocol):
    """One connection: send the request, time the stamps of the reply, resolve `done` at its end."""

    def __init__(self) -> None:
        self.first_us: list[float] = []
        self.late_us: list[float] = []
        self.total_ms: list[float] = []
        self.broken = 0
        self.done: asyncio.Future[None] | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(ConnectionError("closed in the middle of a stream"))

    def ask(self, request: bytes) -> asyncio.Future[None]:
        """Send the request; the future ends with the stream."""
        self._tail, self._stamps, self._finished = b"", [], False
        self.done = asyncio.get_running_loop().create_future()
        self._sent_ns = time.monotonic_ns()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        self._now_ns = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        text = self._tail + data
        end = 0
        for stamp in _STAMP.finditer(text):
            self._stamps.append((int(stamp[1]), self._now_ns))
            end = stamp.end()
        self._finished = self._finished or b"[DONE]" in text
        self._tail = text[max(end, len(text) - _CARRY) :]

    def on_message_complete(self) -> None:
        sent = [stamp for stamp, _ in self._stamps]
        whole = self._parser.get_status_code() == 200 and len(sent) == payload.CHUNKS and self._finished
        if whole and sent == sorted(sent):
            self.first_us.append((self._stamps[0][1] - self._sent_ns) / 1e3)
            self.late_us.extend((seen - stamp) / 1e3 for stamp, seen in self._stamps)
            self.total_ms.append((self._now_ns - self._sent_ns) / 1e6)
        else:
            self.broken += 1
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


async def _read_streams(port: int, request: bytes, rounds: int, wait_s: float) -> Reader:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(wait_s)
    _, reader = await loop.create_connection(Reader, "127.0.0.1", port)
    for at in range(rounds + 1):
        try:
            async with asyncio.timeout(_STREAM_LIMIT_S):
                await reader.ask(request)
        except (TimeoutError, ConnectionError):
            reader.broken += 1
            break
        if at == 0:
            reader.first_us.clear()
            reader.late_us.clear()
            reader.total_ms.clear()
    reader.transport.close()
    return reader


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if len(values) < 2:
        return None
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(values)}


async def crowd(port: int, request: bytes, readers: int, rounds: int, seed: int) -> dict[str, object]:
    """Run the crowd and sum it up."""
    chance = random.Random(seed)
    length_s = payload.EVENTS * payload.PACE_S
    starts = [chance.uniform(0, length_s) for _ in range(readers)]
    crowd_of = await asyncio.gather(*(_read_streams(port, request, rounds, start) for start in starts))
    return {
        "streams": sum(len(reader.total_ms) for reader in crowd_of),
        # the warming stream of every reader was served too: CPU is divided by this
        "served": sum(len(reader.total_ms) + 1 for reader in crowd_of),
        "broken": sum(reader.broken for reader in crowd_of),
        "first_us": _spread([us for reader in crowd_of for us in reader.first_us]),
        "late_us": _spread([us for reader in crowd_of for us in reader.late_us]),
        "total_ms": _spread([ms for reader in crowd_of for ms in reader.total_ms]),
    }


def _request(port: int, path: str, body: bytes, headers: Sequence[str]) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--path", default=payload.CHAT_PATH)
    options.add_argument("--body", type=Path, required=True)
    options.add_argument("--header", action="append", default=[])
    options.add_argument("--readers", type=int, default=64)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--seed", type=int, default=11)
    chosen = options.parse_args()
    sent = _request(chosen.port, chosen.path, chosen.body.read_bytes(), chosen.header)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(crowd(chosen.port, sent, chosen.readers, chosen.rounds, chosen.seed))
    print(json.dumps(summary))
