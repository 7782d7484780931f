"""What the console's tests share: a platform that says what it is told to, and a browser without a window.

Platform   answers routes of the management API by a table; remembers what it was asked, and under which token
Browser    keeps cookies, follows nothing by itself, knows the CSRF token of its person
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from penstock.console.app import application
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import NotFound, PenstockError, Unauthenticated
from penstock.sdk.client import Client
from penstock.sdk.people import Me, OidcView
from penstock.sdk.transport import Reply
from tests.support import run

NOW_S = 1_795_252_800.0  # 2026-11-21 09:20 UTC
TOKEN = "pens-canaryId0001-canarysecretcanarysecretcanary"
CSRF = "csrf-canary-of-the-session"
EVERYTHING = (
    "use models",
    "read usage",
    "read requests",
    "read payloads",
    "read keys",
    "write keys",
    "write keys of admins and owners",
    "read limits",
    "write limits of projects",
    "write limits of organisations, teams and users",
    "read prices",
    "verify the ledger",
    "read people",
    "write people",
    "read changes",
    "read settings",
    "read status",
    "read metrics",
    "see and end one's own sessions",
    "read routes",
    "change routes",
    "read the cache of answers",
    "purge the cache of answers",
    "read alerts",
    "try how alerts are told",
    "ask the audit of requests",
    "read costs of the whole organisation",
    "compare invoices with what was settled",
)
OWNER = Me(
    kind="person",
    id="per_ada",
    role="owner",
    name="Ada Lovelace",
    email="ada@acme.example",
    org="acme",
    team="search",
    may=EVERYTHING,
    csrf=CSRF,
)
Answer = Any


class Platform:
    """The management API as a table: "GET /overview" → a value, a PenstockError, or a function of the query."""

    def __init__(self, **more: Answer) -> None:
        self.answers: dict[str, Answer] = {
            "GET /me": OWNER,
            "GET /sessions/oidc": OidcView(enabled=False),
            **more,
        }
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.tokens: list[str] = []
        self.open_streams = 0

    def connect(self, token: str, peer: str) -> Client:
        return Client(transport=_Way(self, token, peer))

    def queries(self, name: str) -> list[dict[str, str]]:
        """Return the query of each call of one route."""
        return [query for route, _, query, _ in self.asked if route == name]

    def bodies(self, name: str) -> list[Any]:
        """Return the body of each call of one route."""
        return [msgspec.json.decode(body) for route, _, _, body in self.asked if route == name]

    def find(self, token: str, method: str, target: str, body: bytes) -> Any:
        self.tokens.append(token)
        parts = urlsplit(target)
        path = parts.path.removeprefix("/api/v1")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        known = (f"{method} {path}", f"{method} {path.rpartition('/')[0]}/*")
        name = next((each for each in known if each in self.answers), known[0])
        self.asked.append((name, path, query, body))
        if name not in self.answers:
            raise NotFound(f"The script has no {name}.")
        answer = self.answers[name]
        if not token and "/sessions" not in path:
            raise Unauthenticated
        if callable(answer) and not isinstance(answer, type):
            answer = answer(query)
        if isinstance(answer, PenstockError):
            raise answer
        return answer


class _Way:
    """A transport to the scripted platform under one token."""

    def __init__(self, platform: Platform, token: str, peer: str) -> None:
        self._platform, self._token, self._peer = platform, token, peer

    async def call(self, method, target, body=b"", *, headers=b"", timers=None) -> Reply:
        return Reply(200, [], msgspec.json.encode(self._platform.find(self._token, method, target, body)))

    async def stream(self, method, target, body=b"", *, headers=b"", timers=None) -> _Coming:
        answer = self._platform.find(self._token, method, target, body)
        return _Coming(self._platform, answer)

    def under(self, key, *, peer="") -> _Way:
        return _Way(self._platform, key, peer)

    async def close(self) -> None:
        """Nothing is held."""


class _Coming:
    """A stream's reply: (event, value) pairs as server-sent events."""

    status = 200
    headers = ()

    def __init__(self, platform: Platform, events: AsyncIterator[tuple[str, Any]]) -> None:
        self._platform, self._events = platform, events
        self._is_open = True
        platform.open_streams += 1

    async def chunk(self) -> bytes:
        try:
            name, value = await anext(self._events)
        except StopAsyncIteration:
            return b""
        return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._platform.open_streams -= 1


class Answered:
    """A reply: its status, headers and text."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode().lower(): value.decode() for name, value in headers}
        self.cookies = [value.decode() for name, value in headers if name == b"set-cookie"]
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


class Browser:
    """Calls the console as a browser on the same site does. `signed_in` holds the session's cookie."""

    def __init__(
        self,
        platform: Platform,
        *,
        signed_in: bool = True,
        secure: bool = False,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.platform = platform
        self.clock = ManualClock(wall_s=NOW_S)
        self.app = application(platform.connect, self.clock, secure=secure, draining=draining)
        self.jar = {"penstock_session": TOKEN} if signed_in else {}

    def get(self, path: str, **headers: str) -> Answered:
        return run(self.call("GET", path, headers=headers))

    def post(
        self, path: str, form: dict[str, str] | None = None, *, csrf: str | None = CSRF, **headers: str
    ) -> Answered:
        fields = dict(form or {}) | ({"csrf": csrf} if csrf is not None else {})
        given = {
            "content-type": "application/x-www-form-urlencoded",
            "sec-fetch-site": "same-origin",
            **headers,
        }
        return run(self.call("POST", path, urlencode(fields).encode(), headers=given))

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        most: int = 10_000,
    ) -> Answered:
        """Make one call; leave after `most` pieces of the body."""
        target, _, query = ("/console" + path).partition("?")
        lines = {"host": "127.0.0.1:8700", "user-agent": "Firefox of the tests"}
        lines |= {name.replace("_", "-"): value for name, value in (headers or {}).items() if value}
        if self.jar:
            lines["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "client": ("10.1.2.3", 0),
            "server": None,
            "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
            "state": {"request_id": "req_canary"},
        }
        start: dict[str, Any] = {}
        pieces: list[bytes] = []
        gone = asyncio.Event()
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            pieces.append(message.get("body", b""))
            if len(pieces) >= most:
                gone.set()
                await asyncio.sleep(0)

        await self.app(scope, receive, send)
        answered = Answered(start["status"], start.get("headers", []), b"".join(pieces))
        self._keep(answered)
        return answered

    def _keep(self, answered: Answered) -> None:
        for line in answered.cookies:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = morsel.value


def never() -> AsyncIterator[tuple[str, Any]]:
    """Return a stream that says nothing and does not end."""

    async def silence() -> AsyncIterator[tuple[str, Any]]:

        await asyncio.Event().wait()
        yield "", None

    return silence()


def says(*events: tuple[str, Any]) -> AsyncIterator[tuple[str, Any]]:
    """Return a stream of these events that then goes on in silence."""

    async def speech() -> AsyncIterator[tuple[str, Any]]:
        for each in events:
            yield each
        async for each in never():
            yield each

    return speech()
