"""What posts to webhooks goes where an operator may send it, and nowhere else; it follows nobody's redirect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from penstock.adapters.hooks.https import HttpsHooks, address
from penstock.kernel.errors import Invalid, PenstockError
from penstock.net.client import HttpClient
from tests.support import run


@contextmanager
def receiver(status: int) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """Serve on a free port; every post is noted and answered with the status (and a place to go to)."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?key=1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def posted(url: str, **headers: str) -> int:
    hooks = HttpsHooks(HttpClient())
    try:
        return await hooks.post(url, headers, b'{"a":1}')
    finally:
        await hooks.close()


@pytest.mark.parametrize("status", [200, 500, 302, 307])
def test_the_status_is_told_and_no_redirect_followed(status: int) -> None:
    with receiver(status) as (url, seen):
        assert run(posted(url, **{"webhook-id": "msg_1"})) == status
    ((path, headers, body),) = seen
    assert (path, body, headers["webhook-id"]) == ("/hook?key=1", b'{"a":1}', "msg_1")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://127.0.0.1.example.org/",
        "http://[::ffff:10.0.0.1]/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "https://user:hunter2@example.org/",
        "https://example.org/#fragment",
        "https://example.org/a b",
        "https://example.org/a\r\nx: y",
        "https:///path",
        "https://[::1/",
        "",
        "example.org",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Invalid) as told:
        run(posted(url))
    assert "hunter2" not in str(told.value) and "meta-data" not in str(told.value)


def test_addresses_an_operator_may_name() -> None:
    assert address("https://hooks.example.org/a/b?c=d")[1] == b"/a/b?c=d"
    assert address("http://localhost:8080")[1] == b"/"
    assert address("http://[::1]:8080/x")[0].port == 8080


def test_a_header_cannot_bring_another_one() -> None:
    with pytest.raises(Invalid):
        run(posted("http://127.0.0.1:9/", a="b\r\nc: d"))


def test_nobody_there_is_an_error_of_ours() -> None:
    with pytest.raises(PenstockError):
        run(posted("http://127.0.0.1:1/"))
