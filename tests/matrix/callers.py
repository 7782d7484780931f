"""Those who call: each with a token, and where and what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from penstock.kernel.context import Principal
from penstock.mechanisms.roles import Breadth, reach_of
from penstock.net.client import HttpClient, Origin, Response, Timers

TIMERS = Timers(connect_s=5.0, first_byte_s=20.0, between_chunks_s=20.0, total_s=30.0)
LIVE_BYTES = 64 * 1024
REPLY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Place:
    """Somewhere in the tree of tenants; "" is all of that level."""

    org: str
    team: str = ""
    user: str = ""


@dataclass(frozen=True)
class Caller:
    """One who calls. `role` is "" for somebody without a token."""

    name: str
    token: str = ""
    role: str = ""
    place: Place = Place("")

    @property
    def principal(self) -> Principal:
        """Return what the platform should take this caller for."""
        at = self.place
        return Principal(key_id=self.name, org=at.org, team=at.team, project="", user=at.user, role=self.role)

    def reaches(self, place: Place) -> bool:
        """Tell whether a place is within this caller's reach."""
        return bool(self.role) and reach_of(self.principal).holds(place.org, place.team, place.user)

    def sees(self, place: Place) -> bool:
        """Tell whether the name of a place is no secret to this caller: within reach, or above where they are."""
        own = self.place
        if self.reaches(place):
            return True
        above = place.org == own.org and place.team in ("", own.team) and not place.user
        return bool(self.role) and above

    @property
    def is_everywhere(self) -> bool:
        """Whether this caller reaches the whole platform."""
        return bool(self.role) and reach_of(self.principal).breadth is Breadth.PLATFORM


@dataclass(frozen=True)
class Told:
    """One reply."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body decoded; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def header(self, name: str) -> str:
        """Return a header's value, "" when it is not there."""
        return next((value.decode() for key, value in self.headers if key == name.encode()), "")

    @property
    def said(self) -> str:
        """Everything a caller can read of it."""
        return self.text + "".join(f"\n{name.decode()}: {value.decode()}" for name, value in self.headers)


class Wire:
    """Sends requests as somebody."""

    def __init__(self, base_url: str) -> None:
        """Send to the server at `base_url`."""
        self._origin, _ = Origin.parse(base_url)
        self._client = HttpClient(connections_per_origin=8)

    async def ask(
        self, caller: Caller, method: str, target: str, body: object = None, *, feature: str = ""
    ) -> Told:
        """Return the reply; of a live one, its first event."""
        headers = b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        if caller.token:
            headers += f"authorization: Bearer {caller.token}\r\n".encode()
        if feature:
            headers += f"x-penstock-feature: {feature}\r\n".encode()
        data = b"" if body is None else json.dumps(body).encode()
        response = await self._client.request(
            self._origin, method.encode(), target.encode(), headers, data, TIMERS
        )
        try:
            live = (response.header(b"content-type") or b"").startswith(b"text/event-stream")
            read = await _first_event(response) if live else await response.read(REPLY_BYTES)
            return Told(response.status, read, tuple(response.headers))
        finally:
            response.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()


async def _first_event(response: Response) -> bytes:
    """Read a live reply to the end of its first event (or comment)."""
    read = b""
    while b"\n\n" not in read and len(read) < LIVE_BYTES and (piece := await response.chunk()):
        read += piece
    return read
