"""What callers, strangers and an owner do to a deployment with planted secrets (tests/planted.py), good and bad.

Promise: every reply is kept with the deployment, whole; only the one reply that shows a new key to its owner is not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

from tests.canaries import canary, secret_part
from tests.planted import EVIL, Planted, send

CALLS = 40


def request(method: str, path: str, token: str = "", body: bytes = b"", lines: str = "") -> bytes:
    """Return one request after which the connection is closed."""
    authorization = f"authorization: Bearer {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}{lines}connection: close\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def chat(token: str, model: str = "sim/model", *, stream: bool = False, lines: str = "") -> bytes:
    """Return a chat request."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "How much?"}],
        "stream": stream,
        "max_tokens": 20,
    }
    return request("POST", "/v1/chat/completions", token, json.dumps(body).encode(), lines)


async def new_caller(it: Planted) -> str:
    """Make a caller's key through the API and plant its secret; this reply alone is not kept."""
    made = await send(it.port, request("POST", "/api/v1/keys", it.owner, b'{"name": "canary"}'))
    token = str(json.loads(made.partition(b"\r\n\r\n")[2])["token"])
    it.secrets[f"caller's key {len(it.secrets)}"] = secret_part(token)
    return token


async def trouble(it: Planted, token: str, calls: int = CALLS) -> None:
    """Call everything in every way, several at once."""
    gate = asyncio.Semaphore(8)

    async def tell(place: str, raw: bytes) -> None:
        async with gate:
            # Some malformed requests are only too short: the gateway waits for the rest, we do not.
            it.heard(place, await send(it.port, raw, 1.0 if "malformed" in place else 5.0))

    sent = [*_calls(token, calls), *_strangers(token), *_malformed(token), *_owner(it.owner)]
    await asyncio.gather(*[tell(place, raw) for place, raw in sent])


def _calls(token: str, calls: int) -> Iterator[tuple[str, bytes]]:
    for number in range(calls):
        yield "replies to chats", chat(token, stream=number % 2 == 0)
    for model in (*EVIL, "refused", "gone"):
        for stream in (False, True):
            yield f"replies of the provider {model!r}", chat(token, model, stream=stream)
    for _ in range(2):
        yield "replays", chat(token, lines="idempotency-key: once\r\n")


def _strangers(token: str) -> Iterator[tuple[str, bytes]]:
    """Keys that are nearly right, and keys where they do not belong."""
    place = "refusals"
    yield place, chat(token[:-1])
    yield place, chat(token[:-1] + ("A" if token[-1] != "A" else "B"))
    yield place, chat(token.replace("pen-", "PEN-"))
    yield place, chat("pen-" + canary(12) + token[16:])
    yield place, chat(f"{token} {token}")
    yield place, chat("", lines=f"authorization: Basic {token}\r\n")
    yield place, chat("", lines=f"x-api-key: {token}\r\n")
    yield place, chat("", lines=f"authorization: {token}\r\n")
    yield place, request("GET", f"/v1/models?api_key={token}")
    yield place, request("GET", f"/v1/{token}")
    yield place, request("GET", "/metrics", token)
    yield place, request("GET", "/api/v1/keys", token)


def _malformed(token: str) -> Iterator[tuple[str, bytes]]:
    """Requests that break somewhere near the key."""
    place = "refusals of malformed requests"
    yield place, chat(token, lines=f"authorization: Bearer {token}\r\n")
    yield place, chat(f"{token}\0")
    yield place, chat(f"{token}\x01")
    yield place, chat(token, lines=f"{token}(: x\r\n")
    yield place, chat(token, lines=f"x-long: {token * 700}\r\n")
    yield place, chat(token).replace(b"content-length", f"x: {token}\nContent-Length".encode())
    yield place, f"GET /{token} HTTP/3.0\r\nhost: 127.0.0.1\r\n\r\n".encode()
    yield place, f"GET /v1/models HTTP/1.1\r\nhost: {token}(\r\n\r\n".encode()
    yield place, request("POST", "/v1/chat/completions", token, b"{" + token.encode())
    yield place, request("POST", "/v1/chat/completions", token, b'{"model": "sim/model", "messages": 1}')
    yield place, chat(token, lines="transfer-encoding: chunked\r\n")
    yield place, chat(token)[:-5]


def _owner(owner: str) -> Iterator[tuple[str, bytes]]:
    """The API's own pages."""
    for path in (
        "/metrics",
        "/api/v1/keys",
        "/api/v1/openapi.json",
        "/api/v1/usage",
        "/api/v1/budgets",
        "/api/v1/status",
    ):
        yield path, request("GET", path, owner)
    yield "/api/v1/ledger/verify", request("GET", "/api/v1/ledger/verify", owner)
    yield "/readyz", request("GET", "/readyz")
    yield "refusals of the API", request("POST", "/api/v1/keys", owner, b'{"role": 7, "name": ["x"]}')
    yield "refusals of the API", request("PUT", "/api/v1/scopes", owner, b"nonsense")
    yield "refusals of the API", request("DELETE", "/api/v1/keys/nobody", owner)
