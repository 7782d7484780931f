"""Our server and our client with nothing between them: what `net` costs by itself, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from penstock.edge.errors import render
from penstock.net.client import HttpClient, Origin, Timers
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.net.server import Server

TIMERS = Timers()


async def serve(port: int, upstream_port: int) -> None:
    """Pass every request on as it is, and its answer back."""
    client = HttpClient()
    origin, _ = Origin.parse(f"http://127.0.0.1:{upstream_port}")
    headers = b"content-type: application/json\r\n"

    async def proxy(request: Request, responder: Responder) -> None:
        response = await client.request(origin, b"POST", request.path.encode(), headers, request.body, TIMERS)
        try:
            kind = b"content-type: %b\r\n" % (response.header(b"content-type") or b"")
            if b"event-stream" not in kind:
                responder.send(response.status, kind, await response.read(1 << 20))
                return
            responder.begin(response.status, kind)
            while piece := await response.chunk():
                responder.write(piece)
                if responder.paused:
                    await responder.drain()
            responder.finish()
        finally:
            response.close()

    server = Server(proxy, allowed_hosts=None, cors=None, error_renderer=render)
    await server.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.upstream_port))
