"""Machines call by the tokens of their own issuer: no key is made for them, and everything else holds as for a key.

Promise: a real platform, an issuer that publishes its keys on a port of its own, the official SDK with a JWT for its
key. The attack list is the one of the unit tests, live over HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from penstock.edge import jwks
from penstock.kernel.context import Cap
from penstock.mechanisms.scopes import ScopeDoc
from penstock.net.client import HttpClient, Origin, Timers
from tests.stage import Stage, stage, until
from tests.support import run
from tests.unit.edge.jwt_attacks import cases
from tests.unit.edge.jwt_mint import AUDIENCE, ISSUER, SECOND, Mint, documents, issuer_keys, jwk, settings

KEYS = issuer_keys()
QUESTION: Any = [{"role": "user", "content": "When does the gate open?"}]


@dataclass
class Publisher:
    """Publishes the issuers' keys; `down` has it answer 503."""

    documents: dict[str, Any] = field(default_factory=lambda: documents(KEYS))
    asked: int = 0
    down: bool = False
    port: int = 0

    def where(self, name: str) -> dict[str, str]:
        """Return the settings of where an issuer's keys are."""
        return {"jwks_url": f"http://127.0.0.1:{self.port}/{'first' if name == ISSUER else 'second'}"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps(self.documents[ISSUER if b"/first" in head else SECOND]).encode()
        status = b"503 Down" if self.down else b"200 OK"
        writer.write(
            b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
        )
        writer.close()


@asynccontextmanager
async def published() -> AsyncIterator[Publisher]:
    """Publish keys on a free port."""
    publisher = Publisher()
    server = await asyncio.start_server(publisher.serve, "127.0.0.1", 0)
    publisher.port = server.sockets[0].getsockname()[1]
    try:
        yield publisher
    finally:
        server.close()


@asynccontextmanager
async def trusting(folder: Path, publisher: Publisher) -> AsyncIterator[Stage]:
    """Put a platform up that trusts both issuers."""
    issuers = settings(first=publisher.where(ISSUER), second=publisher.where(SECOND))
    async with stage(folder, auth={"issuers": issuers}, provider={"models": ("gpt-4o-mini",)}) as it:
        yield it


async def status(it: Stage, token: str, path: str = "/v1/models") -> tuple[int, str]:
    """GET a path by a token; returns the status and the error's code."""
    client = HttpClient()
    try:
        origin = Origin("http", "127.0.0.1", it.platform.port)
        header = b"authorization: Bearer %b\r\n" % token.encode()
        reply = await client.request(origin, b"GET", path.encode(), header, b"", Timers())
        body = await reply.read(1 << 20)
        error = json.loads(body)["error"] if reply.status >= 400 else {}
        assert token not in body.decode()
        return reply.status, str(error.get("code", ""))
    finally:
        await client.close()


def test_the_attack_list_live(tmp_path: Path) -> None:
    wrong: list[str] = []

    async def case() -> None:
        async with published() as publisher, trusting(tmp_path, publisher) as it:
            made = cases(KEYS)
            for name, token, accepted in [*made, *made]:
                got = await status(it, token)
                if got != ((200, "") if accepted else got) or (not accepted and got[0] != 401):
                    wrong.append(f"{name}: {got}")
            assert publisher.asked <= 4

    run(case())
    assert wrong == []


def test_a_machine_spends_by_the_official_sdk_within_the_budget_of_its_team(tmp_path: Path) -> None:
    async def case() -> None:
        async with published() as publisher, trusting(tmp_path, publisher) as it:
            token = Mint(KEYS).token(claims={"team": "search"})
            async with openai.AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as client:
                answer = await client.chat.completions.create(
                    model="gpt-4o-mini", messages=QUESTION, max_tokens=9
                )
                assert answer.choices[0].message.content
                less = client.with_options(api_key=Mint(KEYS).token(claims={"models": ["local/extractive"]}))
                with pytest.raises(openai.PermissionDeniedError):
                    await less.chat.completions.create(model="gpt-4o-mini", messages=QUESTION)
                await until(lambda: _posted(it, "org:acme/team:search@"), 5.0)
                await until(lambda: _posted(it, "org:acme/user:indexer@"), 5.0)
                cap = Cap(window="day", limit_nanos=1)
                doc = ScopeDoc(path="org:acme/team:search", level="team", caps=(cap,))
                await it.platform.tenancy.put_scope("acme", doc)
                with pytest.raises(openai.RateLimitError) as caught:
                    await client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION)
                assert caught.value.code == "insufficient_quota"

    run(case())


async def _posted(it: Stage, prefix: str) -> bool:
    return any(row.posted_nanos > 0 for row in await it.platform.stores.ledger.balance(prefix=prefix))


def test_a_machine_uses_models_and_nothing_else_whatever_its_token_says(tmp_path: Path) -> None:
    async def case() -> None:
        async with published() as publisher, trusting(tmp_path, publisher) as it:
            token = Mint(KEYS).token(claims={"role": "owner", "roles": ["owner"], "scope": "owner"})
            assert await status(it, token) == (200, "")
            for path in ("/metrics", "/api/v1/keys", "/api/v1/people", "/api/v1/status", "/api/v1/settings"):
                assert (await status(it, token, path))[0] == 403, path

    run(case())


def test_an_issuer_that_is_down_stops_nobody_else_and_is_found_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(jwks, "PAUSE_S", 0.0)

    async def case() -> None:
        async with published() as publisher:
            publisher.down = True
            async with trusting(tmp_path, publisher) as it:
                token = Mint(KEYS).token()
                assert await status(it, token) == (401, "invalid_token")
                assert await status(it, (await it.caller()).token) == (200, "")
                publisher.down = False
                await until(lambda: _is(it, token, 200), 10.0)
                stats = it.platform.machines.stats()
                assert 0 < stats["failures"] < stats["fetches"]
                assert b"penstock_issuer_failures" in it.platform.metrics.render()

    run(case())


def test_a_key_that_its_issuer_withdraws_ends_its_tokens_and_a_new_one_begins(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(jwks, "PAUSE_S", 0.0)
    monkeypatch.setattr(jwks, "FRESH_S", 0.0)

    async def case() -> None:
        async with published() as publisher, trusting(tmp_path, publisher) as it:
            mint = Mint(KEYS)
            old, new = mint.token(), mint.token(by="retired", header={"kid": "new"})
            assert (await status(it, old))[0] == 200
            assert (await status(it, new))[0] == 401
            publisher.documents[ISSUER] = {"keys": [jwk(KEYS.retired, "new")]}
            await until(lambda: _is(it, old, 401), 10.0)
            assert (await status(it, new))[0] == 200

    run(case())


async def _is(it: Stage, token: str, wanted: int) -> bool:
    return (await status(it, token))[0] == wanted


def test_where_no_issuer_is_named_a_token_is_no_key(tmp_path: Path) -> None:
    async def case() -> None:
        async with stage(tmp_path) as it:
            assert await status(it, Mint(KEYS).token()) == (401, "invalid_api_key")
            assert not any(task.get_name() == "machines" and not task.done() for task in asyncio.all_tasks())

    run(case())
    assert AUDIENCE
