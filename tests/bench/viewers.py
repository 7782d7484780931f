"""People who look on while a bench runs: live pages of the console and live streams of the API, read as they come.

    python -m tests.bench.viewers URL OWNER_KEY      prints {"watching": N} when all are open; ends with standard input

Promise: they come in as people do (an invitation, a password, a session with its cookie); a stream that ends is opened
again, as a browser does; what was read is printed at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from penstock.net.client import HttpClient, Origin, Timers
from penstock.sdk.client import Client
from penstock.sdk.people import InviteRequest, LinkSignIn

PASSWORD = "a long enough password for a bench"
PATHS = ("/console/?live=1", "/console/requests?live=1", "/api/v1/overview/live", "/api/v1/requests/live")
TIMERS = Timers(connect_s=5.0, first_byte_s=30.0, between_chunks_s=60.0, total_s=3_600.0)
PAUSE_S = 0.2


async def sign_in(url: str, owner: str) -> str:
    """Return the session's token of an owner who was invited just now."""
    async with Client(url, owner) as client:
        invited = await client.people.invite(
            InviteRequest(email="viewer@example.org", name="Viewer", role="owner")
        )
    async with Client(url) as client:
        made = await client.sessions.accept(LinkSignIn(token=invited.link_token, password=PASSWORD))
    return made.token


async def watch(http: HttpClient, origin: Origin, path: str, token: str, read: Counter[str]) -> None:
    """Read one live stream for ever."""
    who = (
        f"cookie: penstock_session={token}"
        if path.startswith("/console")
        else f"authorization: Bearer {token}"
    )
    headers = f"{who}\r\naccept: text/event-stream\r\n".encode()
    while True:
        response = await http.request(origin, b"GET", path.encode(), headers, b"", TIMERS)
        try:
            if response.status != 200:
                raise SystemExit(f"{path} answered {response.status}")
            read[f"{path} opened"] += 1
            while piece := await response.chunk():
                read[f"{path} events"] += piece.count(b"\n\n")
                read[f"{path} bytes"] += len(piece)
        finally:
            response.close()
        await asyncio.sleep(PAUSE_S)


async def main(url: str, owner: str) -> None:
    """Watch until standard input ends."""
    origin, _ = Origin.parse(url)
    token, read, http = await sign_in(url, owner), Counter[str](), HttpClient()
    watching = [asyncio.create_task(watch(http, origin, path, token, read)) for path in PATHS]
    while not all(read[f"{path} opened"] for path in PATHS):
        for task in watching:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)
    print(json.dumps({"watching": len(watching)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await http.close()
    print(json.dumps(read), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
