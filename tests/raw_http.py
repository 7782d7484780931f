"""Requests that are wrong on purpose, and one socket to send each from.

    TABLE            every form of the hardening table, smuggling forms with a hidden second request among them
    mutations(seed)  endless, each a well-formed request with a few random mistakes

Promise: `exchange` returns every reply the server gave on that connection, or says that it hung; never waits longer
than its limit.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.unit.net.test_hardening import REFUSED

HOST = b"Host: a.example\r\n"
HIDDEN = b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Hidden: yes\r\n\r\n"
"""What a smuggler hides in a body; a reply to it would say that the process is alive."""
ALIVE = b'{"status":"alive"}'

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})[^\r\n]*\r\n", re.MULTILINE)
_INTERESTING = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"//",
        b"/../",
        b"%2f",
        b"%00",
        b"\xff",
        b"#",
    ),
    *(
        b"Content-Length: 0\r\n",
        b"Content-Length: 7\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.1",
        b"0\r\n\r\n",
    ),
    *(
        b"Host: b.example\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Upgrade: h2c\r\n",
        b"-1",
        b"+5",
    ),
    *(
        b"Authorization: Bearer x\r\n",
        b"{",
        b"}",
        b'"',
        b"\\u0000",
        b"A" * 300,
        b"X: " + b"y" * 5000 + b"\r\n",
    ),
)


def smuggled() -> list[tuple[str, bytes]]:
    """Return the classic forms, each with a second request where a careless server would find one."""
    chunked = b"0\r\n\r\n" + HIDDEN
    forms = {
        "CL.TE": (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(chunked), chunked),
        "TE.CL": (
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            b"5c\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
        ),
        "TE.TE": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", chunked),
        "TE obfuscated by a tab": (b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n", chunked),
        "TE obfuscated by a blank": (b"Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", chunked),
        "TE on a folded line": (b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n", chunked),
        "TE behind a bare LF": (b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked),
        "two lengths": (b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
        "a listed length": (b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN),
        "a length behind a NUL": (b"Content-Length: 0\0\r\n", HIDDEN),
        "a length with an underscore": (b"Content_Length: 0\r\nContent-Length: +0\r\n", HIDDEN),
        "a chunk of a size too large": (
            b"Transfer-Encoding: chunked\r\n",
            b"ffffffffffffffff1\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
        ),
        "a chunk extension with a line end": (
            b"Transfer-Encoding: chunked\r\n",
            b"1;a=\n1\r\nx\r\n" + chunked,
        ),
        "a trailer": (b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 99\r\n\r\n" + HIDDEN),
        "chunked in 1.0": (b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", chunked),
    }
    head = {name: b"1.0" if name.endswith("1.0") else b"1.1" for name in forms}
    return [
        (name, b"POST /v1/chat/completions HTTP/%b\r\n%b%b\r\n%b" % (head[name], HOST, lines, body))
        for name, (lines, body) in forms.items()
    ]


TABLE: list[tuple[str, bytes]] = [
    *((name, raw + HIDDEN) for name, raw, _ in REFUSED),
    *smuggled(),
]


def mutations(seed: int, token: str) -> Iterator[bytes]:
    """Return endless requests, each a few random mistakes away from a good one."""
    draw = random.Random(seed)
    good = [_chat(token), _chat(token, chunked=True), b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"]
    while True:
        raw = bytearray(draw.choice(good))
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            _mutate(draw, raw)
        yield bytes(raw)


def _chat(token: str, *, chunked: bool = False) -> bytes:
    body = json.dumps(
        {"model": "nobody/serves-this", "messages": [{"role": "user", "content": "Hi"}]}
    ).encode()
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    return b"POST /v1/chat/completions HTTP/1.1\r\n%bAuthorization: Bearer %b\r\n%b\r\n%b" % (
        HOST,
        token.encode(),
        framing,
        sent,
    )


def _mutate(draw: random.Random, raw: bytearray) -> None:
    at = draw.randrange(len(raw) + 1)
    match draw.randrange(6):
        case 0:
            raw[at:at] = draw.choice(_INTERESTING)
        case 1:
            del raw[at : at + draw.choice((1, 2, 20))]
        case 2 if at < len(raw):
            raw[at] = draw.randrange(256)
        case 3:
            end = min(len(raw), at + draw.randrange(1, 60))
            raw[at:at] = raw[at:end]
        case 4 if len(raw) > 1:
            del raw[max(1, at) :]
        case _:
            raw[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 4, 16))))
    if not raw:
        raw += b"\0"


@dataclass(frozen=True)
class Replies:
    """What came back: the statuses in order, all bytes, and whether the server neither answered nor closed."""

    statuses: tuple[int, ...]
    raw: bytes
    hung: bool

    @property
    def reason(self) -> str:
        """The message of the first reply's error, "" when there is none."""
        body = self.raw.partition(b"\r\n\r\n")[2]
        with suppress(ValueError, KeyError, TypeError):
            return str(json.JSONDecoder().raw_decode(body.decode())[0]["error"]["message"])
        return ""


async def exchange(port: int, raw: bytes, limit_s: float = 5.0) -> Replies:
    """Send `raw`, say that nothing follows, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = bytearray()
    hung = False
    try:
        with suppress(ConnectionError):
            async with asyncio.timeout(limit_s):
                writer.write(raw)
                await writer.drain()
                got += await _first(reader)
                if writer.can_write_eof():
                    writer.write_eof()
                while piece := await reader.read(65536):
                    got += piece
    except TimeoutError:
        hung = True
    finally:
        writer.close()
    statuses = tuple(int(found) for found in _STATUS.findall(got))
    return Replies(tuple(status for status in statuses if status != 100), bytes(got), hung)


async def _first(reader: asyncio.StreamReader) -> bytes:
    """Wait a moment for a reply: ending our side at once would make us a client that left."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            return await reader.read(65536)
    return b""
