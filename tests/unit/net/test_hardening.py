"""A request that two programs could read differently is refused with its reason and never reaches a handler."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import run
from tests.unit.net.rig import ask, dial, echo, serving

H = b"Host: a.example\r\n"


def get(target: bytes, lines: bytes = H) -> bytes:
    """A GET of `target`."""
    return b"GET " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"


def post(lines: bytes, body: bytes = b"") -> bytes:
    """A POST with extra header lines."""
    return b"POST /x HTTP/1.1\r\n" + H + lines + b"\r\n" + body


REFUSED: list[tuple[str, bytes, int]] = [
    ("length and chunked", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked and length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("two lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"12345"), 400),
    ("equal lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"12345"), 400),
    ("listed lengths", post(b"Content-Length: 5, 5\r\n", b"12345"), 400),
    ("signed length", post(b"Content-Length: +5\r\n", b"12345"), 400),
    ("hexadecimal length", post(b"Content-Length: 0x5\r\n", b"12345"), 400),
    ("negative length", post(b"Content-Length: -1\r\n"), 400),
    ("empty length", post(b"Content-Length:\r\n"), 400),
    ("endless length", post(b"Content-Length: 99999999999999999999999\r\n"), 400),
    ("other coding", post(b"Transfer-Encoding: gzip\r\n"), 400),
    ("coding before chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 400),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    ("two codings", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"), 400),
    ("misspelt coding", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400),
    ("coding behind a control byte", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    ("quoted coding", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    ("chunked in 1.0", b"POST /x HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunk extension", post(b"Transfer-Encoding: chunked\r\n", b"5;a=b\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size with 0x", post(b"Transfer-Encoding: chunked\r\n", b"0x5\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size with sign", post(b"Transfer-Encoding: chunked\r\n", b"+5\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size with blank", post(b"Transfer-Encoding: chunked\r\n", b"5 \r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size with underscore", post(b"Transfer-Encoding: chunked\r\n", b"1_0\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size empty", post(b"Transfer-Encoding: chunked\r\n", b"\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk size too long", post(b"Transfer-Encoding: chunked\r\n", b"0" * 17 + b"5\r\n12345\r\n0\r\n\r\n"), 400),
    ("chunk ended by LF", post(b"Transfer-Encoding: chunked\r\n", b"5\n12345\r\n0\r\n\r\n"), 400),
    ("chunk longer than said", post(b"Transfer-Encoding: chunked\r\n", b"5\r\n123456\r\n0\r\n\r\n"), 400),
    ("trailer", post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX: y\r\n\r\n"), 400),
    ("LF after request line", b"GET /x HTTP/1.1\n" + H + b"\r\n", 400),
    ("LF after field", b"GET /x HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n", 400),
    ("LF for the empty line", b"GET /x HTTP/1.1\r\nHost: a.example\r\n\n", 400),
    ("only LF", b"GET /x HTTP/1.1\nHost: a.example\n\n", 400),
    ("CR in a value", get(b"/x", H + b"X: a\rb\r\n"), 400),
    ("NUL in a value", get(b"/x", H + b"X: a\0b\r\n"), 400),
    ("control byte in a value", get(b"/x", H + b"X: a\x01b\r\n"), 400),
    ("folded field", get(b"/x", H + b"X: a\r\n b\r\n"), 400),
    ("folded first field", b"GET /x HTTP/1.1\r\n Host: a.example\r\n\r\n", 400),
    ("blank before colon", get(b"/x", b"Host : a.example\r\n"), 400),
    ("bad name", get(b"/x", H + b"X(y): a\r\n"), 400),
    ("name with a high byte", get(b"/x", H + b"X\xe9: a\r\n"), 400),
    ("empty name", get(b"/x", H + b": a\r\n"), 400),
    ("no colon", get(b"/x", H + b"nonsense\r\n"), 400),
    ("two blanks in the line", b"GET  /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("tab in the line", b"GET\t/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("blank after the version", b"GET /x HTTP/1.1 \r\n" + H + b"\r\n", 400),
    ("blank before the method", b" GET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("lower-case method", b"get /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("TLS spoken to plain HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("no version", b"GET /x\r\n" + H + b"\r\n", 400),
    ("RTSP", b"GET /x RTSP/1.0\r\n" + H + b"\r\n", 400),
    ("version 2.0", b"GET /x HTTP/2.0\r\n" + H + b"\r\n", 400),
    ("version 1.2", b"GET /x HTTP/1.2\r\n" + H + b"\r\n", 400),
    ("version 0.9", b"GET /x HTTP/0.9\r\n" + H + b"\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("CONNECT", b"CONNECT a.example:443 HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("TRACE", b"TRACE /x HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("WebDAV", b"PROPFIND /x HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("no Host", get(b"/x", b""), 400),
    ("empty Host", get(b"/x", b"Host:\r\n"), 400),
    ("two Hosts", get(b"/x", H + H), 400),
    ("Host with a path", get(b"/x", b"Host: a.example/x\r\n"), 400),
    ("Host with a user", get(b"/x", b"Host: u@a.example\r\n"), 400),
    ("Host with a blank", get(b"/x", b"Host: a.example b\r\n"), 400),
    ("Host with a bad port", get(b"/x", b"Host: a.example:port\r\n"), 400),
    ("two Authorizations", get(b"/x", H + b"Authorization: a\r\nAuthorization: b\r\n"), 400),
    ("absolute target of another host", get(b"http://evil.example/x"), 400),
    ("absolute target of another scheme", get(b"ftp://a.example/x"), 400),
    ("asterisk target", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("no leading slash", get(b"x"), 400),
    ("dot segments", get(b"/a/../b"), 400),
    ("dot segments at the end", get(b"/a/.."), 400),
    ("one dot", get(b"/./a"), 400),
    ("escaped dot segments", get(b"/a/%2e%2E/b"), 400),
    ("half escaped dots", get(b"/a/.%2e/b"), 400),
    ("empty segment", get(b"//a"), 400),
    ("empty segment inside", get(b"/a//b"), 400),
    ("escaped slash", get(b"/a%2fb"), 400),
    ("escaped backslash", get(b"/a%5Cb"), 400),
    ("escaped NUL", get(b"/a%00"), 400),
    ("escaped line end", get(b"/a%0d%0aX:%20y"), 400),
    ("cut escape", get(b"/a%2"), 400),
    ("bad escape", get(b"/a%zz"), 400),
    ("backslash", get(b"/a\\b"), 400),
    ("path parameter", get(b"/a;b=c"), 400),
    ("fragment", get(b"/a#b"), 400),
    ("fragment after query", get(b"/a?b#c"), 400),
    ("high byte in path", get(b"/\xc3\xa9"), 400),
    ("control byte in path", get(b"/a\x01"), 400),
    ("DEL in path", get(b"/a\x7f"), 400),
    ("angle brackets", get(b"/<a>"), 400),
    ("blank in path", get(b"/a b"), 400),
    ("high byte in query", get(b"/a?\xff"), 400),
    ("other expectation", post(b"Expect: 200-ok\r\nContent-Length: 1\r\n", b"1"), 417),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_ambiguous_request_is_refused_with_a_reason_and_the_connection_closed(
    raw: bytes, status: int
) -> None:
    """Given the raw bytes, then the status, a reason in the body, `connection: close`, and no handler called."""

    async def scene() -> None:
        async with serving() as server:
            wire = await dial(server.port)
            wire.send(raw + get(b"/smuggled"))
            got, fields, body = await wire.reply()
            assert got == status, body
            assert len(body) > 20
            assert fields[b"connection"] == b"close"
            assert (b"allow" in fields) == (status == 405)
            assert await wire.ended()
            wire.close()
            assert server.stats.requests == 0
            assert server.stats.refused == 1

    run(scene())


@pytest.mark.parametrize("raw", [raw for _, raw, _ in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_refusal_does_not_depend_on_how_the_bytes_arrive(raw: bytes) -> None:
    """Given the same bytes one by one, then the same: refused, and no handler called."""

    async def scene() -> None:
        async with serving() as server:
            wire = await dial(server.port)
            for at in range(len(raw)):
                wire.send(raw[at : at + 1])
                await asyncio.sleep(0)
            assert (await wire.reply())[0] in (400, 405, 417)
            wire.close()
            assert server.stats.requests == 0

    run(scene())


ACCEPTED: list[tuple[str, bytes, bytes]] = [
    ("plain", get(b"/v1/models"), b"GET /v1/models  "),
    ("query", get(b"/a?b=c&d=%20e/../f\\g"), b"GET /a b=c&d=%20e/../f\\g "),
    ("empty query", get(b"/a?"), b"GET /a  "),
    ("harmless escapes and marks", get(b"/a%20b/c:d,e@f=(g)*!$'~-_.h"), b"GET /a%20b/c:d,e@f=(g)*!$'~-_.h  "),
    ("dots inside a name", get(b"/gpt-4.1/..a/b.."), b"GET /gpt-4.1/..a/b..  "),
    ("absolute target of this host", get(b"http://A.example/x?y"), b"GET /x y "),
    ("absolute target without path", get(b"http://a.example"), b"GET /  "),
    ("length with a blank behind", post(b"Content-Length: 5 \r\n", b"12345"), b"POST /x  12345"),
    ("chunked in capitals", post(b"Transfer-Encoding: Chunked\r\n", b"5\r\n12345\r\n0\r\n\r\n"), b"POST /x  12345"),
    ("one empty line first", b"\r\n" + get(b"/x"), b"GET /x  "),
    ("several empty lines first", b"\r\n\r\n\r\n" + get(b"/x"), b"GET /x  "),
    ("obs-text in a value", get(b"/x", H + b"X: \xe9\r\n"), b"GET /x  "),
    ("repeated list field", get(b"/x", H + b"Accept: a\r\nAccept: b\r\n"), b"GET /x  "),
    ("IPv6 host", get(b"/x", b"Host: [::1]:80\r\n"), b"GET /x  "),
    ("upgrade offered", get(b"/x", H + b"Connection: upgrade\r\nUpgrade: websocket\r\n"), b"GET /x  "),
    ("no Host in 1.0", b"GET /x HTTP/1.0\r\n\r\n", b"GET /x  "),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "said"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_what_has_one_reading_is_served(raw: bytes, said: bytes) -> None:
    """Strict is not hostile."""

    async def scene() -> None:
        async with serving() as server:
            status, _, body = await ask(server.port, raw)
            assert (status, body) == (200, said)

    run(scene())


@pytest.mark.parametrize(
    ("host", "served"),
    [
        (b"gate.example", True), (b"GATE.example:8080", True), (b"localhost:1", False), (b"127.0.0.1:81", True),
        (b"127.0.0.1", False), (b"gate.example.evil.example", False), (b"evil-gate.example", False),
    ],
)  # fmt: skip
def test_only_allowed_hosts_are_served(host: bytes, served: bool) -> None:
    """A name without a port allows every port; with a port, that one."""

    async def scene() -> None:
        async with serving(hosts=frozenset({"gate.example", "127.0.0.1:81"})) as server:
            for _ in range(2):  # the second time from memory
                status, _, body = await ask(server.port, get(b"/x", b"Host: " + host + b"\r\n"))
                assert (status == 200) is served, body
            assert (await ask(server.port, b"GET /x HTTP/1.0\r\n\r\n"))[0] == 400

    run(scene())


def test_remembered_request_lines_do_not_let_other_checks_slip() -> None:
    """Given a line served before, when it returns under a bad head, then the head is still refused."""

    async def scene() -> None:
        async with serving(echo) as server:
            assert (await ask(server.port, post(b"Content-Length: 1\r\n", b"1")))[0] == 200
            assert (await ask(server.port, post(b"Content-Length: 1, 1\r\n", b"1")))[0] == 400
            assert (await ask(server.port, b"POST /x HTTP/1.1\r\n\r\n"))[0] == 400

    run(scene())
