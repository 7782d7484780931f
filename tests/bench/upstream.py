"""The provider that every target calls: a process of its own, so small that the target is what is measured.

Promises: a full reply is one write of fixed bytes; a stream is one write *and one system call* per event, as tokens
come from a model, never one buffer of 64; a stream asked for with the paced marker leaves 10 ms between events and
stamps each with the moment of its write (CLOCK_MONOTONIC, nanoseconds), so that a reader on the same machine
knows how late it got it. Answers any POST; checks nothing: what is right is checked at the reading end.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from functools import partial

import httptools
import uvloop

from tests.bench import payload

_MARK = payload.PACED_MARK.encode()
_SENTENCES_MARK = payload.SENTENCES_MARK.encode()
_STAMP = "9" * payload.STAMP_DIGITS


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _full_reply(*, is_json: bool = False) -> bytes:
    body = payload.reply_body(is_json=is_json)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


_FULL = _full_reply()
_FULL_JSON = _full_reply(is_json=True)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_LAST = b"0\r\n\r\n"


def _wire(text: str, *, ends_sentence: str = "") -> list[bytes]:
    """The writes of one stream: the head rides with the first event, the end of the body with the last."""
    events = [_chunked(event) for event in payload.stream_events(text, ends_sentence=ends_sentence)]
    events[0] = _STREAM_HEAD + events[0]
    events[-1] += _LAST
    return events


_BURST = _wire(" parcel")
_SENTENCES = _wire(" parcel", ends_sentence=".")
_PACED = [event.replace(_STAMP.encode(), b"%020d") for event in _wire(_STAMP)]  # same length: 20 digits


class Upstream(asyncio.Protocol):
    """One connection: requests one after another, each answered whole or as a stream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._body: list[bytes] = []
        self._open = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body.clear()
        if b'"stream":true' not in body and b'"stream": true' not in body:
            self._transport.write(_FULL_JSON if b'"response_format"' in body else _FULL)
        elif _MARK in body:
            self._paced(0, self._loop.time())
        else:
            self._burst(_SENTENCES if _SENTENCES_MARK in body else _BURST, 0)

    def _burst(self, events: Sequence[bytes], at: int) -> None:
        if not self._open:
            return
        self._transport.write(events[at])
        if at + 1 < len(events):
            # uvloop sends at the end of each turn of the loop: the next turn is the next system call.
            self._loop.call_soon(self._burst, events, at + 1)

    def _paced(self, at: int, start: float) -> None:
        if not self._open:
            return
        event = _PACED[at]
        self._transport.write(event % time.monotonic_ns() if at < payload.CHUNKS else event)
        if at + 1 < len(_PACED):
            self._loop.call_at(start + (at + 1) * payload.PACE_S, self._paced, at + 1, start)


async def serve(port: int) -> None:
    """Listen on loopback until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Upstream, loop), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.parse_args().port))
