"""Origins are parsed strictly and written canonically; a pool never loses a place."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel.errors import Invalid
from penstock.net.pool import Origin, Pool
from tests.support import run


@pytest.mark.parametrize(
    ("url", "text", "header", "path"),
    [
        ("https://api.example/v1/", "https://api.example", b"api.example", "/v1"),
        ("http://API.example:80", "http://api.example", b"api.example", ""),
        ("https://bücher.example:444", "https://xn--bcher-kva.example:444", b"xn--bcher-kva.example:444", ""),
        ("http://localhost:11434/v1", "http://localhost:11434", b"localhost:11434", "/v1"),
        ("https://[::1]:8443/a/b", "https://[::1]:8443", b"[::1]:8443", "/a/b"),
    ],
)
def test_base_urls_become_origins(url: str, text: str, header: bytes, path: str) -> None:
    """Scheme, host and port apart from the path; the port left out where it is the scheme's own."""
    origin, base = Origin.parse(url)
    assert (str(origin), origin.host_header, base) == (text, header, path)
    assert origin == Origin.parse(url)[0]
    assert len({origin, Origin.parse(url)[0]}) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "ftp://a",
        "http://",
        "http://a:port",
        "http://a:99999",
        "http://u:p@a",
        "http://a?b",
        "http://a#b",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    """With the field named."""
    with pytest.raises(Invalid) as caught:
        Origin.parse(url)
    assert caught.value.field == "url"


class Connection:
    """A connection that is always open."""

    idle_since = 0.0

    def usable(self) -> bool:
        return True

    def drop(self) -> None:
        pass


@pytest.mark.parametrize("given", ["connection", "permission"])
def test_what_a_cancelled_waiter_was_given_in_the_same_turn_is_not_lost(given: str) -> None:
    """Given a waiter that is served and cancelled at once, then what it was given is free for the next."""

    async def scene() -> None:
        pool: Pool[Connection] = Pool(limit=1, idle_max=1, max_waiting=1)
        assert await pool.slot(1) is None
        waiter = asyncio.ensure_future(pool.slot(5))
        await asyncio.sleep(0)
        if given == "connection":
            pool.give(Connection())
        else:
            pool.forget()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert (pool.open, pool.idle) == ((1, 1) if given == "connection" else (0, 0))

    run(scene())
